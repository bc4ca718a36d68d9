"""Metres in the node: evidence of each kind over DDS, what is told of the alignment, and what happens without it."""

import math
import textwrap
import time
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from builtin_interfaces.msg import Time
from dds_client import (
    SMALL,
    camera_info,
    cloud_of,
    depth_of,
    hold_predictions,
    metres_of,
    picture,
    points_of,
    see,
    seen_points,
    until_metres,
    values_of,
)
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.logging import LoggingSeverity
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import LaserScan, PointCloud2, Range
from std_srvs.srv import SetBool, Trigger

from depth_anything_ros.alignment import source_types
from depth_anything_ros.alignment.sources.depth import DepthSource
from depth_anything_ros.estimation import DepthEstimator
from depth_anything_ros.network import ARCHITECTURES

METRES = 'v2-small-indoor'  # sigmoid(logit) * 20 m; 0.0 makes it 10 m
LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
# A sensor whose x looks forward, y left and z up, 0.2 m right of the camera: its pose in the optical frame.
BESIDE = [0.2, 0.0, 0.0, 0.5, -0.5, 0.5, 0.5]
ALL = {'edge.threshold': 0.0, 'range.max_m': 100.0}
# Nothing ages while a busy machine stands still.
PATIENT = {'alignment.max_age_s': 60.0}


def parameters(**values):
    return [Parameter(name, value=value) for name, value in values.items()]


def as_seen_from_beside(points):
    """Points of the optical frame in that of the sensor at BESIDE."""
    x, y, z = (points - BESIDE[:3]).T
    return np.stack([z, -x, -y], axis=-1).astype(np.float32)


def stop_the_clock(client, sec=1000):
    """Frames a nanosecond apart, so that nothing ages."""
    stamps = iter(range(1, 10**6))
    client.next_stamp = lambda: Time(sec=sec, nanosec=next(stamps))


def seconds_later(client):
    """From now on frames are stamped three seconds ahead."""
    now = client.next_stamp
    client.next_stamp = lambda: Time(sec=(stamp := now()).sec + 3, nanosec=stamp.nanosec)


def listen_late(client):
    messages = []
    client.create_subscription(DiagnosticArray, 'alignment', messages.append, LATCHED)
    return messages


def sigma_at(depth, values):
    """Standard deviation of depth in metres, from the numbers on `alignment`: sigma_z = z^2 sigma_q."""
    names = ('shift', 'log_scale_variance', 'log_scale_shift_covariance', 'shift_variance')
    shift, log_scale, mixed, own = (float(values[name]) for name in names)
    inverse = 1.0 / depth.astype(np.float64)
    slope = inverse - shift
    variance = slope**2 * log_scale + 2.0 * slope * mixed + own
    variance += float(values['noise_absolute']) ** 2 + (float(values['noise_relative']) * inverse) ** 2
    return np.sqrt(variance) / inverse**2


METRIC_TOPICS = ['relative/image', 'depth/image_color', 'depth/image_rect']


def test_a_point_cloud_in_another_frame_makes_metres(run_node):
    settings = {'alignment.source': 'points', 'alignment.extrinsics': BESIDE, 'alignment.points.occlusion': 0.0, **ALL}
    _, client = run_node(METRIC_TOPICS, evidence_type=PointCloud2, **settings)
    truth, image = see(client)
    chosen = np.random.default_rng(0).choice(truth.size, 600, replace=False)
    points = as_seen_from_beside(seen_points(truth, camera_info())[chosen])
    points[:40] = np.nan
    points[40:80, 1] = np.inf
    send = lambda: client.send(image, info=camera_info(), reference=cloud_of(points))  # noqa: E731
    np.testing.assert_allclose(depth_of(until_metres(client, send)), truth, rtol=5e-3)
    values = values_of(client.status('alignment'))
    assert values['source'] == 'points'
    assert values['refused'] == '0'
    assert float(values['explained']) > 0.99


def test_a_scan_makes_metres(run_node):
    # The sensor looks down the optical axis, so its plane is the image's middle row.
    settings = {'alignment.source': 'scan', 'alignment.scan.occlusion': 0.0, 'alignment.min_samples': 20, **ALL}
    axes = [0.0, 0.0, 0.0, 0.5, -0.5, 0.5, 0.5]
    _, client = run_node(METRIC_TOPICS, evidence_type=LaserScan, **settings, **{'alignment.extrinsics': axes})
    truth, image = see(client)
    info = camera_info(height=48)
    scan = LaserScan(range_min=0.1, range_max=100.0, angle_increment=0.01)
    columns = np.arange(64)
    row = truth[23:25].mean(axis=0)
    angles = np.arange(-0.5, 0.5, 0.01)
    scan.header.frame_id, scan.angle_min, scan.angle_max = 'laser', float(angles[0]), float(angles[-1])
    # Left is positive: column = cx - f * tan(angle).
    z = np.interp(info.k[2] - info.k[0] * np.tan(angles), columns, row)
    scan.ranges = [float(value) for value in z / np.cos(angles)]
    depth = depth_of(until_metres(client, lambda: client.send(image, info=info, reference=scan)))
    np.testing.assert_allclose(np.median(depth / truth), 1.0, rtol=0.05)


