"""The node as a node: lifecycle, parameters, scheduling, bad input, what it says of itself."""

import subprocess
import sys
import threading
import time

import cv2
import numpy as np
import pytest
from builtin_interfaces.msg import Time
from dds_client import SMALL, camera_info, depth_of, hold_predictions, picture, values_of
from diagnostic_msgs.msg import DiagnosticStatus
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from rclpy.executors import SingleThreadedExecutor
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile, ReliabilityPolicy, qos_profile_sensor_data
from sensor_msgs.msg import CompressedImage, Image
from std_srvs.srv import SetBool

from depth_anything_ros.messages import fill_image
from depth_anything_ros.node import worker
from depth_anything_ros.node.depth_node import DepthNode
from depth_anything_ros.node.latest import Latest
from depth_anything_ros.node.logs import Complaints
from depth_anything_ros.node.main import spin

METRES = 'v2-small-indoor'
IDLE = 'idle: nobody subscribes'


def test_every_frame_in_gives_one_frame_out_with_its_stamp(run_node):
    _, client = run_node(['relative/image'])
    stamps = []
    for seed in range(20):
        stamps.append(client.send(picture(seed=seed)))
        client.answer('relative/image', stamps[-1])
    assert [message.header.stamp for message in client.received['relative/image']] == stamps


def test_frames_that_come_too_fast_are_replaced_by_newer_ones_and_counted(run_node):
    _, client = run_node(['relative/image'], input_size=140)
    sent = 0
    deadline = time.monotonic() + 3.0
    while time.monotonic() < deadline:
        stamp = client.send(picture())
        sent += 1
        time.sleep(0.005)
    client.answer('relative/image', stamp)  # the newest is never the one that is lost
    counts = client.wait_for(
        lambda: (
            (counts := values_of(client.status('frames')))
            and int(counts['received']) == int(counts['processed']) + int(counts['replaced by a newer frame'])
            and counts
        ),
        'a balance of frames',
    )
    stamps = [message.header.stamp.nanosec for message in client.received['relative/image']]
    assert stamps == sorted(set(stamps))
    assert int(counts['processed']) == len(stamps)
    assert int(counts['replaced by a newer frame']) > 0
    assert int(counts['received']) <= sent


