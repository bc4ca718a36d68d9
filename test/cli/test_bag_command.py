import sqlite3

import cv2
import numpy as np
import pytest
from recordings import (
    HEIGHT,
    LATENCY_NS,
    ROS1_TYPES,
    TYPES,
    WIDTH,
    K,
    assert_copied,
    camera_info,
    cloud,
    compressed,
    content,
    header,
    image,
    imu,
    last_line,
    read,
    record,
    record_ros1,
    stamp_ns,
    text,
    transforms,
    values,
    xyz,
)
from rosbags.highlevel import AnyReader
from rosbags.rosbag1 import Writer as Ros1Writer
from rosbags.rosbag2 import StoragePlugin
from worlds import LIDAR_POSITION, LIDAR_QUATERNION, POSE, Oracle, depth_of, picture_of, points_of

from depth_anything_ros.alignment import Alignment
from depth_anything_ros.cli import pipeline

SCALE, SHIFT = 0.4, 0.05
METRES = ('--scale', SCALE, '--shift', SHIFT)
EVERYWHERE = ('--edge-threshold', 0, '--range-min', 0, '--range-max', 1000)


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


def test_a_cloud_of_which_nothing_is_known_is_withheld_and_one_of_free_space_is_empty(run, drive, tmp_path, capsys):
    bag = record(tmp_path / 'in', drive())
    five_centimetres = ('--scale', 0.001, '--shift', 20)
    assert run('bag', bag, '--output', tmp_path / 'unknown', *five_centimetres, '--range-min', 1) == 0
    found = read(tmp_path / 'unknown')
    assert len(found['/camera/depth/image_rect']) == 3
    assert '/camera/points' not in found
    assert (
        '3 of 3 frames without points, first: there is no point, and most of the view is unknown, or some of it nearer'
        in last_line(capsys)
    )
    free = ('--range-min', 0, '--range-max', 0.01)
    assert run('bag', bag, '--output', tmp_path / 'free', *five_centimetres, *free) == 0
    assert [len(xyz(message)) for _, _, message in read(tmp_path / 'free')['/camera/points']] == [0, 0, 0]
    assert 'without points' not in capsys.readouterr().err


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


def test_a_frame_that_there_is_no_memory_for_is_skipped(run, drive, tmp_path, capsys, crowded_gpu):
    assert run('bag', record(tmp_path / 'in', drive()), '--output', tmp_path / 'out', *METRES) == 0
    captured = capsys.readouterr()
    assert '2 of 3 frames' in captured.out
    assert "1 of 3 frames skipped, first: 'cpu' is out of memory" in captured.err


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


def test_depth_in_another_geometry_is_left_out_once_frames_are_rectified(run, drive, tmp_path, capsys):
    lens = (-0.2, 0.05, 0.0, 0.0, 0.0)
    messages = [*drive(d=lens)[:3], *drive(d=lens, width=32)[3:]]
    assert run('bag', record(tmp_path / 'in', messages), '--output', tmp_path / 'out', *METRES) == 0
    found = read(tmp_path / 'out')
    assert 0 < len(found['/camera/depth/image_rect']) == len(found['/camera/depth/camera_info']) < 3
    assert 'without depth, which would not be rectified' in capsys.readouterr().err


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


def test_the_image_is_what_shows_something_and_raw_if_it_is_there_twice(run, picture, drive, tmp_path, capsys):
    messages = drive()
    for index in range(3):
        time_ns = stamp_ns(index) + LATENCY_NS
        depth = np.full((HEIGHT, WIDTH), 2000, np.uint16)
        messages += [
            ('/camera/depth/image_raw', time_ns, image(index, depth, '16UC1')),
            ('/camera/image_raw/compressed', time_ns, compressed(index, picture(index))),
        ]
    bag = record(tmp_path / 'in', messages)
    assert run('bag', bag, '--output', tmp_path / 'out') == 0
    assert '/camera/relative/image' in read(tmp_path / 'out')


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
    # One file of a recording of several is not the whole of it.
    part = next(bag.glob('*.db3'), None) or next(bag.glob('*.mcap'))
    assert run('bag', part, '--output', bag, '--overwrite') == 2
    assert 'holds it' in last_line(capsys)
    assert part.exists()
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