@pytest.mark.parametrize('metric', [False, True])
def test_a_single_range_gives_the_scale(run_node, constant_checkpoint, metric):
    settings = {'alignment.source': 'range', 'alignment.extrinsics': [0.0, 0.0, 0.0, 0.5, -0.5, 0.5, 0.5]}
    model = constant_checkpoint(METRES, 0.0) if metric else constant_checkpoint('v2-small', 2.0)
    _, client = run_node(
        METRIC_TOPICS, evidence_type=Range, **model, **settings, **{'alignment.correct_metric_model': metric}
    )
    sonar = Range(field_of_view=0.1, min_range=0.1, max_range=20.0, range=5.0)
    sonar.header.frame_id = 'sonar'
    depth = until_metres(client, lambda: client.send(picture(), info=camera_info(), reference=sonar))
    if metric:  # until the evidence is there the model's own 10 m are no metres either
        depth = until_metres(client, lambda: client.send(picture(), info=camera_info(), reference=sonar))
    np.testing.assert_allclose(depth_of(depth), 5.0, rtol=0.01)


FLOOR = {
    'alignment.source': 'ground',
    'alignment.ground.height_m': 1.2,
    'alignment.ground.gravity': 'parameters',
    'alignment.ground.pitch_rad': 0.3,
}


def test_a_floor_and_the_height_above_it_make_metres(run_node, monkeypatch):
    node, client = run_node(METRIC_TOPICS, **FLOOR, **ALL)
    # What a camera 1.2 m above an endless floor sees that looks 0.3 rad down.
    info = camera_info()
    y = (np.mgrid[:48, :64][0] - info.k[5]) / info.k[4]
    inverse = np.maximum(math.cos(0.3) * y + math.sin(0.3), 0.0) / 1.2
    predict = node._estimator.predict

    def see_floor(images, **kwargs):
        floor = ((inverse - 0.05) / 0.4).astype(np.float32)
        return [replace(prediction, values=floor) for prediction in predict(images, **kwargs)]

    monkeypatch.setattr(node._estimator, 'predict', see_floor)
    depth = depth_of(until_metres(client, lambda: client.send(picture(), info=info)))
    near = inverse > 0.2
    np.testing.assert_allclose(depth[near], 1.0 / inverse[near], rtol=0.03)
    assert client.status('alignment').level == DiagnosticStatus.OK


def test_without_a_floor_there_are_no_metres_and_gravity_may_come_from_elsewhere(run_node):
    # The disparity of random weights is no floor: the source must say so, by its own words.
    node, client = run_node(METRIC_TOPICS, **FLOOR)
    client.answer('relative/image', client.send(picture(), info=camera_info()))
    status = client.status('alignment')
    assert status.level == DiagnosticStatus.ERROR
    assert 'floor' in status.message
    (result,) = node.set_parameters(parameters(**{'alignment.ground.gravity': 'imu'}))
    assert 'pitch_rad' in result.reason
    results = node.set_parameters_atomically(
        parameters(**{'alignment.ground.gravity': 'imu', 'alignment.ground.pitch_rad': 0.0})
    )
    assert results.successful
    client.wait_for(lambda: client.count_subscribers('/imu'), 'subscriber of the IMU')


def test_a_metric_model_is_corrected_for_its_focal_length(run_node, constant_checkpoint):
    settings = {'alignment.source': 'camera', 'alignment.camera.canonical_focal_px': 100.0}
    _, client = run_node(METRIC_TOPICS, **constant_checkpoint(METRES, 0.0), **settings)
    # The network sees 42 rows of 48, so a focal length of 50 px is 43.75 px to it.
    depth = client.answer('depth/image_rect', client.send(picture(), info=camera_info()))
    np.testing.assert_allclose(depth_of(depth), 10.0 * 43.75 / 100.0, rtol=1e-3)