def test_size_encoding_and_calibration_may_change_between_frames(run_node, constant_checkpoint):
    topics = ['depth/image_rect', 'depth/camera_info', 'points']
    _, client = run_node(topics, **constant_checkpoint(METRES, 0.0))
    for height, width, focal, encoding in (
        (48, 64, 50.0, 'rgb8'),
        (60, 60, 70.0, 'bgr8'),
        (48, 64, 55.0, 'rgb8'),
        (90, 40, 50.0, 'rgb8'),
    ):
        stamp = client.send(picture(height, width), encoding, info=camera_info(height, width, focal))
        depth = client.answer('depth/image_rect', stamp)
        info = client.answer('depth/camera_info', stamp)
        cloud = client.answer('points', stamp)
        assert (depth.height, depth.width) == (info.height, info.width) == (height, width)
        assert info.k[0] == focal
        assert cloud.width == -(-height // 4) * -(-width // 4)


def image(encoding='rgb8', height=48, width=64, step=None, data=None):
    message = Image(encoding=encoding, height=height, width=width, step=width * 3 if step is None else step)
    message.data = bytes(message.step * height) if data is None else data
    return message


@pytest.mark.parametrize(
    ('bad', 'text'),
    [
        (image('32FC4', step=64 * 16), '32FC4'),
        (image('nonsense'), 'nonsense'),
        (image(height=0), '0'),
        (image(width=0, step=0), '0'),
        (image(data=bytes(100)), '100'),
        (image(step=10), '10'),
        (image(height=2, width=300, step=900), '8 to 1'),
    ],
    ids=['encoding', 'unknown encoding', 'no rows', 'no columns', 'truncated', 'step', 'ribbon'],
)
def test_a_bad_frame_is_rejected_with_its_reason_and_the_next_one_works(run_node, bad, text):
    _, client = run_node(['relative/image'])
    client.send(bad)
    status = client.wait_for(
        lambda: (status := client.status('frames')) and values_of(status)['rejected'] == '1' and status, 'rejection'
    )
    assert status.level == DiagnosticStatus.ERROR
    assert text in status.message
    client.answer('relative/image', client.send(picture()))
    values = client.wait_for(
        lambda: (values := values_of(client.status('frames'))) and int(values['processed']) and values, 'count'
    )
    assert (values['processed'], values['rejected'], values['failed']) == ('1', '1', '0')


def test_a_network_that_gives_nan_is_rejected_not_published(run_node, constant_checkpoint):
    _, client = run_node(['depth/image_rect', 'depth/image_color'], **constant_checkpoint(METRES, float('nan')))
    client.send(picture())
    client.wait_for(lambda: 'NaN' in client.status('frames').message, 'rejection')
    assert not client.received['depth/image_rect']


def broken_info(**changes):
    info = camera_info()
    for name, value in changes.items():
        setattr(info, name, value)
    return info


@pytest.mark.parametrize(
    ('info', 'text'),
    [
        (None, 'no CameraInfo'),
        (broken_info(k=[0.0] * 9), 'K'),
        (broken_info(k=[np.nan] * 9), 'K'),
        (broken_info(height=480, width=640), '640x480'),
        (broken_info(distortion_model='spiral', d=[0.1]), 'spiral'),
    ],
    ids=['none', 'zero K', 'NaN K', 'size', 'distortion model'],
)
def test_without_a_good_camera_info_depth_comes_the_cloud_waits_and_the_reason_is_told(
    run_node, constant_checkpoint, info, text
):
    _, client = run_node(['depth/image_rect', 'points'], **constant_checkpoint(METRES, 0.0))
    stamp = client.send(picture(), info=info)
    np.testing.assert_allclose(depth_of(client.answer('depth/image_rect', stamp)), 10.0, rtol=1e-5)
    status = client.status('camera')
    assert status.level == DiagnosticStatus.WARN
    assert text in status.message
    assert not client.received['points']
    client.answer('points', client.send(picture(), info=camera_info()))
    assert client.status('camera').level == DiagnosticStatus.OK


def test_exact_sync_waits_for_the_camera_info_of_the_frame(run_node, constant_checkpoint):
    topics = ['depth/image_rect', 'depth/image_color', 'points']
    _, client = run_node(topics, **constant_checkpoint(METRES, 0.0), exact_sync=True)
    # Until the first calibration nobody can tell, and nothing changes.
    client.answer('depth/image_rect', client.send(picture()))
    stamp = client.send(picture(), info=broken_info(d=[-0.3, 0.1, 0.0, 0.0, 0.0]))
    client.answer('points', stamp)
    client.answer('depth/image_color', client.send(picture()))
    status = client.wait_for(
        lambda: 'exact_sync' in (status := client.status('camera')).message and status, 'word of exact_sync'
    )
    assert 'no depth/image_rect or depth/image_raw' in status.message
    # The last one would have been in the geometry of the raw image.
    assert client.received['depth/image_rect'][-1].header.stamp == stamp
    assert len(client.received['points']) == 1


def test_once_calibrated_no_depth_is_in_another_geometry(run_node, constant_checkpoint):
    topics = ['depth/image_rect', 'depth/image_color']
    _, client = run_node(topics, **constant_checkpoint(METRES, 0.0))
    distorted = [-0.3, 0.1, 0.0, 0.0, 0.0]
    client.answer('depth/image_rect', client.send(picture(), info=broken_info(d=distorted)))

    # The camera changes its resolution, and its driver says so too early.
    def send_with_another_size():
        client.answer('depth/image_color', client.send(picture(), info=broken_info(d=distorted, height=480, width=640)))

    def word_of_it():
        # An image may overtake its CameraInfo.
        send_with_another_size()
        return '640x480' in (status := client.status('camera')).message and status

    assert 'no depth/image_rect' in client.wait_for(word_of_it, 'word of the size').message
    before = len(client.received['depth/image_rect'])
    send_with_another_size()
    again = client.send(picture(), info=broken_info(d=distorted))
    client.answer('depth/image_rect', again)
    assert [message.header.stamp for message in client.received['depth/image_rect'][before:]] == [again]


def test_after_a_pause_depth_waits_for_the_calibration_that_it_had(run_node, constant_checkpoint):
    topics = ['depth/image_rect', 'depth/image_raw', 'depth/image_color']
    node, client = run_node(topics, **constant_checkpoint(METRES, 0.0))
    distorted = [-0.3, 0.1, 0.0, 0.0, 0.0]
    for _ in range(2):
        first = client.send(picture(), info=broken_info(d=distorted))
        client.answer('depth/image_rect', first)
        assert node.trigger_deactivate() == node.trigger_activate() == TransitionCallbackReturn.SUCCESS
        client.wait_for(client.images.get_subscription_count, 'connection to the node')
        before = client.send(picture())
        client.answer('depth/image_color', before)
        for topic in topics[:2]:
            assert before not in [message.header.stamp for message in client.received[topic]]


def test_what_is_rectified_and_where_calibration_is_follow_the_compressed_topic(run_node):
    arguments = ['-r', 'image/compressed:=/front/image_rect/compressed']
    _, client = run_node((), CompressedImage, '/front/image_rect/compressed', arguments, image_transport='compressed')
    assert client.count_subscribers('/front/camera_info') == 1
    assert 'P, rectified' in values_of(client.status('camera'))['projection']


@pytest.mark.parametrize(('suffix', 'tolerance'), [('.png', 0.0), ('.jpg', 0.2)])
def test_compressed_images_are_taken(run_node, suffix, tolerance):
    smooth = np.zeros((48, 64, 3), np.uint8)
    smooth[:, :, 0] = np.linspace(0, 255, 64)
    smooth[:, :, 2] = np.linspace(255, 0, 48)[:, None]
    _, client = run_node(['relative/image'], CompressedImage, 'image/compressed', image_transport='compressed')
    message = CompressedImage(format=f'rgb8; {suffix[1:]} compressed bgr8')
    message.data = cv2.imencode(suffix, cv2.cvtColor(smooth, cv2.COLOR_RGB2BGR))[1].tobytes()
    compressed = depth_of(client.answer('relative/image', client.send(message)))

    from depth_anything_ros.estimation import DepthEstimator

    raw = DepthEstimator(**SMALL)(smooth).values
    np.testing.assert_allclose(compressed, raw, rtol=max(tolerance, 1e-4), atol=1e-4)


def test_nobody_listening_means_no_work(run_node):
    _, client = run_node()
    for _ in range(5):
        client.send(picture())
        time.sleep(0.05)
    values = client.wait_for(
        lambda: (values := values_of(client.status('frames'))) and int(values['skipped']) and values,
        'skipped frames',
    )
    assert values['processed'] == '0'


def test_a_camera_that_nobody_subscribes_to_is_idle_and_not_in_trouble(run_node):
    _, client = run_node(**{'alignment.source': 'depth'})
    parts = ('camera', 'alignment')

    def are_idle():
        statuses = [client.status(which) for which in ('frames', *parts)]
        return all((each.level, each.message) == (DiagnosticStatus.OK, IDLE) for each in statuses)

    client.send(picture())
    client.wait_for(are_idle, 'rest')
    subscription = client.listen('relative/image', Image)
    client.wait_for(lambda: all('no frame yet' in client.status(which).message for which in parts), 'first words')
    assert client.status('alignment').level == DiagnosticStatus.ERROR
    assert client.status('camera').level == DiagnosticStatus.WARN
    client.answer('relative/image', client.send(picture(), info=camera_info()))
    client.wait_for(lambda: client.status('camera').message == 'calibrated', 'a calibrated camera')
    client.destroy_subscription(subscription)
    client.wait_for(lambda: all(client.status(which).message == IDLE for which in parts), 'rest')


def test_what_was_true_before_a_pause_is_not_said_after_it(run_node, constant_checkpoint):
    fixed = {'alignment.source': 'fixed', 'alignment.fixed.scale': 0.25}
    node, client = run_node(['depth/image_rect'], **constant_checkpoint('v2-small', 2.0), **fixed)

    def are(camera, alignment):
        return lambda: camera in client.status('camera').message and alignment in client.status('alignment').message

    client.answer('depth/image_rect', client.send(picture(), info=camera_info()))
    client.wait_for(are('calibrated', 'aligned'), 'good word')
    assert node.trigger_deactivate() == node.trigger_activate() == TransitionCallbackReturn.SUCCESS
    client.wait_for(are('no frame yet', 'no metres: no frame yet'), 'honest word')
    assert client.status('frames').message == 'no image has arrived yet'
    client.wait_for(client.images.get_subscription_count, 'subscription')
    client.wait_for(client.infos.get_subscription_count, 'subscription')
    client.answer('depth/image_rect', client.send(picture(), info=camera_info()))
    client.wait_for(are('calibrated', 'aligned'), 'good word')


def test_parameters_that_do_not_go_together_are_refused_with_the_reason(run_node):
    pose = [0.1, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0]
    node, _ = run_node(**{'alignment.source': 'depth', 'alignment.extrinsics': pose})
    for name, value, reason in (
        ('range.min_m', 30.0, 'less than range.max_m'),
        ('colormap', 'plaid', 'inferno'),
        ('alignment.source', 'fixed', 'alignment.fixed: scale must be positive'),
        ('alignment.source', 'hearsay', 'camera, depth, fixed'),
        ('alignment.ground.gravity', 'left', 'tf, imu, parameters'),
        ('alignment.extrinsics', [1.0, 2.0], 'x y z qx qy qz qw'),
        ('alignment.extrinsics', [1.0] + [0.0] * 6, 'quaternion'),
        ('alignment.extrinsics', [float('nan')] + [0.0] * 5 + [1.0], 'finite'),
        ('alignment.fixed_frame', 'odom', 'set one of them only'),
        ('alignment.min_samples', 6000, 'alignment.depth.max_samples'),
        ('alignment.min_samples', 19, 'range'),
        ('model', 'v2-large', 'read-only'),
        ('points.stride', 0, 'range'),
        ('points.voxel_m', 1e-9, 'at least'),
    ):
        before = node.get_parameter(name).value
        (result,) = node.set_parameters([Parameter(name, value=value)])
        assert not result.successful
        assert reason in result.reason
        assert node.get_parameter(name).value == before
    node.set_parameters([Parameter('points.voxel_m', value=0.1)])
    (result,) = node.set_parameters([Parameter('points.organized', value=True)])
    assert 'points.voxel_m' in result.reason


def test_the_alignment_source_may_change_while_running(run_node, constant_checkpoint):
    node, client = run_node(['depth/image_color', 'depth/image_rect'], **constant_checkpoint('v2-small', 2.0))
    client.answer('depth/image_color', client.send(picture()))
    assert not client.received['depth/image_rect']
    fixed = {'alignment.source': 'fixed', 'alignment.fixed.scale': 0.25}
    result = node.set_parameters_atomically([Parameter(name, value=value) for name, value in fixed.items()])
    assert result.successful
    client.wait_for(client.images.get_subscription_count, 'subscription')
    depth = depth_of(client.answer('depth/image_rect', client.send(picture())))
    np.testing.assert_allclose(depth, 2.0, rtol=1e-5)


def test_the_node_can_be_disabled_and_enabled(run_node):
    _, client = run_node(['relative/image'])
    assert client.call('/depth_node/enable', SetBool, data=False).success
    client.send(picture())
    client.wait_for(lambda: 'disabled' in client.status('frames').message, 'disabled')
    assert client.call('/depth_node/enable', SetBool, data=True).success
    client.answer('relative/image', client.send(picture()))
    assert len(client.received['relative/image']) == 1


def test_a_configure_that_fails_late_gives_everything_back():
    bogus = {'qos_overrides./points.publisher.reliability': 'bogus'}
    settings = {'model': 'untrained-small', 'device': 'cpu', 'input_size': 42, **bogus}
    node = DepthNode(parameter_overrides=[Parameter(name, value=value) for name, value in settings.items()])
    try:
        assert not node.start()
        assert node.count_publishers('depth/image_rect') == 0
        assert node._estimator is None
    finally:
        node.destroy_node()


def test_a_start_that_fails_leaves_nothing_behind_and_may_be_tried_again(monkeypatch, capfd):
    node = DepthNode(parameter_overrides=[Parameter(name, value=value) for name, value in SMALL.items()])

    class NoThread(threading.Thread):
        def start(self):
            raise RuntimeError("can't start new thread")

    try:
        with monkeypatch.context() as patch:
            patch.setattr(worker, 'Thread', NoThread)
            assert not node.start()
        assert "can't start new thread" in capfd.readouterr().err
        for topic in ('depth/image_rect', 'points', 'alignment'):
            assert node.count_publishers(topic) == 0
        assert node.count_subscribers('image') == 0
        assert node.start()
    finally:
        node.destroy_node()


def test_a_stop_that_fails_gives_back_the_rest(run_node, monkeypatch, capfd):
    node, client = run_node(['relative/image'])
    client.answer('relative/image', client.send(picture()))

    def fail():
        raise RuntimeError('a fault of ours')

    monkeypatch.setattr(node._tf, 'close', fail)
    assert node.trigger_deactivate() == TransitionCallbackReturn.ERROR
    assert 'a fault of ours' in capfd.readouterr().err
    assert node.count_publishers('relative/image') == 0
    client.wait_for(lambda: client.images.get_subscription_count() == 0, 'end of the subscription')
    monkeypatch.undo()
    assert node.start()


def test_a_frame_that_outlives_its_activation_is_not_published(run_node, monkeypatch, capfd):
    """Else it would come half a minute late, and between the parts of a frame of now."""
    node, client = run_node(['relative/image'])
    predict = node._estimator.predict
    monkeypatch.setattr(worker, '_JOIN_S', 0.2)
    started, go_on = hold_predictions(node, monkeypatch)
    old = client.send(picture())
    assert started.wait(20.0)
    (thread,) = node._worker._threads
    node.trigger_deactivate()
    assert 'did not finish its frame' in capfd.readouterr().err
    monkeypatch.setattr(node._estimator, 'predict', predict)
    node.trigger_activate()
    go_on.set()
    thread.join(20.0)
    client.wait_for(lambda: client.images.get_subscription_count() == 1, 'subscription')
    client.answer('relative/image', client.send(picture()))
    assert old not in [message.header.stamp for message in client.received['relative/image']]


def test_a_transition_that_does_not_fit_is_refused_and_work_goes_on(run_node, monkeypatch):
    node, client = run_node(['relative/image'])

    def change_state(_):
        raise RuntimeError('Failed to trigger lifecycle state machine transition')

    # As rclpy does it up to Jazzy.
    monkeypatch.setattr(node, '_LifecycleNodeMixin__change_state', change_state)
    transition = Transition(id=Transition.TRANSITION_CONFIGURE)
    assert not client.call('/depth_node/change_state', ChangeState, transition=transition).success
    client.answer('relative/image', client.send(picture()))


def test_a_callback_that_raises_is_told_and_the_others_go_on():
    node, stopping, lines, calls = Node('faulty'), [], [], []

    class Logger:
        error = staticmethod(lines.append)

    def fail():
        calls.append(0)
        raise RuntimeError('a fault of ours')

    def stop_at_last():
        if len(calls) >= 3:
            stopping.append(0)

    node.create_timer(0.01, fail)
    node.create_timer(0.01, stop_at_last)
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    spin(executor, stopping, Complaints(Logger))
    executor.shutdown()
    node.destroy_node()
    (line,) = lines
    assert 'Traceback' in line
    assert 'a fault of ours' in line


def test_the_lifecycle_can_be_gone_through_twice(run_node):
    node, client = run_node(['relative/image'])
    for _ in range(2):
        client.answer('relative/image', client.send(picture()))
        assert node.trigger_deactivate() == TransitionCallbackReturn.SUCCESS
        client.wait_for(lambda: client.images.get_subscription_count() == 0, 'end of the subscription')
        client.wait_for(lambda: client.status('frames').message == 'not active', 'not active')
        assert node.trigger_cleanup() == TransitionCallbackReturn.SUCCESS
        assert client.status('model').message.startswith('no model')
        assert node.start()
        client.wait_for(client.images.get_subscription_count, 'subscription')
        client.wait_for(lambda: client.count_publishers('relative/image'), 'publisher')


def test_a_best_effort_subscriber_and_a_best_effort_camera_are_served(run_node):
    _, client = run_node(['relative/image'])
    best_effort = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)
    seen = []
    client.create_subscription(Image, 'relative/image', seen.append, best_effort)
    client.destroy_publisher(client.images)
    client.images = client.create_publisher(Image, 'image', best_effort)
    client.wait_for(client.images.get_subscription_count, 'subscriber')
    client.wait_for(lambda: client.count_subscribers('relative/image') == 2, 'second subscriber')

    def both():
        client.send(picture())
        time.sleep(0.1)
        return seen and client.received['relative/image']

    client.wait_for(both, 'frames at best effort')


