from array import array
from types import SimpleNamespace

import numpy as np
import pytest

from depth_anything_ros.messages import InvalidMessageError, PointCloudError, fill_point_cloud, to_points

DATATYPES = {'i1': 1, 'u1': 2, 'i2': 3, 'u2': 4, 'i4': 5, 'u4': 6, 'f4': 7, 'f8': 8}


def cloud(points, kinds=('f4', 'f4', 'f4'), offsets=(0, 4, 8), step=12, row_padding=0, order='<', as_data=None):
    """A PointCloud2 of points (H, W, 3), its unused bytes 0x5A."""
    points = np.asarray(points)
    height, width = points.shape[:2]
    raw = np.full((height, width * step + row_padding), 0x5A, np.uint8)
    cells = raw[:, : width * step].reshape(height, width, step)
    fields = [SimpleNamespace(name='intensity', offset=0, datatype=7, count=1)]
    for axis, name in enumerate('xyz'):
        values = np.ascontiguousarray(points[..., axis].astype(order + kinds[axis]))
        size = values.itemsize
        cells[..., offsets[axis] : offsets[axis] + size] = values.view(np.uint8).reshape(height, width, size)
        fields.append(SimpleNamespace(name=name, offset=offsets[axis], datatype=DATATYPES[kinds[axis]], count=1))
    if row_padding:
        raw[:, : width * step] = cells.reshape(height, -1)
    return SimpleNamespace(
        height=height,
        width=width,
        fields=fields,
        is_bigendian=order == '>',
        point_step=step,
        row_step=raw.shape[1],
        data=(as_data or (lambda raw: array('B', raw.tobytes())))(raw),
        is_dense=False,
    )


GRID = np.arange(24).reshape(2, 4, 3) - 5


@pytest.mark.parametrize('order', ['<', '>'])
@pytest.mark.parametrize('row_padding', [0, 5])
@pytest.mark.parametrize(
    ('kinds', 'offsets', 'step'),
    [
        (('f4', 'f4', 'f4'), (0, 4, 8), 12),
        (('f4', 'f4', 'f4'), (0, 4, 8), 32),
        (('f4', 'f4', 'f4'), (9, 1, 5), 13),
        (('f8', 'f8', 'f8'), (4, 20, 12), 28),
        (('i1', 'i2', 'i4'), (6, 3, 10), 15),
        (('f8', 'f4', 'i2'), (0, 8, 12), 14),
    ],
)
def test_any_layout_gives_the_same_points(kinds, offsets, step, row_padding, order):
    found = to_points(cloud(GRID, kinds, offsets, step, row_padding, order))
    assert found.dtype in (np.float32, np.float64)
    assert found.dtype.isnative
    np.testing.assert_array_equal(found, GRID.reshape(-1, 3))


@pytest.mark.parametrize('kind', DATATYPES)
def test_each_datatype_keeps_its_values(kind):
    highest = np.iinfo(kind).max if kind[0] in 'iu' else np.finfo(kind).max / 2
    found = to_points(cloud([[[highest, 1, 2]]], (kind, 'f4', 'f4'), (0, 8, 12), 16))
    assert found[0, 0] == highest


def test_plain_clouds_stay_float32_and_doubles_keep_their_digits():
    assert to_points(cloud(GRID)).dtype == np.float32
    assert to_points(cloud(GRID, ('i1', 'i1', 'i2'), (0, 1, 2), 4)).dtype == np.float32
    far = [[[4.0e6 + 0.125, 0.0, 1.0]]]  # UTM coordinates have no millimetres in float32
    assert to_points(cloud(far, ('f8', 'f8', 'f8'), (0, 8, 16), 24))[0, 0] == far[0][0][0]


@pytest.mark.parametrize(
    'as_data',
    [
        pytest.param(lambda raw: array('B', raw.tobytes()), id='rclpy'),
        pytest.param(lambda raw: raw.ravel(), id='rosbags'),
        pytest.param(lambda raw: raw.tobytes(), id='rospy'),
    ],
)
def test_the_data_of_each_client_library_will_do(as_data):
    np.testing.assert_array_equal(to_points(cloud(GRID, as_data=as_data)), GRID.reshape(-1, 3))


