import sqlite3
from pathlib import Path

import cv2
import numpy as np
import pytest
from rosbags.highlevel import AnyReader
from rosbags.rosbag1 import Writer as Ros1Writer
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

from depth_anything_ros.alignment import Alignment

SCALE, SHIFT = 0.4, 0.05
METRES = ('--scale', SCALE, '--shift', SHIFT)
EVERYWHERE = ('--edge-threshold', 0, '--range-min', 0, '--range-max', 1000)
TYPES = get_typestore(Stores.LATEST)
ROS1_TYPES = get_typestore(Stores.ROS1_NOETIC)
START_NS, PERIOD_NS, LATENCY_NS = 1_700_000_000_000_000_000, 100_000_000, 7_000_000
HEIGHT, WIDTH = 48, 64
K = [60.0, 0, 31, 0, 61, 25, 0, 0, 1]


def stamp_ns(index):
    return START_NS + index * PERIOD_NS


def header(index, types=TYPES):
    sec, nanosec = divmod(stamp_ns(index), 1_000_000_000)
    stamp = types.types['builtin_interfaces/msg/Time'](sec=sec, nanosec=nanosec)
    extra = {'seq': index} if types is ROS1_TYPES else {}
    return types.types['std_msgs/msg/Header'](stamp=stamp, frame_id='camera_optical_frame', **extra)


def image(index, array, encoding='rgb8', types=TYPES):
    return types.types['sensor_msgs/msg/Image'](
        header=header(index, types),
        height=array.shape[0],
        width=array.shape[1],
        encoding=encoding,
        is_bigendian=0,
        step=array.strides[0],
        data=np.frombuffer(array.tobytes(), np.uint8),
    )


def compressed(index, array):
    data = cv2.imencode('.png', cv2.cvtColor(array, cv2.COLOR_RGB2BGR))[1].ravel()
    return TYPES.types['sensor_msgs/msg/CompressedImage'](header=header(index), format='png', data=data)


def camera_info(index, types=TYPES, d=(0.0,) * 5, k=K, width=WIDTH):
    upper = types is ROS1_TYPES
    matrices = {
        'd': np.array(d),
        'k': np.array(k, float),
        'r': np.eye(3).ravel(),
        'p': np.hstack([np.reshape(k, (3, 3)), np.zeros((3, 1))]).ravel().astype(float),
    }
    return types.types['sensor_msgs/msg/CameraInfo'](
        header=header(index, types),
        height=HEIGHT,
        width=width,
        distortion_model='plumb_bob',
        **{name.upper() if upper else name: value for name, value in matrices.items()},
        binning_x=0,
        binning_y=0,
        roi=types.types['sensor_msgs/msg/RegionOfInterest'](
            x_offset=0, y_offset=0, height=0, width=0, do_rectify=False
        ),
    )


def text(value, types=TYPES):
    return types.types['std_msgs/msg/String'](data=value)


def record(path, messages, plugin=StoragePlugin.SQLITE3):
    """Write (topic, log time, message or bytes) as a rosbag2 folder."""
    with Writer(path, version=9, storage_plugin=plugin) as writer:
        connections = {}
        for topic, time_ns, message in messages:
            kind, data = message if isinstance(message, tuple) else (message.__msgtype__, None)
            if topic not in connections:
                connections[topic] = writer.add_connection(topic, kind, typestore=TYPES)
            writer.write(connections[topic], time_ns, TYPES.serialize_cdr(message, kind) if data is None else data)
    return path


def record_ros1(path, messages):
    with Ros1Writer(path) as writer:
        connections = {}
        for topic, time_ns, message in messages:
            kind = message.__msgtype__
            if topic not in connections:
                connections[topic] = writer.add_connection(topic, kind, typestore=ROS1_TYPES)
            writer.write(connections[topic], time_ns, ROS1_TYPES.serialize_ros1(message, kind))
    return path


@pytest.fixture
def drive(picture):
    """Three frames of a camera with its CameraInfo, and a text beside them."""

    def make(namespace='/camera', types=TYPES, **calibration):
        messages = [('/chatter', stamp_ns(0), text('hello', types))]
        for index in range(3):
            time_ns = stamp_ns(index) + LATENCY_NS
            messages += [
                (f'{namespace}/image_raw', time_ns, image(index, picture(index), types=types)),
                (f'{namespace}/camera_info', time_ns + 1000, camera_info(index, types, **calibration)),
            ]
        return messages

    return make