def test_qos_of_a_topic_can_be_overridden(run_node):
    # The first that is made: what follows must not inherit it.
    override = {'qos_overrides./depth/image_rect.publisher.reliability': 'best_effort'}
    _, client = run_node(**override)
    (info,) = client.wait_for(lambda: client.get_publishers_info_by_topic('/depth/image_rect'), 'publisher')
    assert info.qos_profile.reliability == ReliabilityPolicy.BEST_EFFORT
    others = ('depth/camera_info', 'depth/image_raw', 'depth/sigma', 'depth/image_color', 'relative/image', 'points')
    for topic in (*others, 'alignment'):
        (other,) = client.wait_for(lambda topic=topic: client.get_publishers_info_by_topic(f'/{topic}'), 'publisher')
        assert other.qos_profile.reliability == ReliabilityPolicy.RELIABLE


# In a process of its own, since a participant of DDS has one type for a topic.
DEAF = """
import sys, rclpy
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import CompressedImage, Image
rclpy.init()
node = rclpy.create_node('deaf')
kind, durability = {'type': (CompressedImage, 'VOLATILE'), 'durability': (Image, 'TRANSIENT_LOCAL')}[sys.argv[1]]
node.create_subscription(kind, 'relative/image', print, QoSProfile(depth=1, durability=DurabilityPolicy[durability]))
sys.stdin.read()
rclpy.shutdown()
"""


