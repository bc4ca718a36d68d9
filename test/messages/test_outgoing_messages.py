import struct
import sys
from array import array
from types import SimpleNamespace

import numpy as np
import pytest

from depth_anything_ros.messages import (
    POINT_FIELDS,
    depth_to_millimetres,
    fill_image,
    fill_point_cloud,
    pack_points,
    to_depth,
    to_rgb,
)

IMAGES = {
    '32FC1': np.linspace(0.5, 9, 35, dtype=np.float32).reshape(5, 7),
    '16UC1': np.arange(1, 36, dtype=np.uint16).reshape(5, 7) * 300,
    'rgb8': np.arange(105, dtype=np.uint8).reshape(5, 7, 3),
    'bgr8': np.arange(105, dtype=np.uint8).reshape(5, 7, 3),
    'mono8': np.arange(35, dtype=np.uint8).reshape(5, 7),
}


class StrictMessage(SimpleNamespace):
    """Refuses what Humble's setters would check byte by byte."""

    def __setattr__(self, name, value):
        if name == 'data':
            assert isinstance(value, array)
            assert value.typecode == 'B'
        super().__setattr__(name, value)


@pytest.fixture(params=['fields only', 'sensor_msgs'])
def make(request):
    """Make an empty message of the named type, and say which class its point fields have."""
    if request.param == 'fields only':
        return lambda name: (StrictMessage(data=array('B')), SimpleNamespace)
    messages = pytest.importorskip('sensor_msgs.msg', reason='sensor_msgs is not installed')
    return lambda name: (getattr(messages, name)(), None)


@pytest.mark.parametrize('encoding', IMAGES)
def test_an_image_survives_the_way_out_and_back(encoding, make):
    msg, _ = make('Image')
    image = IMAGES[encoding]
    fill_image(msg, image, encoding)
    assert (msg.height, msg.width, msg.encoding, msg.step) == (5, 7, encoding, image.strides[0])
    assert bool(msg.is_bigendian) is (sys.byteorder == 'big')
    assert bytes(msg.data) == image.tobytes()
    if encoding in ('32FC1', '16UC1'):
        np.testing.assert_allclose(to_depth(msg), image * (0.001 if encoding == '16UC1' else 1), rtol=1e-6)
    else:
        expected = {'rgb8': image, 'bgr8': image[..., ::-1]}.get(encoding, np.stack([image] * 3, axis=-1))
        np.testing.assert_array_equal(to_rgb(msg), expected)


def test_a_filled_message_keeps_its_buffer_until_the_size_changes(make):
    msg, _ = make('Image')
    fill_image(msg, IMAGES['32FC1'], '32FC1')
    buffer = msg.data
    fill_image(msg, 2 * IMAGES['32FC1'], '32FC1')
    assert msg.data is buffer
    np.testing.assert_array_equal(to_depth(msg), 2 * IMAGES['32FC1'])
    fill_image(msg, IMAGES['mono8'], 'mono8')
    assert len(msg.data) == 35
    # A view that somebody still holds keeps the old buffer alive and does not stop the next fill.
    rgb = np.frombuffer(msg.data, np.uint8)
    fill_image(msg, IMAGES['rgb8'], 'rgb8')
    np.testing.assert_array_equal(rgb, np.arange(35))


def test_strided_images_are_copied_in_order(make):
    msg, _ = make('Image')
    for encoding, image in IMAGES.items():
        for view in (image[::-2, 1::2], image[:, ::-1], image.swapaxes(0, 1)):
            fill_image(msg, view, encoding)
            assert bytes(msg.data) == view.tobytes()
            assert msg.step * msg.height == len(msg.data)


@pytest.mark.parametrize(
    ('image', 'encoding', 'text'),
    [
        (np.zeros((2, 2)), '32FC1', r'32FC1 needs float32 \(H, W\), not float64 \(2, 2\)'),
        (np.zeros((2, 2, 1), np.float32), '32FC1', r'not float32 \(2, 2, 1\)'),
        (np.zeros((2, 2), np.uint8), 'rgb8', r'rgb8 needs uint8 \(H, W, 3\)'),
        (np.zeros((2, 2, 4), np.uint8), 'bgr8', r'bgr8 needs uint8 \(H, W, 3\)'),
        (np.zeros(4, np.uint8), 'mono8', r'mono8 needs uint8 \(H, W\)'),
        (np.zeros((2, 2), np.uint8), 'mono16', "cannot fill an image as 'mono16'"),
    ],
)
def test_an_image_that_does_not_fit_its_encoding_is_refused(image, encoding, text):
    with pytest.raises(ValueError, match=text):
        fill_image(StrictMessage(data=array('B')), image, encoding)


def cloud(shape, seed=0):
    generator = np.random.default_rng(seed)
    points = generator.normal(size=(*shape, 3)).astype(np.float32)
    return points, generator.integers(0, 256, (*shape, 3), np.uint8)


