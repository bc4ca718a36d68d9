"""TF: the module tf2_ros as this package uses it, a stand-in with its signatures, and the real one where it is."""

import sys
import time
from contextlib import suppress
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
from builtin_interfaces.msg import Time as MessageTime
from dds_client import camera_info, cloud_of, depth_of, see, seen_points, until_metres, values_of
from diagnostic_msgs.msg import DiagnosticStatus
from rclpy.clock import ClockType
from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.time import Time
from sensor_msgs.msg import PointCloud2

from depth_anything_ros.geometry.transforms import TransformError, TransformTree
from depth_anything_ros.node.transforms import TfTransforms

CAMERA, LIDAR, ODOM = 'camera_optical_frame', 'lidar', 'odom'
SECOND = 10**9


@pytest.fixture
def node():
    node = Node('transforms_test')
    yield node
    node.destroy_node()


@pytest.fixture
def tf2(monkeypatch):
    """A module with the signatures of ros2/geometry2, from Humble to Rolling; tree: what its buffer knows."""
    module = ModuleType('tf2_ros')
    module.tree, module.listeners, module.waits, module.cleared = None, [], [], []

    class TransformException(Exception):
        pass

    class LookupException(TransformException):
        pass

    class ExtrapolationException(TransformException):
        pass

    class Buffer:
        def __init__(self, cache_time=None, node=None):
            assert cache_time is None
            # With a node, Humble's never clears itself, and early Jazzy's fails when it should.
            assert node is None

        def clear(self):
            module.cleared.append(self)

        def lookup_transform(self, target_frame, source_frame, time, timeout=Duration()):  # noqa: B008
            return look_up('', target_frame, time, source_frame, time, timeout)

        def lookup_transform_full(
            self,
            target_frame,
            target_time,
            source_frame,
            source_time,
            fixed_frame,
            timeout=Duration(),  # noqa: B008
        ):
            return look_up(fixed_frame, target_frame, target_time, source_frame, source_time, timeout)

    def look_up(fixed_frame, target_frame, target_time, source_frame, source_time, timeout):
        assert isinstance(target_time, Time)
        assert isinstance(source_time, Time)
        module.waits.append(timeout.nanoseconds)
        tree = module.tree(fixed_frame)
        try:
            matrix = tree.lookup(target_frame, target_time.nanoseconds, source_frame, source_time.nanoseconds)
        except TransformError as error:
            kind = ExtrapolationException if 'known from' in str(error) else LookupException
            raise kind(str(error)) from error
        x, y, z = matrix[:3, 3]
        translation, rotation = SimpleNamespace(x=x, y=y, z=z), SimpleNamespace(x=0.0, y=0.0, z=0.0, w=1.0)
        return SimpleNamespace(transform=SimpleNamespace(translation=translation, rotation=rotation))

    class TransformListener:
        def __init__(self, buffer, node, *, spin_thread=False, qos=None, static_qos=None):
            assert isinstance(buffer, Buffer)
            assert not spin_thread
            module.listeners.append(self)

        def unregister(self):
            module.listeners.remove(self)

    for item in (TransformException, LookupException, ExtrapolationException, Buffer, TransformListener):
        setattr(module, item.__name__, item)
    monkeypatch.setitem(sys.modules, 'tf2_ros', module)
    return module


def tree_of(*poses):
    """Poses are (parent, child, stamp_ns or None, translation)."""

    def make(fixed_frame):
        tree = TransformTree(fixed_frame)
        for parent, child, stamp, translation in poses:
            tree.add(parent, child, stamp, translation, (0.0, 0.0, 0.0, 1.0))
        return tree

    return make


def translation_of(matrix):
    return matrix[:3, 3]


def test_a_pose_comes_from_tf(node, tf2):
    tf2.tree = tree_of((CAMERA, LIDAR, None, (0.0, -0.1, 0.3)))
    matrix = TfTransforms(node).lookup(CAMERA, 5 * SECOND, LIDAR, 5 * SECOND)
    np.testing.assert_allclose(translation_of(matrix), [0.0, -0.1, 0.3])
    np.testing.assert_allclose(matrix[:3, :3], np.eye(3))


def test_slashes_of_ros_1_are_left_out(node, tf2):
    tf2.tree = tree_of((CAMERA, LIDAR, None, (1.0, 0.0, 0.0)))
    transforms = TfTransforms(node)
    np.testing.assert_allclose(translation_of(transforms.lookup(f'/{CAMERA}', 1, f'/{LIDAR}', 1)), [1.0, 0.0, 0.0])


def test_tf_is_listened_to_only_from_the_first_lookup_on(node, tf2):
    tf2.tree = tree_of((CAMERA, LIDAR, None, (0.0, 0.0, 1.0)))
    transforms = TfTransforms(node)
    np.testing.assert_array_equal(transforms.lookup(CAMERA, 1, CAMERA, 2), np.eye(4))
    assert tf2.listeners == []
    for _ in range(3):
        transforms.lookup(CAMERA, 1, LIDAR, 1)
    assert len(tf2.listeners) == 1
    transforms.close()
    transforms.close()
    assert tf2.listeners == []
    transforms.lookup(CAMERA, 1, LIDAR, 1)
    assert len(tf2.listeners) == 1


