"""What comes out of the node for what goes in, over DDS."""

import cv2
import numpy as np
import pytest
from builtin_interfaces.msg import Time
from dds_client import camera_info, depth_of, picture, points_of, values_of
from diagnostic_msgs.msg import DiagnosticStatus
from rclpy.parameter import Parameter
from sensor_msgs.msg import Image, PointField

METRES = 'v2-small-indoor'  # sigmoid(logit) * 20 m; 0.0 makes it 10 m


def test_a_relative_model_publishes_disparity_and_no_metres(run_node):
    _, client = run_node(['relative/image', 'depth/image_color', 'depth/image_rect', 'depth/camera_info', 'points'])
    stamp = client.send(picture(), info=camera_info())
    relative = client.answer('relative/image', stamp)
    color = client.answer('depth/image_color', stamp)
    assert (relative.encoding, relative.height, relative.width) == ('32FC1', 48, 64)
    assert (color.encoding, color.height, color.width) == ('bgr8', 48, 64)
    assert relative.header.frame_id == color.header.frame_id == 'camera_optical_frame'
    assert np.isfinite(depth_of(relative)).all()
    # The next frame's answer proves that nothing of this one is still on its way.
    client.answer('relative/image', client.send(picture(), info=camera_info()))
    for topic in ('depth/image_rect', 'depth/camera_info', 'points'):
        assert not client.received[topic]
    assert 'no metres' in client.status('alignment').message


def test_an_untrained_model_says_so_in_every_diagnostics_message(run_node):
    _, client = run_node()
    for _ in range(3):
        status = client.status('model')
        assert 'not trained' in status.message
        assert status.level != b'\x00'


def test_a_metric_model_makes_a_plane_of_true_depth_and_a_cloud_of_it(run_node, constant_checkpoint):
    topics = ['depth/image_rect', 'depth/image_raw', 'depth/camera_info', 'points']
    _, client = run_node(topics, **constant_checkpoint(METRES, 0.0))
    image = picture()
    stamp = client.send(image, info=camera_info())

    depth = client.answer('depth/image_rect', stamp)
    np.testing.assert_allclose(depth_of(depth), 10.0, rtol=1e-5)
    assert depth.header.frame_id == 'camera_optical_frame'

    millimetres = client.answer('depth/image_raw', stamp)
    assert millimetres.encoding == '16UC1'
    assert set(np.frombuffer(millimetres.data, np.uint16)) == {10000}

    info = client.answer('depth/camera_info', stamp)
    assert (info.height, info.width) == (48, 64)
    np.testing.assert_array_equal(info.k, camera_info().k)
    np.testing.assert_array_equal(info.p, camera_info().p)
    assert info.distortion_model == 'plumb_bob'

    cloud = client.answer('points', stamp)
    assert cloud.is_dense
    assert (cloud.height, cloud.width, cloud.point_step) == (1, 12 * 16, 16)
    fields = {field.name: (field.offset, field.datatype) for field in cloud.fields}
    assert fields == {name: (4 * i, PointField.FLOAT32) for i, name in enumerate(('x', 'y', 'z', 'rgb'))}
    rows, columns = np.mgrid[0:48:4, 0:64:4]
    expected = np.stack([(columns - 31.5) / 5.0, (rows - 23.5) / 5.0, np.full(rows.shape, 10.0)], -1)
    np.testing.assert_allclose(points_of(cloud), expected.reshape(-1, 3), rtol=1e-5)
    packed = np.frombuffer(cloud.data, np.uint32).reshape(-1, 4)[:, 3]
    red, green, blue = image[::4, ::4].reshape(-1, 3).astype(np.uint32).T
    np.testing.assert_array_equal(packed, (red << 16) | (green << 8) | blue)


def test_what_a_metric_model_sees_at_the_end_of_its_range_is_at_no_distance(run_node, constant_checkpoint):
    _, client = run_node(['depth/image_rect'], **constant_checkpoint(METRES, 10.0), **{'range.max_m': 100.0})
    depth = depth_of(client.answer('depth/image_rect', client.send(picture())))
    assert np.isposinf(depth).all()  # and not the 20 m of which it says 19.999


def test_organised_points_keep_the_grid(run_node, constant_checkpoint):
    settings = {'points.organized': True, 'points.stride': 1, 'points.color': False}
    _, client = run_node(['points'], **constant_checkpoint(METRES, 0.0), **settings)
    cloud = client.answer('points', client.send(picture(), info=camera_info()))
    assert (cloud.height, cloud.width, cloud.point_step, cloud.is_dense) == (48, 64, 12, False)