@pytest.mark.parametrize(
    ('which', 'reason'),
    [
        ('durability', 'ERROR: Volatile publisher and transient local subscription'),
        ('type', 'it wants sensor_msgs/msg/CompressedImage, this is sensor_msgs/msg/Image'),
    ],
)
def test_a_subscriber_that_can_hear_nothing_is_named(run_node, which, reason):
    _, client = run_node(**{'diagnostic_updater.period': 0.1})
    client.send(picture())
    client.wait_for(lambda: 'idle' in client.status('frames').message, 'idle node')

    def is_named():
        status = client.status('frames')
        assert 'deaf' not in status.message or status.level == DiagnosticStatus.WARN
        return status.message == f'/deaf hears nothing of /relative/image: {reason}'

    process = subprocess.Popen([sys.executable, '-c', DEAF, which], stdin=subprocess.PIPE)
    with process:
        client.wait_for(is_named, 'complaint')
        process.stdin.close()
    client.send(picture())
    client.wait_for(lambda: 'idle' in client.status('frames').message, 'idle node')


def test_a_subscriber_that_hears_is_not_complained_of(run_node):
    _, client = run_node(['relative/image'], **{'diagnostic_updater.period': 0.1})
    client.listen('relative/image', Image, qos_profile_sensor_data)
    client.answer('relative/image', client.send(picture()))

    status = client.wait_for(lambda: (now := client.status('frames')).message.endswith(' Hz') and now, 'rate')
    assert status.level == DiagnosticStatus.OK