def test_what_was_heard_is_forgotten_when_time_begins_anew(tf2):
    node = Node('transforms_test', parameter_overrides=[Parameter('use_sim_time', value=True)])
    tf2.tree = tree_of((CAMERA, LIDAR, None, (0.0, 0.0, 1.0)))
    transforms = TfTransforms(node)

    def set_time(seconds):
        node.get_clock().set_ros_time_override(Time(seconds=seconds, clock_type=ClockType.ROS_TIME))

    try:
        set_time(100.0)
        transforms.lookup(CAMERA, 1, LIDAR, 1)
        set_time(101.0)
        set_time(100.5)  # a late message
        assert tf2.cleared == []
        set_time(5.0)
        assert len(tf2.cleared) == 1
        transforms.close()
        set_time(1.0)
        assert len(tf2.cleared) == 1
        transforms.lookup(CAMERA, 1, LIDAR, 1)
        set_time(9.0)
        set_time(2.0)
        assert len(set(tf2.cleared)) == 2
        # A bag that begins again without a clock.
        transforms.restart()
        assert len(tf2.cleared) == 3
    finally:
        transforms.close()
        node.destroy_node()


def test_a_fixed_frame_carries_evidence_from_its_stamp_to_that_of_the_image(node, tf2):
    # A robot that drives forward at 1 m/s, its camera and lidar in one place.
    tf2.tree = tree_of(
        (ODOM, 'base', 0, (0.0, 0.0, 0.0)),
        (ODOM, 'base', 10 * SECOND, (10.0, 0.0, 0.0)),
        ('base', CAMERA, None, (0.0, 0.0, 0.0)),
        ('base', LIDAR, None, (0.0, 0.0, 0.0)),
    )
    transforms = TfTransforms(node)
    np.testing.assert_allclose(translation_of(transforms.lookup(CAMERA, 3 * SECOND, LIDAR, 2 * SECOND)), 0.0)
    # Of two times the earlier: transforms of the later one may be still on their way.
    for times in ((2, 3), (3, 2)):
        matrix = transforms.lookup(ODOM, times[0] * SECOND, 'base', times[1] * SECOND)
        np.testing.assert_allclose(translation_of(matrix), [2.0, 0.0, 0.0])
    transforms.fixed_frame = ODOM
    # What was at the lidar a second ago is now a metre behind.
    matrix = transforms.lookup(CAMERA, 3 * SECOND, LIDAR, 2 * SECOND)
    np.testing.assert_allclose(translation_of(matrix), [-1.0, 0.0, 0.0])
    # The same frame at two times is not the same place.
    matrix = transforms.lookup(CAMERA, 3 * SECOND, CAMERA, 2 * SECOND)
    np.testing.assert_allclose(translation_of(matrix), [-1.0, 0.0, 0.0])


def test_a_broken_tree_names_frames_time_and_remedy(node, tf2):
    tf2.tree = tree_of((CAMERA, 'imu', None, (0.0, 0.0, 1.0)))
    with pytest.raises(TransformError) as caught:
        TfTransforms(node).lookup(CAMERA, 5 * SECOND, LIDAR, 5 * SECOND)
    for part in (CAMERA, LIDAR, '5.000 s', '/tf_static', 'alignment.extrinsics'):
        assert part in str(caught.value)


def test_a_transform_that_is_late_is_waited_for_but_briefly(node, tf2):
    tf2.tree = tree_of((ODOM, 'base', 0, (0.0, 0.0, 0.0)), (ODOM, 'base', SECOND, (1.0, 0.0, 0.0)))
    transforms = TfTransforms(node)
    transforms.lookup(ODOM, SECOND, 'base', SECOND)
    assert tf2.waits == [0]
    with pytest.raises(TransformError, match='not at 9'):
        transforms.lookup(ODOM, 9 * SECOND, 'base', 9 * SECOND)
    assert tf2.waits[1] == 0
    assert 0 < tf2.waits[2] <= SECOND // 10
    # What is not there at all is not waited for.
    with pytest.raises(TransformError):
        transforms.lookup(ODOM, SECOND, LIDAR, SECOND)
    assert tf2.waits[3:] == [0]


@pytest.mark.parametrize(
    ('target', 'source', 'stamp', 'text'),
    [('', LIDAR, 1, 'image'), (CAMERA, '', 1, 'evidence'), ('', '', 1, 'empty'), (CAMERA, LIDAR, -5, '1970')],
)
def test_what_tf_cannot_be_asked_is_refused(node, tf2, target, source, stamp, text):
    with pytest.raises(TransformError, match=text):
        TfTransforms(node).lookup(target, stamp, source, stamp)