def test_the_focal_length_that_a_model_was_trained_with_is_known(run_node, constant_checkpoint):
    _, client = run_node(METRIC_TOPICS, **constant_checkpoint(METRES, 0.0), **{'alignment.source': 'camera'})
    depth = client.answer('depth/image_rect', client.send(picture(), info=camera_info()))
    trained_px = ARCHITECTURES[METRES].canonical_focal_px
    np.testing.assert_allclose(depth_of(depth), 10.0 * 43.75 / trained_px, rtol=1e-3)


def test_a_source_is_told_of_the_image_that_its_frame_was_predicted_from(run_node, monkeypatch):
    views = []
    monkeypatch.setattr(DepthSource, 'measure', lambda _, evidence, view: views.append(view))
    settings = {'alignment.source': 'depth', 'output_size': 'network', **ALL}
    _, client = run_node(METRIC_TOPICS, **settings)
    image = picture()
    truth = np.ones((48, 64), np.float32)
    client.wait_for(lambda: client.answer('depth/image_color', client.send(image, reference=truth)) and views, 'a view')
    assert (views[0].image_size, views[0].values.shape) == ((48, 64), (42, 56))


def test_a_metric_model_listens_to_no_evidence_unless_it_is_to_be_corrected(run_node, constant_checkpoint):
    node, client = run_node(METRIC_TOPICS, **constant_checkpoint(METRES, 0.0))
    assert node.set_parameters(parameters(**{'alignment.source': 'points'}))[0].successful
    np.testing.assert_allclose(depth_of(client.answer('depth/image_rect', client.send(picture()))), 10.0, rtol=1e-5)
    assert client.count_subscribers('/scale_reference') == 0
    assert client.status('alignment').message == 'the model predicts metres: not used'
    assert not client.call('/depth_node/realign', Trigger).success
    assert node.set_parameters(parameters(**{'alignment.correct_metric_model': True}))[0].successful
    client.wait_for(lambda: client.count_subscribers('/scale_reference'), 'subscriber of scale_reference')
    (info,) = client.get_subscriptions_info_by_topic('/scale_reference')
    assert info.topic_type == 'sensor_msgs/msg/PointCloud2'


def test_a_topic_that_cannot_be_listened_to_is_an_error_until_it_can(run_node):
    # In one process a topic has one type, and the client's is that of depth images.
    node, client = run_node(METRIC_TOPICS, **{'alignment.source': 'depth'})
    assert node.set_parameters(parameters(**{'alignment.source': 'points'}))[0].successful
    status = client.wait_for(
        lambda: (status := client.status('alignment')) and 'cannot listen' in status.message and status, 'complaint'
    )
    assert status.level == DiagnosticStatus.ERROR
    assert 'scale_reference' in status.message
    client.answer('relative/image', client.send(picture()))
    client.destroy_publisher(client.references)
    client.wait_for(lambda: client.count_subscribers('/scale_reference'), 'subscriber of scale_reference')
    assert 'cannot listen' not in client.status('alignment').message


def test_evidence_without_a_single_number_is_refused_and_there_are_no_metres(run_node):
    settings = {'alignment.source': 'points', 'alignment.extrinsics': BESIDE}
    _, client = run_node(METRIC_TOPICS, evidence_type=PointCloud2, **settings)
    client.send(picture(), info=camera_info(), reference=cloud_of(np.full((200, 3), np.nan)))
    status = client.wait_for(
        lambda: (status := client.status('alignment')) and values_of(status)['refused'] == '1' and status, 'refusal'
    )
    client.answer('relative/image', client.send(picture(), info=camera_info()))
    status = client.status('alignment')
    assert status.level == DiagnosticStatus.ERROR
    assert 'scale_reference' in status.message
    assert not client.received['depth/image_rect']


def test_without_a_transform_there_are_no_metres_and_the_frames_are_named(run_node):
    _, client = run_node(METRIC_TOPICS, evidence_type=PointCloud2, **{'alignment.source': 'points'})
    truth, image = see(client)
    points = as_seen_from_beside(seen_points(truth, camera_info())[::7])

    def refused():
        client.answer(
            'relative/image', client.send(image, info=camera_info(), reference=cloud_of(points, 'lost_lidar'))
        )
        status = client.status('alignment')
        return 'lost_lidar' in status.message and status

    status = client.wait_for(refused, 'word of the frame')
    assert status.level == DiagnosticStatus.ERROR
    assert 'camera_optical_frame' in status.message
    assert 'alignment.extrinsics' in status.message
    assert not client.received['depth/image_rect']