def test_diagnostics_come_while_simulated_time_stands_still(run_node):
    _, client = run_node(use_sim_time=True)
    for _ in range(3):
        assert client.status('frames').message == 'no image has arrived yet'


def test_a_stamp_before_all_time_is_answered_like_any_other(run_node):
    _, client = run_node(['relative/image'])
    client.next_stamp = lambda: Time(sec=-5, nanosec=7)
    client.answer('relative/image', client.send(picture()))
    client.wait_for(lambda: values_of(client.status('frames'))['processed'] == '1', 'count')
    assert values_of(client.status('frames'))['failed'] == '0'


def test_a_subscriber_who_gets_nothing_is_told_where_to_look(run_node):
    _, client = run_node(['points'])
    client.send(picture(), info=camera_info())
    status = client.wait_for(
        lambda: (status := client.status('frames')) and values_of(status)['withheld'] == '1' and status,
        'withheld frame',
    )
    assert status.level == DiagnosticStatus.WARN
    assert 'alignment' in status.message


def test_complaints_that_differ_in_numbers_only_are_logged_once():
    lines = []

    class Logger:
        warning = staticmethod(lines.append)

    complaints = Complaints(Logger)
    for size in range(1000):
        complaints.warn(f'data has {size} bytes')
    complaints.warn('another matter')
    assert lines == ['data has 0 bytes', 'another matter']


