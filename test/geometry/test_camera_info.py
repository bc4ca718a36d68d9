"""A resized CameraInfo: ResizeNode's rule, and the same rays as the camera it was made from."""

import copy
from array import array
from types import SimpleNamespace

import numpy as np
import pytest

from depth_anything_ros.geometry import CameraInfoError, CameraModel, resize_camera_info

K = [995.0, 0.0, 311.2, 0.0, 990.0, 254.9, 0.0, 0.0, 1.0]
P = [900.0, 0.0, 320.0, -174.0, 0.0, 900.0, 250.0, 0.0, 0.0, 0.0, 1.0, 0.0]


def make_message(roi=(0, 0, 0, 0), binning=0):
    """A CameraInfo with the containers that rclpy gives."""
    x_offset, y_offset, width, height = roi
    return SimpleNamespace(
        header=SimpleNamespace(frame_id='camera_optical_frame'),
        width=741,
        height=500,
        distortion_model='plumb_bob',
        d=array('d', [-0.2, 0.05, 0.0, 0.0, 0.0]),
        k=np.array(K),
        r=np.eye(3).ravel(),
        p=np.array(P),
        binning_x=binning,
        binning_y=binning,
        roi=SimpleNamespace(x_offset=x_offset, y_offset=y_offset, width=width, height=height, do_rectify=False),
    )


def test_it_is_scaled_as_resize_node_scales_it():
    resized = resize_camera_info(make_message(), width=518, height=300)
    sx, sy = 518 / 741, 300 / 500
    k, p = np.array(K), np.array(P)
    k[[0, 2]] *= sx
    k[[4, 5]] *= sy
    p[[0, 2, 3]] *= sx
    p[[5, 6]] *= sy
    np.testing.assert_allclose(resized.k, k, rtol=1e-15)
    np.testing.assert_allclose(resized.p, p, rtol=1e-15)
    assert (resized.width, resized.height) == (518, 300)
    assert vars(resized.roi) == vars(make_message().roi)
    assert resized.d == make_message().d
    assert resized.header == make_message().header


def test_an_explicit_full_frame_roi_is_scaled_too():
    resized = resize_camera_info(make_message(roi=(0, 0, 741, 500)), width=518, height=300)
    assert (resized.roi.width, resized.roi.height) == (518, 300)


@pytest.mark.parametrize('rectified', [False, True])
@pytest.mark.parametrize(('roi', 'binning'), [((0, 0, 0, 0), 0), ((101, 50, 400, 300), 0), ((101, 50, 400, 300), 2)])
def test_it_describes_the_same_rays_as_the_scaled_camera(roi, binning, rectified):
    message = make_message(roi, binning)
    resized = resize_camera_info(message, width=120, height=90)
    expected = CameraModel.from_camera_info(message, rectified=rectified).rays(90, 120)
    camera = CameraModel.from_camera_info(resized, rectified=rectified)
    camera.check_image_size(90, 120)
    np.testing.assert_allclose(camera.rays(90, 120), expected, atol=1e-6)


def test_an_image_that_keeps_its_size_keeps_its_camera_info():
    message = make_message(roi=(101, 50, 400, 300), binning=2)
    same = resize_camera_info(message, width=200, height=150)
    assert same is not message
    assert vars(same.roi) == vars(message.roi)
    assert same.binning_x == 2
    np.testing.assert_array_equal(same.k, message.k)


def test_the_input_is_not_changed_and_shares_nothing():
    message = make_message(roi=(101, 50, 400, 300), binning=2)
    before = copy.deepcopy(message)
    resized = resize_camera_info(message, width=100, height=75)
    resized.header.frame_id = 'other'
    resized.d[0] = 1.0
    resized.roi.width = 7
    assert message.header == before.header
    assert message.d == before.d
    assert message.roi == before.roi
    np.testing.assert_array_equal(message.k, before.k)
    np.testing.assert_array_equal(message.p, before.p)


def test_a_projection_that_was_never_filled_stays_so():
    message = make_message(roi=(101, 50, 400, 300))
    message.p = np.zeros(12)
    assert not resize_camera_info(message, width=100, height=75).p.any()
    without = {'width': 741, 'height': 500, 'k': K}
    assert resize_camera_info(without, width=370, height=250).keys() == without.keys()


def test_a_dict_and_a_ros1_message_are_resized_alike():
    message = make_message()
    fields = {name: vars(message)[name] for name in ('width', 'height', 'distortion_model', 'd')}
    as_dict = resize_camera_info(fields | {'k': list(K), 'p': tuple(P)}, width=370, height=250)
    ros1 = resize_camera_info(SimpleNamespace(**fields, K=tuple(K), P=tuple(P)), width=370, height=250)
    expected = resize_camera_info(message, width=370, height=250)
    assert as_dict['k'] == expected.k.tolist()
    assert as_dict['p'] == ros1.P == tuple(expected.p.tolist())
    assert as_dict['width'] == ros1.width == 370


def test_a_ros_message_is_resized():
    msg = pytest.importorskip('sensor_msgs.msg')
    message = msg.CameraInfo(width=741, height=500, distortion_model='plumb_bob', k=K, p=P, d=[0.0] * 5)
    message.header.frame_id = 'camera'
    resized = resize_camera_info(message, width=370, height=250)
    assert resized.k[0] == pytest.approx(K[0] * 370 / 741)
    assert resized.p[6] == pytest.approx(P[6] / 2)
    assert (resized.width, resized.height, resized.header.frame_id) == (370, 250, 'camera')
    assert message.k[0] == K[0]
    assert CameraModel.from_camera_info(resized, rectified=False).height == 250


def test_bad_sizes_are_refused():
    with pytest.raises(ValueError, match='positive image size, got 0x10'):
        resize_camera_info(make_message(), width=0, height=10)
    empty = make_message()
    empty.width = 0
    with pytest.raises(CameraInfoError, match='size 0x500'):
        resize_camera_info(empty, width=10, height=10)