def world(types=TYPES, frames=6):
    """The scene of worlds.py: a camera, its calibration, and the points of a LiDAR 20 ms later."""
    for index in range(frames):
        time_ns = stamp_ns(index) + LATENCY_NS
        yield '/camera/image_raw', time_ns, image(index, picture_of(index), types=types)
        yield '/camera/camera_info', time_ns + 1000, camera_info(index, types)
        yield '/lidar', time_ns + 20_000_000, cloud(index, points_of(depth_of(index)), types)


@pytest.fixture
def oracle(monkeypatch):
    """The estimator of worlds.py, in place of the network."""
    monkeypatch.setattr(pipeline, 'DepthEstimator', lambda *args, **kwargs: Oracle(noise=0.005))


def assert_metric(path):
    """The depth in the bag is that of the scene."""
    found = read(path)['/camera/depth/image_rect']
    assert [content(message.header) for _, _, message in found] == [content(header(index)) for index in range(6)]
    for index, (_, _, message) in enumerate(found):
        error = values(message) / depth_of(index) - 1
        assert np.median(np.abs(error)) < 0.01


POINTS = ('--alignment-source', 'points', *EVERYWHERE)
MOUNT = ('camera_optical_frame', 'lidar', LIDAR_POSITION, LIDAR_QUATERNION)


@pytest.mark.parametrize(
    ('source', 'warned'), [(POINTS, True), ((*POINTS, '--set', 'correct_metric_model=true'), False), ((), False)]
)
def test_a_metric_model_that_is_not_corrected_is_told(run, monkeypatch, tmp_path, capsys, source, warned):
    monkeypatch.setattr(pipeline, 'DepthEstimator', lambda *args, **kwargs: Oracle('depth'))
    bag = record(tmp_path / 'in', [*world(), ('/tf_static', stamp_ns(0), transforms(0, MOUNT))])
    assert run('bag', bag, '--output', tmp_path / 'out', *source) == 0
    told = 'oracle is a metric model and believed as it is; --set correct_metric_model=true aligns it'
    assert capsys.readouterr().err.count(told) == warned


def test_points_give_metres_through_static_transforms_logged_last(run, oracle, tmp_path, capsys):
    messages = [*world(), ('/tf_static', stamp_ns(9), transforms(9, MOUNT))]
    bag = record(tmp_path / 'in', messages)
    assert run('bag', bag, '--output', tmp_path / 'out', *POINTS) == 0
    assert_metric(tmp_path / 'out')
    assert_copied(bag, read(tmp_path / 'out'))
    assert 'alignment: 6 fits, 0 gated, 0 refused' in capsys.readouterr().out


def test_a_lidar_that_is_moved_is_found_through_tf(run, oracle, tmp_path):
    # A mast, whose height TF tells before and after each frame.
    messages = list(world())
    for index in range(-1, 7):
        height = 0.3 * index
        mast = ('mast', 'camera_optical_frame', (0, 0, height), (0, 0, 0, 1))
        messages.append(('/tf', stamp_ns(index), transforms(index, mast)))
    # In the mast's frame the camera moves and the LiDAR does not, so in the LiDAR's the scene does.
    moved = [item for item in messages if item[0] != '/lidar']
    for index in range(6):
        points = points_of(depth_of(index)) + np.array([0.3 * index, 0, 0])
        moved.append(('/lidar', stamp_ns(index) + 30_000_000, cloud(index, points)))
    messages = [*moved, ('/tf_static', stamp_ns(0), transforms(0, ('mast', *MOUNT[1:])))]
    bag = record(tmp_path / 'in', sorted(messages, key=lambda item: item[1]))
    assert run('bag', bag, '--output', tmp_path / 'out', *POINTS) == 0
    assert_metric(tmp_path / 'out')


@pytest.mark.parametrize('kind', ['tf2_msgs/msg/TFMessage', 'tf/msg/tfMessage'])
def test_transforms_of_ros1_are_read(run, oracle, tmp_path, kind):
    tf = {'types': ROS1_TYPES, 'kind': kind}
    if kind == 'tf/msg/tfMessage':  # of the days before tf_static
        poses = [('/tf', stamp_ns(index) - 1, transforms(index, MOUNT, **tf)) for index in range(-1, 8)]
    else:
        poses = [('/tf_static', stamp_ns(9), transforms(9, MOUNT, **tf))]
    messages = [*world(ROS1_TYPES), *poses]
    bag = record_ros1(tmp_path / 'in.bag', sorted(messages, key=lambda item: item[1]))
    assert run('bag', bag, '--output', tmp_path / 'out', *POINTS) == 0
    assert_metric(tmp_path / 'out')