@pytest.mark.parametrize('source', ['depth', 'fixed'])
def test_metres_that_nobody_renews_are_said_to_have_ended(run_node, source):
    """Where frames cease there is none to say so; what is constant does not age."""
    settings = {'alignment.source': source, 'alignment.max_age_s': 0.5, 'alignment.fixed.scale': 1.0}
    _, client = run_node(METRIC_TOPICS, **settings, **ALL)
    truth, image = see(client)
    evidence = truth if source == 'depth' else None
    until_metres(client, lambda: client.send(image, reference=evidence))
    said = listen_late(client)
    assert client.wait_for(lambda: said, 'latched message')[-1].status[0].level != DiagnosticStatus.ERROR

    def last():
        (status,) = said[-1].status
        return status

    if source == 'depth':
        client.wait_for(lambda: last().level == DiagnosticStatus.ERROR, 'word of the end')
        assert 'no metres: no frame has been worked on for' in last().message
        assert 'scale' not in values_of(last())
        assert client.status('alignment').level == DiagnosticStatus.ERROR
        until_metres(client, lambda: client.send(image, reference=truth))
        client.wait_for(lambda: 'scale' in values_of(last()), 'metres')
    else:
        time.sleep(1.5)
        assert 'scale' in values_of(last())
    assert client.call('/depth_node/enable', SetBool, data=False).success
    client.wait_for(lambda: last().message == 'disabled by ~/enable', 'word of ~/enable')
    assert 'scale' not in values_of(last())
    assert client.status('alignment').message == 'disabled by ~/enable'


def test_evidence_that_is_lost_in_transport_is_named_where_there_are_no_metres(run_node):
    """A cloud of megabytes comes in fragments, of which best effort needs every one."""
    node, client = run_node(METRIC_TOPICS, evidence_type=PointCloud2, **{'alignment.source': 'points'})
    _, image = see(client)
    (listening,) = [one for one in node.subscriptions if one.topic_name == '/scale_reference']
    (tell,) = [one.callback for one in listening.event_handlers if 'LOST' in str(one.event_type)]
    tell(SimpleNamespace(total_count=3, total_count_change=3))
    client.answer('relative/image', client.send(image, info=camera_info()))
    status = client.status('alignment')
    assert status.level == DiagnosticStatus.ERROR
    assert (
        '3 messages of evidence were lost in transport: let driver and node both use config/fastdds.xml'
        in status.message
    )


def test_another_pose_of_the_sensor_begins_anew(run_node):
    settings = {'alignment.source': 'points', 'alignment.extrinsics': BESIDE, 'alignment.points.occlusion': 0.0, **ALL}
    node, client = run_node(METRIC_TOPICS, evidence_type=PointCloud2, **settings)
    truth, image = see(client)
    points = as_seen_from_beside(seen_points(truth, camera_info())[::7])
    until_metres(client, lambda: client.send(image, info=camera_info(), reference=cloud_of(points, 'lidar')))
    moved = [0.3, *BESIDE[1:]]
    assert node.set_parameters(parameters(**{'alignment.extrinsics': moved}))[0].successful
    client.answer('depth/image_color', client.send(image, info=camera_info()))
    assert values_of(client.status('alignment'))['fits'] == '0'


def test_another_projection_begins_anew(run_node):
    node, client = run_node(METRIC_TOPICS, **{'alignment.source': 'depth'}, **ALL)
    truth, image = see(client)
    until_metres(client, lambda: client.send(image, reference=truth))
    assert values_of(client.status('alignment'))['fits'] != '0'
    assert node.set_parameters(parameters(projection='rectified'))[0].successful
    client.wait_for(lambda: values_of(client.status('alignment'))['fits'] == '0', 'a new alignment')


def test_what_a_source_of_others_does_wrong_is_logged_whole(run_node, monkeypatch, capfd):
    def measure(*_):
        raise KeyError('x')

    monkeypatch.setattr(DepthSource, 'measure', measure)
    node, client = run_node(METRIC_TOPICS, **{'alignment.source': 'depth'}, **ALL)
    truth, image = see(client)
    node.get_logger().set_level(LoggingSeverity.DEBUG)
    client.answer('depth/image_color', client.send(image, reference=truth))
    client.wait_for(lambda: "KeyError: 'x'" in client.status('alignment').message, 'reason')
    said = capfd.readouterr().err
    assert "raise KeyError('x')" in said