def test_a_fixed_alignment_makes_metres_of_disparity(run_node, constant_checkpoint):
    settings = {'alignment.source': 'fixed', 'alignment.fixed.scale': 0.1, 'alignment.fixed.shift': 0.05}
    _, client = run_node(['depth/image_rect'], **constant_checkpoint('v2-small', 2.0), **settings)
    depth = client.answer('depth/image_rect', client.send(picture(), info=camera_info()))
    np.testing.assert_allclose(depth_of(depth), 1.0 / (0.1 * 2.0 + 0.05), rtol=1e-5)


@pytest.mark.parametrize('kind', [np.float32, np.uint16])
def test_a_sparse_depth_image_makes_metres_of_disparity(run_node, kind):
    # The network's own disparity is affine to the truth that we make of it, so the node must find it.
    _, client = run_node(['relative/image', 'depth/image_rect'], **{'alignment.source': 'depth', 'edge.threshold': 0.0})
    image = picture()
    disparity = depth_of(client.answer('relative/image', client.send(image)))
    spread = (disparity - disparity.min()) / np.ptp(disparity)
    truth = (1.0 / (0.4 * spread + 0.1)).astype(np.float32)  # 2 to 10 m
    sparse = np.where(np.random.default_rng(0).random(truth.shape) < 0.1, truth, 0.0).astype(np.float32)
    reference = sparse if kind == np.float32 else (sparse * 1000.0 + 0.5).astype(np.uint16)
    # The evidence may come after its frame, and then holds from the next one on; or before, and then its frame may be
    # the only one of the two.
    client.send(image, reference=reference)
    client.send(image)
    depth = depth_of(client.wait_for(lambda: client.received['depth/image_rect'], 'depth/image_rect')[0])
    np.testing.assert_allclose(depth, truth, rtol=2e-3)
    values = values_of(client.status('alignment'))
    assert values['source'] == 'depth'
    assert float(values['explained']) > 0.99


def test_evidence_of_another_scene_gives_no_metres(run_node):
    _, client = run_node(['depth/image_color', 'depth/image_rect'], **{'alignment.source': 'depth'})
    wrong = np.random.default_rng(3).uniform(1.0, 9.0, (48, 64)).astype(np.float32)
    client.answer('depth/image_color', client.send(picture(), reference=wrong))
    client.answer('depth/image_color', client.send(picture()))
    status = client.status('alignment')
    assert status.level == b'\x02'
    assert 'no metres' in status.message
    assert not client.received['depth/image_rect']


def test_metres_stop_when_the_evidence_is_too_old(run_node):
    settings = {'alignment.source': 'depth', 'alignment.max_age_s': 5.0}
    _, client = run_node(['relative/image', 'depth/image_rect', 'depth/image_color'], **settings)
    image = picture()
    disparity = depth_of(client.answer('relative/image', client.send(image)))
    truth = (1.0 / (0.4 * (disparity - disparity.min()) / np.ptp(disparity) + 0.1)).astype(np.float32)
    client.answer('depth/image_color', client.send(image, reference=truth))
    client.answer('depth/image_rect', client.send(image))
    before = len(client.received['depth/image_rect'])
    # Six seconds later by the camera's clock.
    now = client.next_stamp()
    client.next_stamp = lambda: Time(sec=now.sec + 6, nanosec=1)
    client.answer('depth/image_color', client.send(image))
    assert len(client.received['depth/image_rect']) == before
    status = client.status('alignment')
    assert 'alignment.max_age_s' in status.message
    assert status.level == b'\x02'


def test_range_and_rep_117(run_node, constant_checkpoint):
    node, client = run_node(['depth/image_rect'], **constant_checkpoint(METRES, 0.0))
    for parameters, expected in (
        ({'range.min_m': 11.0}, -np.inf),
        ({'range.min_m': 0.5, 'range.max_m': 9.0}, np.inf),
    ):
        results = node.set_parameters([Parameter(name, value=value) for name, value in parameters.items()])
        assert all(result.successful for result in results)
        depth = depth_of(client.answer('depth/image_rect', client.send(picture())))
        np.testing.assert_array_equal(depth, np.full((48, 64), expected, np.float32))


