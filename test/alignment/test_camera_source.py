"""The focal length that a metric model was trained with, against the camera's."""

import numpy as np
import pytest

from depth_anything_ros.alignment.hook import EvidenceError, View
from depth_anything_ros.alignment.sources.camera import CameraSource
from depth_anything_ros.geometry import CameraModel

CANONICAL_PX = 600.0
OBJECT_M = 0.8


def camera_of(fx, fy, width=640, height=480):
    return CameraModel(width, height, fx, fy, width / 2, height / 2)


def view_of_an_object(camera, depth_m, network_size, **changes):
    """What a network says that knows the size of the object, and believes in its own focal length."""
    edges = np.array([[-0.5, -0.5, 0.0], [0.5, 0.5, 0.0]]) * OBJECT_M + [0.0, 0.0, depth_m]
    left_top, right_bottom = camera.scaled(*network_size).project(edges)
    covered_px = np.sqrt(np.prod(right_bottom - left_top))
    values = np.full((camera.height, camera.width), CANONICAL_PX * OBJECT_M / covered_px, np.float32)
    settings = {'kind': 'depth', 'network_size': network_size, 'canonical_focal_px': CANONICAL_PX} | changes
    return View(values, camera=camera, **settings)


@pytest.mark.parametrize('focal_px', [200.0, 500.0, 1400.0], ids=['wide', 'normal', 'long'])
@pytest.mark.parametrize('network_size', [(518, 686), (252, 336)])
def test_an_object_is_where_it_is_through_any_lens(focal_px, network_size):
    view = view_of_an_object(camera_of(focal_px, focal_px), 4.0, network_size)
    depth = CameraSource().measure(None, view).depth(view.disparity)
    np.testing.assert_allclose(depth, 4.0, rtol=1e-5)


def test_an_uncorrected_wide_lens_sees_too_far_and_a_long_one_too_near():
    too_far = view_of_an_object(camera_of(200.0, 200.0), 4.0, (518, 686)).values[0, 0]
    too_near = view_of_an_object(camera_of(1400.0, 1400.0), 4.0, (518, 686)).values[0, 0]
    assert too_near < 4.0 < too_far


def test_pixels_that_are_not_square_are_seen_by_their_mean():
    view = view_of_an_object(camera_of(700.0, 350.0, 640, 360), 2.5, (518, 924))
    np.testing.assert_allclose(CameraSource().measure(None, view).depth(view.disparity), 2.5, rtol=1e-5)


def test_the_values_may_have_another_size_than_what_the_network_saw():
    large = view_of_an_object(camera_of(500.0, 500.0), 4.0, (518, 686))
    small = View(large.values[::2, ::2], 'depth', camera=large.camera.scaled(240, 320), network_size=(518, 686))
    scale = CameraSource(canonical_focal_px=CANONICAL_PX).measure(None, small).scale
    assert scale == pytest.approx(CameraSource().measure(None, large).scale)


def test_a_parameter_overrules_what_is_known_of_the_model():
    view = view_of_an_object(camera_of(500.0, 500.0), 4.0, (518, 686), canonical_focal_px=1.0)
    depth = CameraSource(canonical_focal_px=CANONICAL_PX).measure(None, view).depth(view.disparity)
    np.testing.assert_allclose(depth, 4.0, rtol=1e-5)


@pytest.mark.parametrize(
    ('changes', 'text'),
    [
        ({'kind': 'disparity'}, 'metric models only.*choose'),
        ({'canonical_focal_px': None}, 'set alignment.camera.canonical_focal_px'),
        ({'network_size': None}, 'size at which the network saw'),
        ({'camera': None}, 'CameraInfo'),
    ],
)
def test_what_is_unknown_is_named(changes, text):
    known = view_of_an_object(camera_of(500.0, 500.0), 4.0, (518, 686))
    facts = {'kind': 'depth', 'camera': known.camera, 'network_size': (518, 686), 'canonical_focal_px': CANONICAL_PX}
    with pytest.raises(EvidenceError, match=text):
        CameraSource().measure(None, View(known.values, **(facts | changes)))


@pytest.mark.parametrize('focal_px', [-1.0, float('nan'), float('inf')])
def test_a_focal_length_that_is_none_is_refused(focal_px):
    with pytest.raises(ValueError, match='canonical_focal_px'):
        CameraSource(canonical_focal_px=focal_px)


def test_the_frame_is_all_it_needs():
    assert CameraSource().topics == {}
    with pytest.raises(EvidenceError):
        CameraSource().read('imu', None)