def test_a_pose_that_is_none_is_refused(node, tf2):
    tf2.tree = tree_of((CAMERA, LIDAR, None, (0.0, 0.0, 1.0)))
    zeros = SimpleNamespace(x=0.0, y=0.0, z=0.0, w=0.0)
    tf2.Buffer.lookup_transform = lambda *_: SimpleNamespace(
        transform=SimpleNamespace(translation=zeros, rotation=zeros)
    )
    with pytest.raises(TransformError, match=LIDAR):
        TfTransforms(node).lookup(CAMERA, 1, LIDAR, 1)


def test_without_tf2_ros_the_way_out_is_told(node, monkeypatch):
    monkeypatch.setitem(sys.modules, 'tf2_ros', None)
    transforms = TfTransforms(node)
    np.testing.assert_array_equal(transforms.lookup(CAMERA, 1, CAMERA, 1), np.eye(4))
    with pytest.raises(TransformError, match=f'{LIDAR}.*tf2_ros is not installed.*alignment.extrinsics'):
        transforms.lookup(CAMERA, 1, LIDAR, 1)


def test_the_frame_that_stands_still_is_a_parameter_of_the_node(run_node):
    node, _ = run_node(**{'alignment.fixed_frame': ODOM})
    assert node._tf.fixed_frame == ODOM
    (result,) = node.set_parameters([Parameter('alignment.fixed_frame', value='map')])
    assert result.successful
    assert node._tf.fixed_frame == 'map'


def test_poses_are_forgotten_when_the_images_stamps_go_back(run_node, tf2):
    tf2.tree = tree_of((CAMERA, LIDAR, None, (0.0, 0.0, 0.0)))
    _, client = run_node(
        ['relative/image', 'depth/image_color', 'depth/image_rect'],
        evidence_type=PointCloud2,
        **{'alignment.source': 'points', 'alignment.points.occlusion': 0.0, 'edge.threshold': 0.0},
    )
    truth, image = see(client)
    cloud = cloud_of(seen_points(truth, camera_info())[::5], LIDAR)
    until_metres(client, lambda: client.send(image, info=camera_info(), reference=cloud))
    assert tf2.cleared == []
    now = client.next_stamp
    client.next_stamp = lambda: MessageTime(sec=now().sec - 60, nanosec=0)
    client.answer('depth/image_color', client.send(image, info=camera_info()))
    assert len(tf2.cleared) == 1


def test_the_node_takes_a_cloud_to_the_camera_by_tf_and_says_when_it_cannot(run_node, tf2):
    settings = {'alignment.source': 'points', 'alignment.points.occlusion': 0.0, 'edge.threshold': 0.0}
    tf2.tree = tree_of((CAMERA, 'imu', None, (0.0, 0.0, 1.0)))
    node, client = run_node(
        ['relative/image', 'depth/image_color', 'depth/image_rect'], evidence_type=PointCloud2, **settings
    )
    truth, image = see(client)
    points = seen_points(truth, camera_info())[::5] - np.float32([0.2, 0.0, 0.0])

    def send():
        return client.send(image, info=camera_info(), reference=cloud_of(points, LIDAR))

    def refused():
        client.answer('relative/image', send())
        status = client.status('alignment')
        return LIDAR in status.message and status

    status = client.wait_for(refused, 'word of the frame')
    assert status.level == DiagnosticStatus.ERROR
    assert CAMERA in status.message
    assert not client.received['depth/image_rect']
    tf2.tree = tree_of((CAMERA, LIDAR, None, (0.2, 0.0, 0.0)))
    np.testing.assert_allclose(depth_of(until_metres(client, send)), truth, rtol=5e-3)
    assert float(values_of(client.status('alignment'))['explained']) > 0.99
    assert len(tf2.listeners) == 1
    node.trigger_deactivate()
    assert tf2.listeners == []


def test_the_real_tf2_ros_serves(node):
    tf2_ros = pytest.importorskip('tf2_ros', reason='tf2_ros is not on PyPI: run this test in a ROS 2 install')
    from geometry_msgs.msg import TransformStamped
    from rclpy.executors import SingleThreadedExecutor

    stamped = TransformStamped(child_frame_id=LIDAR)
    stamped.header.frame_id = CAMERA
    stamped.transform.translation.z = 0.3
    stamped.transform.rotation.w = 1.0
    broadcaster = tf2_ros.StaticTransformBroadcaster(node)
    broadcaster.sendTransform(stamped)
    transforms = TfTransforms(node)
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    deadline = time.monotonic() + 10.0
    with pytest.raises(TransformError, match=LIDAR):  # nothing has been heard yet
        transforms.lookup(CAMERA, SECOND, LIDAR, SECOND)
    matrix = None
    while matrix is None and time.monotonic() < deadline:
        executor.spin_once(timeout_sec=0.1)
        with suppress(TransformError):
            matrix = transforms.lookup(CAMERA, SECOND, LIDAR, SECOND)
    executor.shutdown()
    np.testing.assert_allclose(translation_of(matrix), [0.0, 0.0, 0.3])
    with pytest.raises(TransformError, match='nowhere'):
        transforms.lookup(CAMERA, SECOND, 'nowhere', SECOND)
    transforms.close()