def test_diagnostics_tell_latency_and_age(run_node):
    _, client = run_node(['relative/image'])
    message = Image()
    fill_image(message, picture(), 'rgb8')
    for _ in range(3):
        client.answer('relative/image', client.send(message))
    # The answer is out before it is counted.
    values = client.wait_for(
        lambda: (values := values_of(client.status('frames'))) and values['processed'] == '3' and values, 'count'
    )
    for key in ('latency from arrival p50 ms', 'latency from arrival p95 ms'):
        assert 0.0 < float(values[key]) < 10_000.0
    assert float(values['rate_hz']) > 0.0
    assert 0.0 <= float(values['input age s']) < 5.0
    model = values_of(client.status('model'))
    assert (model['device'], model['precision'], model['backend']) == ('cpu', 'fp32', 'torch')
    assert model['backend reason'] == 'asked for'


def take_and_finish(latest, most=None):
    taken = latest.take(most)
    latest.done(taken)
    return list(taken.items())


def test_the_newest_item_wins_unless_the_older_is_worth_more():
    latest = Latest()
    assert not latest.put('front', 1)
    assert latest.put('front', 2)
    assert latest.put('front', 3, lambda stored, new: (stored, new) == (2, 3))
    assert take_and_finish(latest) == [('front', 2)]
    assert not latest.put('front', 4, lambda stored, new: True)  # nothing is stored
    assert latest.put('front', 5, lambda stored, new: False)
    assert take_and_finish(latest) == [('front', 5)]