def test_limits_may_change_without_losing_the_fit(run_node, capfd):
    node, client = run_node(METRIC_TOPICS, **{'alignment.source': 'depth'}, **ALL)
    truth, image = see(client)
    until_metres(client, lambda: client.send(image, reference=truth))
    client.answer('depth/image_rect', client.send(image))  # by now no evidence is on its way
    before = values_of(client.status('alignment'))
    changes = {'alignment.max_age_s': 60.0, 'alignment.min_samples': 99, 'stabilizer.time_constant_s': 1.0}
    assert all(result.successful for result in node.set_parameters(parameters(**changes)))
    depth = client.answer('depth/image_rect', client.send(image))
    np.testing.assert_allclose(depth_of(depth), truth, rtol=5e-3)
    assert values_of(client.status('alignment'))['fits'] == before['fits'] != '0'
    # A parameter of the source starts anew, and not behind the back of who holds the fit.
    assert client.call('/depth_node/hold', SetBool, data=True).success
    assert 'the hold is released' not in capfd.readouterr().err
    assert node.set_parameters(parameters(**{'alignment.depth.max_samples': 400}))[0].successful
    client.answer('depth/image_color', client.send(image))
    assert values_of(client.status('alignment'))['fits'] == '0'
    assert 'the hold is released' in capfd.readouterr().err


def test_what_holds_is_told_to_those_who_come_late_and_uncertainty_follows_from_it(run_node):
    settings = {'alignment.source': 'depth', 'edge.threshold': 0.0, 'range.max_m': 5.0, 'alignment.drift': 0.0}
    _, client = run_node([*METRIC_TOPICS, 'depth/sigma'], **settings, **PATIENT)
    stop_the_clock(client)
    truth, image = see(client)
    nothing = listen_late(client)
    said = client.wait_for(lambda: nothing, 'latched message')[0]
    assert said.status[0].level == DiagnosticStatus.ERROR
    assert 'scale' not in values_of(said.status[0])

    noisy = truth * np.random.default_rng(1).normal(1.0, 0.02, truth.shape).astype(np.float32)
    measured = []

    def measure():
        measured.append(client.send(image, reference=noisy))
        return measured[-1]

    until_metres(client, measure)
    late = listen_late(client)
    array = client.wait_for(lambda: late, 'latched message')[0]
    (status,) = array.status
    values = values_of(status)
    assert status.level == DiagnosticStatus.OK
    assert status.hardware_id == values['source'] == 'depth'
    assert array.header.frame_id == 'camera_optical_frame'
    assert array.header.stamp.sec == 1000

    # The numbers suffice to do what the node does, to the last bit that matters.
    stamp = client.send(image)
    disparity = depth_of(client.answer('relative/image', stamp)).astype(np.float64)
    depth = depth_of(client.answer('depth/image_rect', stamp))
    sigma = depth_of(client.answer('depth/sigma', stamp))
    inverse = float(values['scale']) * disparity + float(values['shift'])
    inside = np.isfinite(depth)
    assert 0.1 < inside.mean() < 1.0
    np.testing.assert_allclose(depth[inside], 1.0 / inverse[inside], rtol=1e-5)
    np.testing.assert_allclose(sigma[inside], sigma_at(depth[inside], values), rtol=1e-3)
    assert np.isnan(sigma[~inside]).all()

    # Frames without evidence change nothing, so nothing is said, and the stamp stays the evidence's.
    for _ in range(3):
        client.answer('depth/image_rect', client.send(image))
    client.status('alignment')
    assert len(late) == 1
    assert client.call('/depth_node/hold', SetBool, data=True).success
    client.wait_for(lambda: 'held' in late[-1].status[0].message, 'word of the hold')
    assert late[-1].header.stamp == array.header.stamp
    assert array.header.stamp in measured


def test_uncertainty_follows_its_pixels_into_the_rectified_image(run_node):
    settings = {'alignment.source': 'depth', 'alignment.drift': 0.0, **ALL}
    _, client = run_node([*METRIC_TOPICS, 'depth/sigma'], **settings)
    stop_the_clock(client)
    truth, image = see(client)
    info = camera_info()
    info.d = [0.6, 0.2, 0.0, 0.0, 0.0]
    noisy = truth * np.random.default_rng(1).normal(1.0, 0.02, truth.shape).astype(np.float32)
    until_metres(client, lambda: client.send(image, info=info, reference=noisy))
    late = listen_late(client)
    values = values_of(client.wait_for(lambda: late, 'latched message')[0].status[0])
    stamp = client.send(image, info=info)
    depth, sigma = depth_of(client.answer('depth/image_rect', stamp)), depth_of(client.answer('depth/sigma', stamp))
    inside = np.isfinite(depth)
    assert 0.5 < inside.mean() < 1.0  # the raw image does not reach the corners
    np.testing.assert_array_equal(np.isfinite(sigma), inside)
    np.testing.assert_allclose(sigma[inside], sigma_at(depth[inside], values), rtol=1e-3)