def test_without_transforms_there_are_no_metres_until_extrinsics_are_given(run, oracle, tmp_path, capsys):
    bag = record(tmp_path / 'in', world())
    assert run('bag', bag, '--output', tmp_path / 'none', *POINTS) == 0
    captured = capsys.readouterr()
    assert '/camera/depth/image_rect' not in read(tmp_path / 'none')
    assert "6 of 6 frames without metres, first: no transform names 'camera_optical_frame' or 'lidar'" in captured.err
    assert '0 fits, 0 gated, 6 refused' in captured.out
    assert run('bag', bag, '--output', tmp_path / 'out', *POINTS, '--extrinsics', *POSE) == 0
    assert_metric(tmp_path / 'out')


def test_a_transform_that_is_none_is_left_out_and_said(run, oracle, tmp_path, capsys):
    broken = (*MOUNT[:3], (0, 0, 0, 0))
    messages = [*world(), ('/tf_static', stamp_ns(0), transforms(0, broken))]
    assert run('bag', record(tmp_path / 'in', messages), '--output', tmp_path / 'out', *POINTS) == 0
    assert '/tf_static: a transform is left out' in capsys.readouterr().err


def test_other_topics_of_a_source_are_remapped(run, oracle, tmp_path, capsys):
    # Two IMUs: the camera's, and one on an arm.
    messages = list(world())
    for index in range(6):
        messages.append(('/imu', stamp_ns(index), imu(index, (0, -9.81, 0))))
        messages.append(('/arm/imu', stamp_ns(index), imu(index, (9.81, 0, 0))))
    bag = record(tmp_path / 'in', sorted(messages, key=lambda item: item[1]))
    options = (
        '--alignment-source',
        'ground,gravity=imu,height_m=1.2',
        '--image-topic',
        '/camera/image_raw',
        *EVERYWHERE,
    )
    assert run('bag', bag, '--output', tmp_path / 'none', *options) == 2
    assert 'name it with --remap imu:=TOPIC; there are /arm/imu, /imu' in last_line(capsys)
    assert run('bag', bag, '--output', tmp_path / 'none', *options, '--remap', 'imu:=/camera/image_raw') == 2
    assert 'no topic /camera/image_raw of sensor_msgs/msg/Imu' in last_line(capsys)
    assert run('bag', bag, '--output', tmp_path / 'out', *options, '--remap', 'imu:=/imu') == 0
    assert_metric(tmp_path / 'out')


def test_the_floor_gives_metres_without_evidence(run, oracle, tmp_path):
    # The scene's floor is 1.2 m below the camera, which looks along it.
    floor = ('--alignment-source', 'ground', '--set', 'gravity=parameters', '--set', 'height_m=1.2', *EVERYWHERE)
    assert run('bag', record(tmp_path / 'in', world()), '--output', tmp_path / 'out', *floor) == 0
    assert_metric(tmp_path / 'out')


def test_a_bag_has_one_source(run, oracle, tmp_path, capsys):
    options = ('--alignment-source', 'points', '--alignment-source', 'none')
    assert run('bag', record(tmp_path / 'in', world()), '--output', tmp_path / 'out', *options) == 2
    assert 'depth-anything align' in last_line(capsys)


@pytest.mark.parametrize('pose', [('0', '0', '0', '0', '0', '0', '0'), ('nan', *'000001')])
def test_extrinsics_that_are_no_pose_are_refused(run, oracle, tmp_path, capsys, pose):
    bag = record(tmp_path / 'in', world())
    assert run('bag', bag, '--output', tmp_path / 'out', *POINTS, '--extrinsics', *pose) == 2
    assert '--extrinsics: expected a translation' in last_line(capsys)
    assert not list(tmp_path.glob('*out*'))


@pytest.mark.parametrize(
    ('name', 'topic'), [('t265_ros1.bag', '/camera/fisheye1/image_raw'), ('old_ros2_sample.db3', '/image')]
)
def test_real_bags(run, shared_data, tmp_path, name, topic):
    bag = shared_data / 'bags' / name
    assert run('bag', bag, '--output', tmp_path / 'out', '--image-topic', topic, *METRES) == 0
    found = read(tmp_path / 'out')
    assert len(found[topic]) == len(found[f'{topic.rpartition("/")[0]}/depth/image_rect'])