def test_a_cloud_of_which_nothing_is_known_is_withheld_and_one_of_free_space_is_empty(run_node, constant_checkpoint):
    node, client = run_node(['points'], **constant_checkpoint(METRES, 0.0), **{'range.min_m': 11.0})

    def set_range(least, most):
        changes = [Parameter('range.min_m', value=least), Parameter('range.max_m', value=most)]
        assert node.set_parameters_atomically(changes).successful

    # All of it is nearer than 11 m.
    client.send(picture(), info=camera_info())
    client.wait_for(lambda: values_of(client.status('frames'))['withheld'] == '1', 'withheld frame')
    status = client.status('camera')
    assert status.level == DiagnosticStatus.WARN
    assert 'no cloud' in status.message
    assert 'range.min_m' in status.message
    # All of it is beyond 9 m.
    set_range(0.5, 9.0)
    stamp = client.send(picture(), info=camera_info())
    assert len(points_of(client.answer('points', stamp))) == 0
    client.wait_for(lambda: client.status('camera').level == DiagnosticStatus.OK, 'good word')
    assert [message.header.stamp for message in client.received['points']] == [stamp]
    # What else is wanted goes out all the same.
    set_range(11.0, 20.0)
    client.listen('depth/image_rect', Image)
    client.wait_for(lambda: node.count_subscribers('depth/image_rect'), 'subscriber')
    client.wait_for(lambda: client.count_publishers('depth/image_rect'), 'publisher')
    client.answer('depth/image_rect', client.send(picture(), info=camera_info()))
    client.wait_for(lambda: 'no cloud' in client.status('camera').message, 'word of the cloud')
    assert len(client.received['points']) == 1


def test_depth_at_network_size_comes_with_its_own_camera_info(run_node, constant_checkpoint):
    settings = {'output_size': 'network', 'points.stride': 1, 'points.color': True}
    topics = ['depth/image_rect', 'depth/camera_info', 'points']
    _, client = run_node(topics, **constant_checkpoint(METRES, 0.0), **settings)
    stamp = client.send(picture(), info=camera_info())
    depth, info = client.answer('depth/image_rect', stamp), client.answer('depth/camera_info', stamp)
    assert (depth.height, depth.width) == (info.height, info.width) == (42, 56)
    # image_proc's ResizeNode: a plain factor.
    assert info.k[0] == pytest.approx(50.0 * 56 / 64)
    assert info.p[6] == pytest.approx(23.5 * 42 / 48)
    points = points_of(client.answer('points', stamp))
    # Another resolution, the same world: the same field of view.
    assert points[:, 0].min() == pytest.approx(10.0 * (0 - info.k[2]) / info.k[0], rel=1e-4)
    assert len(points) == 42 * 56


def test_a_distorted_camera_gives_a_rectified_depth_image_and_a_true_cloud(run_node, constant_checkpoint):
    topics = ['depth/image_rect', 'depth/image_raw', 'depth/camera_info', 'points']
    _, client = run_node(topics, **constant_checkpoint(METRES, 0.0), **{'points.stride': 1})
    info = camera_info()
    info.d = [-0.3, 0.1, 0.0, 0.0, 0.0]
    # Rectified, the picture has a border of what the lens does not show.
    info.p[0] = info.p[5] = 30.0
    stamp = client.send(picture(), info=info)
    published = client.answer('depth/camera_info', stamp)
    np.testing.assert_array_equal(published.d, np.zeros(5))
    np.testing.assert_allclose(np.reshape(published.k, (3, 3)), np.reshape(published.p, (3, 4))[:, :3])
    # Both depth images are of the geometry that camera_info describes.
    depth, millimetres = client.answer('depth/image_rect', stamp), client.answer('depth/image_raw', stamp)
    expected = np.rint(1000.0 * np.nan_to_num(depth_of(depth)))
    np.testing.assert_array_equal(np.frombuffer(millimetres.data, np.uint16).reshape(48, 64), expected)
    assert 0.2 < np.mean(expected == 0) < 0.8
    points = points_of(client.answer('points', stamp))
    np.testing.assert_allclose(points[:, 2], 10.0, rtol=1e-5)
    # Barrel distortion: the corner sees farther out than a camera without it.
    assert np.abs(points[:, 0]).max() > 1.05 * 10.0 * 31.5 / 50.0
    pixels, _ = cv2.projectPoints(
        points.astype(np.float64), np.zeros(3), np.zeros(3), np.reshape(info.k, (3, 3)), np.array(info.d)
    )
    rows, columns = np.mgrid[0:48, 0:64]
    np.testing.assert_allclose(pixels.reshape(48, 64, 2), np.stack([columns, rows], -1), atol=1e-2)


def test_a_rectified_topic_is_projected_with_p(run_node, constant_checkpoint):
    settings = {**constant_checkpoint(METRES, 0.0), 'points.stride': 1}
    _, client = run_node(
        ['points'],
        image_topic='camera/image_rect_color',
        arguments=['-r', 'image:=camera/image_rect_color'],
        **settings,
    )
    info = camera_info()
    info.d = [-0.3, 0.1, 0.0, 0.0, 0.0]
    info.p[0] = info.p[5] = 40.0
    points = points_of(client.answer('points', client.send(picture(), info=info)))
    assert points[:, 0].max() == pytest.approx(10.0 * 31.5 / 40.0, rel=1e-4)
    assert 'P, rectified' in values_of(client.status('camera'))['projection']