def test_another_configuration_starts_without_the_old_alignment(run_node):
    node, client = run_node(METRIC_TOPICS, **{'alignment.source': 'depth'}, **ALL)
    truth, image = see(client)
    until_metres(client, lambda: client.send(image, reference=truth))
    node.trigger_deactivate()
    node.trigger_cleanup()
    assert node.start()
    assert values_of(client.status('alignment'))['fits'] == '0'


def test_points_that_are_too_uncertain_are_left_out(run_node):
    settings = {'alignment.source': 'depth', 'points.stride': 1, 'alignment.drift': 0.0, **ALL}
    node, client = run_node([*METRIC_TOPICS, 'depth/sigma', 'points'], **settings)
    stop_the_clock(client)
    truth, image = see(client)
    noisy = truth * np.random.default_rng(1).normal(1.0, 0.02, truth.shape).astype(np.float32)
    until_metres(client, lambda: client.send(image, info=camera_info(), reference=noisy))
    stamp = client.send(image, info=camera_info())
    sigma, depth = depth_of(client.answer('depth/sigma', stamp)), depth_of(client.answer('depth/image_rect', stamp))
    assert len(points_of(client.answer('points', stamp))) == np.isfinite(depth).sum()
    limit = float(np.nanmedian(sigma / depth))
    assert node.set_parameters(parameters(**{'points.max_relative_sigma': limit}))[0].successful
    points = points_of(client.answer('points', client.send(image, info=camera_info())))
    assert 0 < len(points) < truth.size
    np.testing.assert_allclose(len(points), (sigma <= limit * depth).sum(), atol=2)
    np.testing.assert_allclose(np.sort(points[:, 2])[-1], depth[sigma <= limit * depth].max(), rtol=1e-3)
    # Where none is certain enough nothing is known, and an empty cloud would be a lie.
    assert node.set_parameters(parameters(**{'points.max_relative_sigma': 1e-6}))[0].successful
    stamp = client.send(image, info=camera_info())
    client.answer('depth/sigma', stamp)
    client.wait_for(lambda: 'points.max_relative_sigma' in client.status('camera').message, 'word of the cloud')
    assert stamp not in [message.header.stamp for message in client.received['points']]


def test_the_cloud_waits_and_says_why_if_nobody_knows_how_uncertain_it_is(run_node, constant_checkpoint):
    settings = {'points.max_relative_sigma': 0.1, **constant_checkpoint(METRES, 0.0)}
    node, client = run_node(['points', 'depth/image_rect', 'depth/image_color'], **settings)
    client.answer('depth/image_rect', client.send(picture(), info=camera_info()))
    status = client.status('alignment')
    assert status.level == DiagnosticStatus.WARN
    assert 'no points' in status.message
    assert 'points.max_relative_sigma' in status.message
    assert not client.received['points']
    node.set_parameters(parameters(**{'points.max_relative_sigma': 0.0}))
    client.answer('points', client.send(picture(), info=camera_info()))
    assert client.status('alignment').level == DiagnosticStatus.OK


def test_the_alignment_can_be_held_and_begun_anew(run_node):
    _, client = run_node(METRIC_TOPICS, **{'alignment.source': 'depth'}, **ALL, **PATIENT)
    assert not client.call('/depth_node/hold', SetBool, data=True).success  # there is none
    truth, image = see(client)
    until_metres(client, lambda: client.send(image, reference=truth))
    assert client.call('/depth_node/hold', SetBool, data=True).success
    status = client.status('alignment')
    assert status.level == DiagnosticStatus.WARN
    assert 'held' in status.message
    for _ in range(4):
        depth = client.answer('depth/image_rect', client.send(image, reference=truth * 2.0))
    np.testing.assert_allclose(depth_of(depth), truth, rtol=5e-3)
    assert client.call('/depth_node/hold', SetBool, data=False).success
    # The camera is silent, and what was said last does not hold any more.
    late = listen_late(client)
    assert 'scale' in values_of(client.wait_for(lambda: late, 'latched message')[-1].status[0])
    assert client.call('/depth_node/realign', Trigger).success
    client.wait_for(lambda: late[-1].status[0].level == DiagnosticStatus.ERROR, 'word of the new beginning')
    client.answer('depth/image_color', client.send(image))
    status = client.status('alignment')
    assert status.level == DiagnosticStatus.ERROR
    assert 'realigned' in status.message
    depth = until_metres(client, lambda: client.send(image, reference=truth * 2.0))
    np.testing.assert_allclose(depth_of(depth), truth * 2.0, rtol=5e-3)