def test_what_is_not_finite_is_kept(recwarn):
    points = np.array([[[np.nan, 1, 2], [np.inf, -np.inf, 3]]])
    np.testing.assert_array_equal(to_points(cloud(points)), points[0])
    noise = cloud(np.zeros((1, 1000, 3)), step=16)
    noise.data = array('B', np.random.default_rng(0).bytes(16000))
    assert to_points(noise).shape == (1000, 3)
    assert not recwarn.list


def test_the_points_are_a_copy():
    message = cloud(GRID)
    before = bytes(message.data)
    to_points(message)[:] = 7
    assert bytes(message.data) == before


def test_our_own_clouds_come_back():
    message = SimpleNamespace(data=array('B'))
    points = np.random.default_rng(1).normal(size=(3, 5, 3)).astype(np.float32)
    fill_point_cloud(message, points, np.zeros((3, 5, 3), np.uint8), SimpleNamespace)
    np.testing.assert_array_equal(to_points(message), points.reshape(-1, 3))


def test_a_message_of_rclpy_will_do():
    messages = pytest.importorskip('sensor_msgs.msg', reason='sensor_msgs is not installed')
    message = messages.PointCloud2()
    points = np.random.default_rng(1).normal(size=(5, 3)).astype(np.float32)
    fill_point_cloud(message, points)
    np.testing.assert_array_equal(to_points(message), points)
    assert to_points(messages.PointCloud2(fields=message.fields, point_step=12)).shape == (0, 3)


def test_the_last_row_needs_no_padding_and_a_single_one_no_row_step():
    message = cloud(GRID, row_padding=5)
    message.data = message.data[:-5]
    np.testing.assert_array_equal(to_points(message), GRID.reshape(-1, 3))
    message = cloud(GRID[:1])
    message.row_step = 0
    np.testing.assert_array_equal(to_points(message), GRID[0])


@pytest.mark.parametrize('size', [{'width': 0}, {'height': 0}, {'width': 0, 'data': array('B')}])
def test_an_empty_cloud_has_no_points(size):
    message = cloud(GRID)
    vars(message).update(size)
    assert to_points(message).shape == (0, 3)


@pytest.mark.parametrize(
    ('changes', 'text'),
    [
        ({'fields': []}, 'has the fields none, but not x, y, z'),
        ({'data': array('B', bytes(95))}, 'of 4x2 points has 95 bytes of data, expected at least 96'),
        ({'width': 2**32 - 1, 'row_step': 2**32 - 1}, 'row_step of 4294967295 bytes, but 4294967295 points need'),
        ({'height': 2**32 - 1}, 'expected at least'),
        ({'point_step': 0}, 'field x of a PointCloud2 ends at byte 4 of a point of 0 bytes'),
        ({'point_step': 11}, 'field z of a PointCloud2 ends at byte 12 of a point of 11 bytes'),
        ({'row_step': 47}, 'row_step of 47 bytes, but 4 points need 48'),
    ],
)
def test_contradicting_fields_are_named(changes, text):
    message = cloud(GRID)
    vars(message).update(changes)
    with pytest.raises(PointCloudError, match=text):
        to_points(message)


@pytest.mark.parametrize(
    ('field', 'changes', 'text'),
    [
        (3, {'name': 'Z'}, 'the fields intensity, x, y, Z, but not z'),
        (1, {'datatype': 9}, 'field x of a PointCloud2 has datatype 9, expected 1 to 8'),
        (2, {'offset': 2**32 - 4}, 'field y of a PointCloud2 ends at byte 4294967296'),
    ],
)
def test_fields_that_cannot_be_read_are_named(field, changes, text):
    message = cloud(GRID)
    vars(message.fields[field]).update(changes)
    with pytest.raises(PointCloudError, match=text) as caught:
        to_points(message)
    assert isinstance(caught.value, InvalidMessageError)