def test_items_of_other_keys_stay_and_who_waits_longest_comes_first():
    latest = Latest()
    latest.put('front', 1)
    assert not latest.put('left', 2)
    assert latest.put('front', 3)
    assert take_and_finish(latest) == [('front', 3), ('left', 2)]
    latest.put('front', 4)
    latest.put('left', 5)
    assert take_and_finish(latest, 1) == [('front', 4)]
    latest.put('front', 6)  # behind left now, however often it comes
    latest.put('left', 7)
    assert take_and_finish(latest, 1) == [('left', 7)]
    assert take_and_finish(latest, 1) == [('front', 6)]
    latest.put('left', 8)
    assert latest.close() == {'left': 8}
    assert latest.take() is None


def test_what_is_in_work_is_limited_and_the_next_item_of_its_key_waits():
    latest, taken = Latest(), []
    take = lambda: taken.append(latest.take(1, lambda: 2))  # noqa: E731
    for number, key in enumerate(('front', 'left', 'rear')):
        latest.put(key, number)
    take()
    latest.put('front', 3)  # waits for the one in work, and longer than nobody
    take()
    assert taken == [{'front': 0}, {'left': 1}]

    def begin_to_take():
        thread = threading.Thread(target=take)
        thread.start()
        thread.join(0.2)
        assert thread.is_alive()
        return thread

    for done, expected in ((0, {'rear': 2}), (1, {'front': 3})):
        thread = begin_to_take()  # two are in work
        latest.done(taken[done])
        thread.join(10.0)
        assert taken[-1] == expected
    latest.done(taken[2])
    latest.put('front', 4)
    thread = begin_to_take()  # one is in work, and it is front's
    latest.done(taken[3])
    thread.join(10.0)
    assert taken[-1] == {'front': 4}