def test_what_held_before_a_pause_cannot_be_held_after_it(run_node):
    node, client = run_node(METRIC_TOPICS, **{'alignment.source': 'depth'}, **ALL)
    truth, image = see(client)
    until_metres(client, lambda: client.send(image, reference=truth))
    # What is in force through a pause may be asked for again.
    assert client.call('/depth_node/hold', SetBool, data=True).success
    node.trigger_deactivate()
    assert client.call('/depth_node/hold', SetBool, data=True).success
    node.trigger_activate()
    assert client.call('/depth_node/hold', SetBool, data=False).success
    for change in (node.trigger_deactivate, node.trigger_activate):
        change()
        answer = client.call('/depth_node/hold', SetBool, data=True)
        assert not answer.success
        assert 'no frame' in answer.message
        assert client.call('/depth_node/hold', SetBool, data=False).success


def test_a_node_that_is_not_active_says_so_to_those_who_come_late(run_node, constant_checkpoint):
    fixed = {'alignment.source': 'fixed', 'alignment.fixed.scale': 0.25}
    node, client = run_node(METRIC_TOPICS, **constant_checkpoint('v2-small', 2.0), **fixed)
    stamp = client.send(picture())
    client.answer('depth/image_rect', stamp)
    messages = listen_late(client)
    array = client.wait_for(lambda: messages, 'latched message')[-1]
    assert float(values_of(array.status[0])['scale']) == 0.25
    assert array.header.stamp == stamp
    node.trigger_deactivate()
    client.wait_for(lambda: messages[-1].status[0].message == 'not active', 'word of the end')
    assert 'scale' not in values_of(messages[-1].status[0])


def test_somebody_who_wants_the_alignment_only_gets_it(run_node):
    _, client = run_node((), **{'alignment.source': 'depth', 'alignment.max_age_s': 60.0})
    messages = listen_late(client)
    client.wait_for(lambda: messages, 'first word')
    truth = metres_of(DepthEstimator(**SMALL)(picture()).values)

    def measured():
        client.send(picture(), reference=truth)
        time.sleep(0.1)
        return 'scale' in values_of(messages[-1].status[0])

    client.wait_for(measured, 'numbers')
    counts = values_of(client.status('frames'))
    assert int(counts['processed']) > 0
    assert counts['withheld'] == '0'


def test_the_frame_that_evidence_waits_for_is_not_replaced(run_node, monkeypatch):
    node, client = run_node(METRIC_TOPICS, **{'alignment.source': 'depth'}, **ALL)
    truth, image = see(client)
    started, go_on = hold_predictions(node, monkeypatch)
    before = int(values_of(client.status('frames'))['received'])
    first = client.send(image)
    assert started.wait(20.0)
    wanted = client.send(image, reference=truth)
    (stream,) = node._streams
    client.wait_for(lambda: stream._aligner.is_waiting_for(wanted.sec * 10**9 + wanted.nanosec), 'evidence')

    def received(count):
        return lambda: int(values_of(client.status('frames'))['received']) == before + count

    client.wait_for(received(2), 'frames')
    seconds_later(client)  # so that the evidence is not theirs too
    lost = [client.send(image) for _ in range(3)]
    client.wait_for(received(5), 'frames')
    go_on.set()
    client.answer('relative/image', first)
    client.answer('depth/image_rect', wanted)
    client.answer('relative/image', client.send(image))
    stamps = [message.header.stamp for message in client.received['relative/image']]
    assert not any(stamp in stamps for stamp in lost)
    assert values_of(client.status('frames'))['replaced by a newer frame'] == '3'


def test_a_frame_that_waits_long_for_the_network_keeps_its_evidence(run_node, monkeypatch):
    node, client = run_node(METRIC_TOPICS, **{'alignment.source': 'depth', 'alignment.max_age_s': 1.0}, **ALL)
    truth, image = see(client)
    started, go_on = hold_predictions(node, monkeypatch)
    before = int(values_of(client.status('frames'))['received'])
    client.send(image)
    assert started.wait(20.0)
    seconds_later(client)  # so that the evidence is not the first one's too
    waiting = client.send(image, reference=truth)
    client.wait_for(lambda: int(values_of(client.status('frames'))['received']) == before + 2, 'the second frame')
    (stream,) = node._streams
    client.wait_for(lambda: stream._aligner.is_waiting_for(waiting.sec * 10**9 + waiting.nanosec), 'evidence')
    time.sleep(1.5)  # longer than evidence may come before its frame
    go_on.set()
    np.testing.assert_allclose(depth_of(client.answer('depth/image_rect', waiting)), truth, rtol=5e-3)