def read(path):
    """Raw messages by topic: lists of (log time, bytes, message)."""
    found = {}
    with AnyReader([Path(path)], default_typestore=TYPES) as reader:
        for connection, time_ns, data in reader.messages():
            message = reader.deserialize(data, connection.msgtype) if connection.msgdef.data else None
            found.setdefault(connection.topic, []).append((time_ns, bytes(data), message))
    return found


def values(message):
    assert message.encoding == '32FC1'
    assert message.step == 4 * message.width
    return message.data.view(np.float32).reshape(message.height, message.width)


def xyz(message):
    assert message.is_dense
    return np.stack(
        [message.data.view(np.float32).reshape(-1, message.point_step // 4)[:, axis] for axis in range(3)], axis=1
    )


def assert_copied(original, copy):
    """Every message of the first bag is in the second, bit for bit and with its log time."""
    for topic, messages in read(original).items():
        assert [item[:2] for item in copy[topic]] == [item[:2] for item in messages], topic


def content(found):
    """A header's fields: the classes of two type stores are never equal."""
    return found.stamp.sec, found.stamp.nanosec, found.frame_id


def last_line(capsys):
    return capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize('plugin', [StoragePlugin.SQLITE3, StoragePlugin.MCAP])
@pytest.mark.parametrize('bare', [False, True])
def test_a_relative_model_adds_disparity_and_copies_the_rest(run, predict, picture, drive, tmp_path, plugin, bare):
    bag = record(tmp_path / 'in', drive(), plugin)
    source = next(path for path in bag.iterdir() if path.suffix in ('.db3', '.mcap')) if bare else bag
    assert run('bag', source, '--output', tmp_path / 'out') == 0
    found = read(tmp_path / 'out')
    assert_copied(bag, found)
    assert set(found) == {'/chatter', '/camera/image_raw', '/camera/camera_info', '/camera/relative/image'}
    for index, (time_ns, _, message) in enumerate(found['/camera/relative/image']):
        assert time_ns == stamp_ns(index) + LATENCY_NS
        assert content(message.header) == content(header(index))
        np.testing.assert_allclose(values(message), predict(picture(index)), rtol=1e-5)
    assert sorted(path.name for path in (tmp_path / 'out').iterdir()) == ['metadata.yaml', 'out.mcap']


def test_scale_and_shift_add_what_the_node_publishes(run, predict, picture, drive, tmp_path):
    bag = record(tmp_path / 'in', drive())
    assert run('bag', bag, '--output', tmp_path / 'out', *METRES, *EVERYWHERE, '--stride', 2) == 0
    found = read(tmp_path / 'out')
    new = {f'/camera/{name}' for name in ('depth/image_rect', 'depth/camera_info', 'points', 'relative/image')}
    assert set(found) == new | set(read(bag))
    for index in range(3):
        (depth,), (info,), (cloud,) = (
            [item[2] for item in found[f'/camera/{name}'] if item[0] == stamp_ns(index) + LATENCY_NS]
            for name in ('depth/image_rect', 'depth/camera_info', 'points')
        )
        assert {content(message.header) for message in (depth, info, cloud)} == {content(header(index))}
        metres = values(depth)
        np.testing.assert_allclose(metres, 1 / (SCALE * predict(picture(index)) + SHIFT), rtol=1e-5)
        assert (info.width, info.height) == (depth.width, depth.height)
        fx, fy, cx, cy = info.p[[0, 5, 2, 6]]
        v, u = np.mgrid[:HEIGHT:2, :WIDTH:2]
        z = metres[::2, ::2]
        expected = np.stack([(u - cx) / fx * z, (v - cy) / fy * z, z], axis=-1).reshape(-1, 3)
        np.testing.assert_allclose(xyz(cloud), expected, rtol=1e-4, atol=1e-5)
        assert [field.name for field in cloud.fields] == ['x', 'y', 'z', 'rgb']
        packed = cloud.data.reshape(-1, 16)[:, 12:15][:, ::-1]
        assert np.array_equal(packed, picture(index)[::2, ::2].reshape(-1, 3))


def test_range_and_edges_are_marked(run, predict, picture, drive, tmp_path):
    depth = Alignment(SCALE, SHIFT).depth(predict(picture(0)))
    low, high = np.percentile(depth, [20, 80]).tolist()
    options = ('--edge-threshold', 0, '--range-min', low, '--range-max', high)
    assert run('bag', record(tmp_path / 'in', drive()), '--output', tmp_path / 'out', *METRES, *options) == 0
    found = values(read(tmp_path / 'out')['/camera/depth/image_rect'][0][2])
    assert np.array_equal(found == np.inf, depth > high)
    assert np.array_equal(found == -np.inf, depth < low)


def test_depth_of_a_distorted_camera_is_rectified(run, predict, picture, drive, tmp_path):
    bag = record(tmp_path / 'in', drive(d=(-0.2, 0.05, 0.0, 0.0, 0.0)))
    assert run('bag', bag, '--output', tmp_path / 'out', *METRES, *EVERYWHERE) == 0
    found = read(tmp_path / 'out')
    raw = 1 / (SCALE * predict(picture(0)) + SHIFT)
    depth, info = found['/camera/depth/image_rect'][0][2], found['/camera/depth/camera_info'][0][2]
    assert not info.d.any()
    assert np.array_equal(info.k, np.reshape(K, -1))
    pixels = cv2.undistortPoints(
        np.array([[[10.0, 8.0]]]), np.reshape(K, (3, 3)), (-0.2, 0.05, 0, 0, 0), P=info.k.reshape(3, 3)
    )
    u, v = np.rint(pixels.ravel()).astype(int)
    assert (u, v) != (10, 8)
    assert values(depth)[v, u] == pytest.approx(raw[8, 10], rel=5e-3)


@pytest.mark.parametrize(('options', 'topic'), [((), 'image_rect'), (('--projection', 'rectified'), 'image_raw')])
def test_a_rectified_image_is_left_as_it_is(run, predict, picture, drive, tmp_path, options, topic):
    messages = [
        (name.replace('image_raw', topic), time_ns, message)
        for name, time_ns, message in drive(d=(-0.2, 0.05, 0.0, 0.0, 0.0))
    ]
    bag = record(tmp_path / 'in', messages)
    assert run('bag', bag, '--output', tmp_path / 'out', *METRES, *EVERYWHERE, *options) == 0
    depth = read(tmp_path / 'out')['/camera/depth/image_rect'][0][2]
    np.testing.assert_allclose(values(depth), 1 / (SCALE * predict(picture(0)) + SHIFT), rtol=1e-5)


def test_a_ros1_bag_becomes_ros2(run, predict, picture, drive, tmp_path):
    bag = record_ros1(tmp_path / 'in.bag', drive(types=ROS1_TYPES))
    assert run('bag', bag, '--output', tmp_path / 'out', *METRES, *EVERYWHERE) == 0
    found = read(tmp_path / 'out')
    (_, _, chatter), *_ = found['/chatter']
    assert chatter.data == 'hello'
    for index in range(3):
        time_ns, _, copy = found['/camera/image_raw'][index]
        assert time_ns == stamp_ns(index) + LATENCY_NS
        assert content(copy.header) == content(header(index))
        assert np.array_equal(copy.data, picture(index).ravel())
        assert np.array_equal(found['/camera/camera_info'][index][2].k, np.array(K, float))
        depth = values(found['/camera/depth/image_rect'][index][2])
        np.testing.assert_allclose(depth, 1 / (SCALE * predict(picture(index)) + SHIFT), rtol=1e-5)
    assert len(found['/camera/points']) == 3


def test_a_damaged_ros1_message_is_left_out(run, drive, tmp_path, capsys):
    bag = tmp_path / 'in.bag'
    with Ros1Writer(bag) as writer:
        connection = writer.add_connection('/chatter', 'std_msgs/msg/String', typestore=ROS1_TYPES)
        writer.write(connection, stamp_ns(0), b'\xff\xff\xff\x00cut')
        camera = writer.add_connection('/image', 'sensor_msgs/msg/Image', typestore=ROS1_TYPES)
        data = ROS1_TYPES.serialize_ros1(drive(types=ROS1_TYPES)[1][2], 'sensor_msgs/msg/Image')
        writer.write(camera, stamp_ns(1), data)
    assert run('bag', bag, '--output', tmp_path / 'out') == 0
    assert '/chatter: messages that cannot be converted are left out' in capsys.readouterr().err
    assert '/chatter' not in read(tmp_path / 'out')


def test_compressed_images_have_the_siblings_of_raw_ones(run, predict, picture, tmp_path):
    messages = []
    for index in range(2):
        messages += [
            ('/front/image_raw/compressed', stamp_ns(index), compressed(index, picture(index))),
            ('/front/camera_info', stamp_ns(index), camera_info(index)),
        ]
    bag = record(tmp_path / 'in', messages)
    assert run('bag', bag, '--output', tmp_path / 'out', *METRES, *EVERYWHERE) == 0
    found = read(tmp_path / 'out')
    assert_copied(bag, found)
    depth = values(found['/front/depth/image_rect'][1][2])
    np.testing.assert_allclose(depth, 1 / (SCALE * predict(picture(1)) + SHIFT), rtol=1e-5)
    assert len(found['/front/points']) == 2


def test_a_depth_topic_gives_the_scale_though_it_is_logged_later(run, predict, picture, drive, tmp_path):
    messages = drive()
    for index in range(3):
        depth = (1 / (SCALE * predict(picture(index)) + SHIFT)).astype(np.float32)
        depth[::2] = np.nan
        messages.append(('/lidar/depth', stamp_ns(index) + 60_000_000, image(index, depth, '32FC1')))
    bag = record(tmp_path / 'in', sorted(messages, key=lambda item: item[1]))
    assert run('bag', bag, '--output', tmp_path / 'out', '--scale-reference', '/lidar/depth', *EVERYWHERE) == 0
    found = read(tmp_path / 'out')['/camera/depth/image_rect']
    assert len(found) == 3
    for index, (_, _, message) in enumerate(found):
        np.testing.assert_allclose(values(message), 1 / (SCALE * predict(picture(index)) + SHIFT), rtol=1e-3)


def test_a_scale_reference_of_no_use_gives_no_metres_and_says_why(run, drive, tmp_path, capsys):
    messages = [*drive(), ('/depth', stamp_ns(0), image(0, np.full((5, 90), 2.0, np.float32), '32FC1'))]
    bag = record(tmp_path / 'in', messages)
    assert run('bag', bag, '--output', tmp_path / 'out', '--scale-reference', '/depth') == 0
    assert '/camera/depth/image_rect' not in read(tmp_path / 'out')
    assert '3 of 3 frames without metres, first: the depth image is 90x5' in last_line(capsys)


def test_frames_that_cannot_be_decoded_are_skipped_and_counted(run, picture, drive, tmp_path, capsys):
    messages = drive()
    cut = TYPES.serialize_cdr(image(7, picture()), 'sensor_msgs/msg/Image')[:200]
    messages += [
        ('/camera/image_raw', stamp_ns(7), image(7, picture(), encoding='cmyk')),
        ('/camera/image_raw', stamp_ns(8), ('sensor_msgs/msg/Image', bytes(cut))),
        ('/camera/image_raw', stamp_ns(9), image(9, picture(9))),
    ]
    bag = record(tmp_path / 'in', messages)
    assert run('bag', bag, '--output', tmp_path / 'out', *METRES) == 0
    captured = capsys.readouterr()
    assert '4 of 6 frames' in captured.out
    assert "2 of 6 frames skipped, first: encoding 'cmyk' is not supported" in captured.err
    with AnyReader([tmp_path / 'out']) as reader:
        counts = {connection.topic: connection.msgcount for connection in reader.connections}
    assert counts['/camera/image_raw'] == 6
    assert counts['/camera/depth/image_rect'] == counts['/camera/points'] == 4


def test_without_a_usable_camera_info_there_is_depth_but_no_cloud(run, drive, tmp_path, capsys):
    for name, messages, words in (
        ('none', [item for item in drive() if 'camera_info' not in item[0]], 'no CameraInfo on /camera/camera_info'),
        ('size', drive(width=32), 'the image is 64x48, expected 32x48'),
        ('zero', drive(k=[0.0] * 9), 'fx = 0'),
    ):
        assert run('bag', record(tmp_path / name, messages), '--output', tmp_path / f'{name}_out', *METRES) == 0
        found = read(tmp_path / f'{name}_out')
        assert len(found['/camera/depth/image_rect']) == 3
        assert '/camera/points' not in found
        assert words in last_line(capsys)


def test_one_camera_info_logged_late_serves_all_frames(run, drive, tmp_path):
    messages = [item for item in drive() if 'camera_info' not in item[0]]
    messages.append(('/calibration', stamp_ns(50), camera_info(50)))
    options = ('--camera-info-topic', '/calibration', *METRES)
    assert run('bag', record(tmp_path / 'in', messages), '--output', tmp_path / 'out', *options) == 0
    assert len(read(tmp_path / 'out')['/camera/points']) == 3


def old_bag(path, picture):
    """A rosbag2 database of 2019: no metadata.yaml, no /msg/ in the type names, no definitions."""
    messages = [
        ('/image', 'sensor_msgs/Image', TYPES.serialize_cdr(image(0, picture()), 'sensor_msgs/msg/Image')),
        ('/thing', 'my_msgs/Thing', b'\x00\x01\x00\x00\x2a\x00\x00\x00'),
    ]
    with sqlite3.connect(path) as database:
        database.execute('CREATE TABLE topics(id INTEGER PRIMARY KEY, name TEXT, type TEXT, serialization_format TEXT)')
        database.execute(
            'CREATE TABLE messages(id INTEGER PRIMARY KEY, topic_id INTEGER, timestamp INTEGER, data BLOB)'
        )
        for index, (topic, kind, data) in enumerate(messages, start=1):
            database.execute('INSERT INTO topics VALUES(?, ?, ?, ?)', (index, topic, kind, 'cdr'))
            database.execute('INSERT INTO messages VALUES(?, ?, ?, ?)', (index, index, stamp_ns(index), bytes(data)))
    database.close()
    return path


def test_a_bag_of_2019_and_types_nobody_knows_are_copied(run, picture, tmp_path, capsys):
    assert run('bag', old_bag(tmp_path / 'old.db3', picture), '--output', tmp_path / 'out', *METRES) == 0
    with AnyReader([tmp_path / 'out']) as reader:
        kinds = {connection.topic: connection.msgtype for connection in reader.connections}
        raw = {connection.topic: bytes(data) for connection, _, data in reader.messages()}
    assert kinds['/image'] == kinds['/depth/image_rect'] == 'sensor_msgs/msg/Image'
    assert kinds['/thing'] == 'my_msgs/msg/Thing'
    assert raw['/thing'] == b'\x00\x01\x00\x00\x2a\x00\x00\x00'
    assert 'no definition of my_msgs/msg/Thing' in capsys.readouterr().err


def test_several_image_topics_leave_the_choice_to_the_user(run, drive, tmp_path, capsys):
    bag = record(tmp_path / 'in', [*drive('/left'), *drive('/right')[1:]])
    assert run('bag', bag, '--output', tmp_path / 'out') == 2
    assert '--image-topic: /left/image_raw, /right/image_raw' in last_line(capsys)
    assert run('bag', bag, '--output', tmp_path / 'out', '--image-topic', '/right/image_raw', *METRES) == 0
    assert len(read(tmp_path / 'out')['/right/points']) == 3
    assert run('bag', bag, '--output', tmp_path / 'new', '--image-topic', '/middle/image_raw') == 2
    assert '/left/image_raw, /right/image_raw' in last_line(capsys)


def test_a_second_run_needs_another_namespace(run, drive, tmp_path, capsys):
    assert run('bag', record(tmp_path / 'in', drive()), '--output', tmp_path / 'one') == 0
    again = ('bag', tmp_path / 'one', '--output', tmp_path / 'two', '--image-topic', '/camera/image_raw')
    assert run(*again) == 1
    assert '--namespace' in last_line(capsys)
    assert run(*again, '--namespace', '/second') == 0
    assert {'/camera/relative/image', '/second/relative/image'} <= set(read(tmp_path / 'two'))


def test_an_output_is_replaced_only_when_asked_and_only_if_it_is_a_bag(run, drive, tmp_path, capsys):
    bag = record(tmp_path / 'in', drive())
    (tmp_path / 'papers').mkdir()
    (tmp_path / 'papers' / 'thesis.tex').touch()
    assert run('bag', bag, '--output', tmp_path / 'papers', '--overwrite') == 1
    assert 'is not a bag' in last_line(capsys)
    assert run('bag', bag, '--output', bag, '--overwrite') == 2
    assert 'is the input' in last_line(capsys)
    assert run('bag', bag, '--output', tmp_path / 'out') == 0
    assert run('bag', bag, '--output', tmp_path / 'out', *METRES) == 1
    assert '--overwrite' in last_line(capsys)
    assert '/camera/points' not in read(tmp_path / 'out')
    assert run('bag', bag, '--output', tmp_path / 'out', *METRES, '--overwrite') == 0
    assert '/camera/points' in read(tmp_path / 'out')
    assert sorted(path.name for path in tmp_path.iterdir()) == ['in', 'out', 'papers']


def test_an_interrupted_run_leaves_the_old_bag_and_nothing_else(run, drive, tmp_path, monkeypatch):
    bag = record(tmp_path / 'in', drive())
    assert run('bag', bag, '--output', tmp_path / 'out') == 0

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr('depth_anything_ros.cli.bag_outputs.BagOutputs.write_depth', interrupt)
    assert run('bag', bag, '--output', tmp_path / 'out', *METRES, '--overwrite') == 130
    assert sorted(path.name for path in tmp_path.iterdir()) == ['in', 'out']
    assert len(read(tmp_path / 'out')['/camera/relative/image']) == 3


def test_a_damaged_bag_gives_what_it_has_and_a_warning(run, picture, drive, tmp_path, capsys):
    messages = drive()
    messages += [('/camera/image_raw', stamp_ns(index), image(index, picture(index))) for index in range(10, 20)]
    bag = record(tmp_path / 'in', messages)
    (database,) = bag.glob('*.db3')
    pages = bytearray(database.read_bytes())
    # SQLite keeps a large message in a chain of pages, and the number of the next one at the start of each.
    page = pages.index(picture(15).tobytes()[2000:2050]) // 4096 * 4096
    pages[page : page + 4] = b'\xff' * 4
    database.write_bytes(pages)
    assert run('bag', bag, '--output', tmp_path / 'out') == 0
    assert 'damaged' in last_line(capsys)
    assert 3 < len(read(tmp_path / 'out')['/camera/relative/image']) <= 8


def make_empty(path):
    record(path, [('/camera/image_raw', 0, image(0, np.zeros((48, 64, 3), np.uint8)))])
    (database,) = path.glob('*.db3')
    with sqlite3.connect(database) as connection:
        connection.execute('DELETE FROM messages')
    connection.close()
    return database


def make_folder(path):
    path.mkdir()
    return path


def make_garbage(path):
    path = path.with_suffix('.mcap')
    path.write_bytes(b'garbage' * 100)
    return path


def make_cut(path):
    record(path, [('/a', 0, text('hello'))], StoragePlugin.MCAP)
    (file,) = path.glob('*.mcap')
    file.write_bytes(file.read_bytes()[:-50])
    return file


def make_undecodable(path):
    return record(path, [('/image', 0, image(0, np.zeros((48, 64, 3), np.uint8), encoding='cmyk'))])


@pytest.mark.parametrize(
    ('make', 'code', 'words'),
    [
        (lambda path: path, 1, 'no such file'),
        (make_folder, 1, 'no metadata.yaml'),
        (make_garbage, 1, 'cannot be read as a bag'),
        (make_cut, 1, 'mcap recover'),
        (make_empty, 1, 'has no messages'),
        (make_undecodable, 1, "no frame of /image could be used: encoding 'cmyk'"),
        (lambda path: record(path, [('/a', 0, text('hello'))]), 1, 'no topic of sensor_msgs/msg/Image'),
    ],
)
def test_a_bag_of_no_use_is_one_line(run, tmp_path, capsys, make, code, words):
    bag = make(tmp_path / 'in')
    assert run('bag', bag, '--output', tmp_path / 'out') == code
    error = capsys.readouterr().err
    assert 'Traceback' not in error
    assert words in error.splitlines()[-1]
    assert not list(tmp_path.glob('*out*'))


def test_scale_and_scale_reference_exclude_each_other(run, drive, tmp_path, capsys):
    bag = record(tmp_path / 'in', [*drive(), ('/d', stamp_ns(0), image(0, np.ones((48, 64), np.float32), '32FC1'))])
    assert run('bag', bag, '--output', tmp_path / 'out', '--scale-reference', '/d', *METRES) == 2
    assert 'exclude each other' in last_line(capsys)


@pytest.mark.parametrize(
    ('name', 'topic'), [('t265_ros1.bag', '/camera/fisheye1/image_raw'), ('old_ros2_sample.db3', '/image')]
)
def test_real_bags(run, shared_data, tmp_path, name, topic):
    bag = shared_data / 'bags' / name
    assert run('bag', bag, '--output', tmp_path / 'out', '--image-topic', topic, *METRES) == 0
    found = read(tmp_path / 'out')
    assert len(found[topic]) == len(found[f'{topic.rpartition("/")[0]}/depth/image_rect'])