def test_a_compact_coloured_cloud_has_pcl_s_layout(make):
    msg, field = make('PointCloud2')
    points, colors = cloud((6,))
    fill_point_cloud(msg, points, colors, field)
    assert [(f.name, f.offset, f.datatype, f.count) for f in msg.fields] == [
        ('x', 0, 7, 1),
        ('y', 4, 7, 1),
        ('z', 8, 7, 1),
        ('rgb', 12, 7, 1),
    ]
    assert (msg.height, msg.width, msg.point_step, msg.row_step) == (1, 6, 16, 96)
    assert (msg.is_bigendian, msg.is_dense) == (False, True)
    for index, (x, y, z, rgb) in enumerate(struct.iter_unpack('<fffI', bytes(msg.data))):
        assert (x, y, z) == tuple(points[index])
        red, green, blue = (int(value) for value in colors[index])
        assert rgb == red << 16 | green << 8 | blue


def test_an_organised_cloud_keeps_rows_and_holes(make):
    msg, field = make('PointCloud2')
    points, _ = cloud((3, 4))
    points[1, 2] = np.nan
    fill_point_cloud(msg, points, point_field_type=field)
    assert (msg.height, msg.width, msg.point_step, msg.row_step) == (3, 4, 12, 48)
    assert len(msg.fields) == 3
    assert msg.is_dense is False
    np.testing.assert_array_equal(np.frombuffer(msg.data, '<f4').reshape(3, 4, 3), points)


def test_clouds_reuse_their_buffer_and_may_be_strided_or_empty(make):
    msg, field = make('PointCloud2')
    points, colors = cloud((6, 8))
    fill_point_cloud(msg, points[::2, ::2], colors[::2, ::2], field)
    buffer = msg.data
    np.testing.assert_array_equal(np.frombuffer(msg.data, '<f4').reshape(3, 4, 4)[..., :3], points[::2, ::2])
    fill_point_cloud(msg, points[1::2, ::2], colors[1::2, ::2], field)
    assert msg.data is buffer
    fill_point_cloud(msg, points[:0, 0], colors[:0, 0], field)
    assert (msg.height, msg.width, len(msg.data)) == (1, 0, 0)


def test_packed_points_equal_the_cloud_s_bytes():
    points, colors = cloud((4, 5))
    msg = StrictMessage(data=array('B'))
    fill_point_cloud(msg, points, colors, SimpleNamespace)
    packed = pack_points(points, colors)
    assert packed.shape == (20, 4)
    assert packed.tobytes() == bytes(msg.data)
    assert pack_points(points).shape == (20, 3)
    assert [field.name for field in POINT_FIELDS] == ['x', 'y', 'z', 'rgb']


def test_sensor_msgs_py_reads_the_cloud_back():
    pytest.importorskip('sensor_msgs.msg', reason='sensor_msgs is not installed')
    point_cloud2 = pytest.importorskip('sensor_msgs_py.point_cloud2', reason='sensor_msgs_py is not installed')
    from sensor_msgs.msg import PointCloud2

    points, colors = cloud((9,))
    msg = PointCloud2()
    fill_point_cloud(msg, points, colors)
    read = point_cloud2.read_points(msg)
    for axis, name in enumerate('xyz'):
        np.testing.assert_array_equal(read[name], points[:, axis])
    packed = np.ascontiguousarray(read['rgb']).view(np.uint32)
    np.testing.assert_array_equal(packed, colors.astype(np.uint32) @ np.array([65536, 256, 1], np.uint32))


@pytest.mark.parametrize(
    ('points', 'colors', 'text'),
    [
        (np.zeros((4, 3)), None, 'points must be float32'),
        (np.zeros((4, 2), np.float32), None, 'points must be float32'),
        (np.zeros(3, np.float32), None, 'points must be float32'),
        (np.zeros((4, 3), np.float32), np.zeros((5, 3), np.uint8), 'colors must be uint8'),
        (np.zeros((4, 3), np.float32), np.zeros((4, 3), np.float32), 'colors must be uint8'),
    ],
)
def test_points_and_colors_must_match(points, colors, text):
    with pytest.raises(ValueError, match=text):
        pack_points(points, colors)


def test_millimetres_are_rounded_and_zero_where_there_is_no_depth(recwarn):
    depth = np.array([[1.0, 0.0014, 0.0016, 65.535], [0.0, -1.0, 65.54, 1e38]], np.float32)
    np.testing.assert_array_equal(depth_to_millimetres(depth), [[1000, 1, 2, 65535], [0, 0, 0, 0]])
    holes = np.array([[np.nan, np.inf, -np.inf]], np.float32)
    found = depth_to_millimetres(holes)
    assert found.dtype == np.uint16
    np.testing.assert_array_equal(found, 0)
    assert not recwarn.list


def test_every_millimetre_survives_the_way_out_and_back():
    millimetres = np.arange(1, 65536, dtype=np.uint16).reshape(1, -1)
    msg = StrictMessage(data=array('B'))
    fill_image(msg, millimetres, '16UC1')
    np.testing.assert_array_equal(depth_to_millimetres(to_depth(msg)), millimetres)