SONAR_SOURCE = """
from dataclasses import dataclass

from depth_anything_ros.alignment import Alignment, EvidenceError, parameter


@dataclass(frozen=True)
class Sonar:
    gain: float = parameter(1.0, 'What the range is multiplied by.', between=(0.1, 10.0))
    window: tuple = parameter((0.5, 9.0), 'Least and largest range that is believed, m.', between=(0.0, 100.0))
    mode: str = parameter('plain', 'How.', choices=('plain', 'broken'))

    def __post_init__(self):
        if not self.window[0] < self.window[1]:
            raise ValueError('window must be least, then largest')

    @property
    def topics(self):
        return {'sonar': 'sensor_msgs/msg/Range'}

    def read(self, topic, message):
        if self.mode == 'broken':
            raise ZeroDivisionError('a fault of the source')
        if not self.window[0] <= message.range <= self.window[1]:
            raise EvidenceError(f'{message.range:g} m is outside the window')
        return message.range * self.gain

    def measure(self, evidence, view):
        return Alignment(1.0 / (evidence * float(view.disparity.mean())), 0.0)


class Nameless(Sonar):
    topics = {'sonar': 'no_such_msgs/msg/Sonar'}
"""


@pytest.fixture
def installed_sources(tmp_path, monkeypatch):
    """A foreign package, as pip leaves it: a module and its metadata."""
    (tmp_path / 'sonar_alignment.py').write_text(SONAR_SOURCE)
    (tmp_path / 'broken_alignment.py').write_text('raise RuntimeError("its licence has expired")\n')
    info = tmp_path / 'sonar_alignment-1.0.dist-info'
    info.mkdir()
    (info / 'METADATA').write_text('Metadata-Version: 2.1\nName: sonar_alignment\nVersion: 1.0\n')
    entries = """
        [depth_anything_ros.alignment_sources]
        sonar = sonar_alignment:Sonar
        nameless = sonar_alignment:Nameless
        broken = broken_alignment:Source
    """
    (info / 'entry_points.txt').write_text(textwrap.dedent(entries))
    monkeypatch.syspath_prepend(tmp_path)
    source_types.cache_clear()
    yield
    source_types.cache_clear()


def test_a_source_of_another_package_is_chosen_by_its_name(installed_sources, run_node, constant_checkpoint):
    settings = {'alignment.source': 'sonar', 'alignment.sonar.gain': 2.0, **constant_checkpoint('v2-small', 2.0)}
    node, client = run_node(METRIC_TOPICS, evidence_type=Range, evidence_topic='sonar', **settings)
    send = lambda: client.send(picture(), reference=Range(range=3.0))  # noqa: E731
    np.testing.assert_allclose(depth_of(until_metres(client, send)), 6.0, rtol=1e-5)
    assert node.describe_parameter('alignment.sonar.gain').description == 'What the range is multiplied by.'
    for name, value, reason in (
        ('alignment.sonar.gain', 11.0, 'range'),
        ('alignment.sonar.window', [5.0, 1.0], 'alignment.sonar: window must be'),
        ('alignment.sonar.window', [5.0, 500.0], '0 to 100'),
        ('alignment.sonar.mode', 'odd', 'plain, broken'),
        ('alignment.source', 'broken', 'its licence has expired'),
        ('alignment.source', 'nameless', 'no_such_msgs'),
    ):
        (result,) = node.set_parameters([Parameter(name, value=value)])
        assert not result.successful
        assert reason in result.reason
    # Live, and a fault of the source's own ends neither node nor picture.
    assert node.set_parameters(parameters(**{'alignment.sonar.window': [0.5, 2.0]}))[0].successful
    for reason, change in (('outside the window', {}), ('ZeroDivisionError', {'alignment.sonar.mode': 'broken'})):
        assert all(result.successful for result in node.set_parameters(parameters(**change)))

        def told(reason=reason):
            client.answer('relative/image', send())
            status = client.status('alignment')
            return reason in status.message and status.level == DiagnosticStatus.ERROR

        client.wait_for(told, f'word of {reason}')


def test_every_kind_of_source_has_its_parameters_in_the_node(run_node):
    node, _ = run_node()
    described = node.describe_parameter('alignment.source').description
    assert all(name in described for name in ('none', 'fixed', 'depth', 'points', 'scan', 'range', 'ground', 'camera'))
    pitch = node.describe_parameter('alignment.ground.pitch_rad')
    assert pitch.floating_point_range[0].to_value == pytest.approx(math.pi / 2)
    assert node.describe_parameter('alignment.ground.gravity').additional_constraints == 'One of: tf, imu, parameters'
    assert not pitch.read_only
