"""A raw camera's depth, rectified: what P back-projects is what K and D saw."""

import cv2
import numpy as np
import pytest

from depth_anything_ros.geometry import CameraInfoError, CameraModel, DepthRectifier, backproject

WIDTH, HEIGHT = 320, 240
NORMAL, OFFSET = np.array([0.2, -0.1, 0.9746]), 2.0
TURN = cv2.Rodrigues(np.array([0.02, -0.05, 0.01]))[0]
PLUMB_BOB = ('plumb_bob', [-0.3, 0.1, 0.001, -0.001, 0.0], 200.0)
LENSES = [
    PLUMB_BOB,
    ('rational_polynomial', [8.2, 4.7, 3e-4, -2e-4, 0.22, 8.6, 6.9, 1.1], 200.0),
    ('equidistant', [-0.01, 0.004, -0.003, 0.0005], 200.0),
]


def make_info(model, d, focal, rotation=None):
    return {
        'width': WIDTH,
        'height': HEIGHT,
        'distortion_model': model,
        'd': d,
        'k': [focal, 0, 158.0, 0, focal, 121.0, 0, 0, 1],
        'r': (np.eye(3) if rotation is None else rotation).ravel().tolist(),
        'p': [0.9 * focal, 0, 160.0, 0, 0, 0.9 * focal, 120.0, 0, 0, 0, 1, 0],
    }


def raw_plane_depth(info, normal=NORMAL):
    camera = CameraModel.from_camera_info(info, rectified=False)
    return (OFFSET / (camera.rays(camera.height, camera.width) @ normal)).astype(np.float32)


def check_is_plane(depth, info, normal, raw_depth):
    points = backproject(depth, CameraModel.from_camera_info(info, rectified=True))
    seen = np.isfinite(points[..., 2])
    assert seen.mean() > 0.8
    # The nearest raw pixel is up to half a pixel off each way, and the depth of a slanted plane changes on the way.
    half_pixel = 0.5 * sum(np.nanmax(np.abs(np.diff(np.log(raw_depth), axis=axis))) for axis in (0, 1))
    error = points[seen] @ normal / OFFSET - 1.0
    assert np.abs(error).max() < half_pixel < 0.01
    assert abs(error.mean()) < 1e-4


@pytest.mark.parametrize('rotation', [None, TURN], ids=['not turned', 'turned'])
@pytest.mark.parametrize('lens', LENSES, ids=lambda lens: lens[0])
def test_a_plane_seen_through_a_lens_is_a_plane_after_rectification(lens, rotation):
    info = make_info(*lens, rotation)
    rectify = DepthRectifier.from_camera_info(info)
    assert rectify.needed
    raw = raw_plane_depth(info)
    check_is_plane(rectify(raw), info, NORMAL if rotation is None else rotation @ NORMAL, raw)


@pytest.mark.parametrize('lens', LENSES, ids=lambda lens: lens[0])
def test_it_takes_the_pixel_that_opencv_takes(lens):
    model, d, focal = lens
    info = make_info(model, d, focal, TURN)
    k, p = np.reshape(info['k'], (3, 3)), np.reshape(info['p'], (3, 4))[:, :3]
    initialise = cv2.fisheye.initUndistortRectifyMap if model == 'equidistant' else cv2.initUndistortRectifyMap
    map_x, map_y = initialise(k, np.array(d), TURN, p, (WIDTH, HEIGHT), cv2.CV_32FC1)
    # A flat wall square to the raw camera, marked with the number of each pixel.
    marks = 1.0 + np.arange(WIDTH * HEIGHT, dtype=np.float32).reshape(HEIGHT, WIDTH)
    expected = cv2.remap(marks, map_x, map_y, cv2.INTER_NEAREST, borderValue=np.nan)
    v, u = np.mgrid[:HEIGHT, :WIDTH]
    rays = np.stack(((u - p[0, 2]) / p[0, 0], (v - p[1, 2]) / p[1, 1], np.ones_like(u)), axis=2)
    expected = expected / (rays @ TURN)[..., 2]
    same = np.isclose(DepthRectifier.from_camera_info(info)(marks), expected, rtol=1e-5, equal_nan=True)
    assert same.mean() > 0.999  # OpenCV's float32 maps round a few ties the other way


def test_region_of_interest_and_binning_are_respected():
    roi = {'x_offset': 20, 'y_offset': 16, 'width': 280, 'height': 200}
    info = make_info(*PLUMB_BOB) | {'roi': roi, 'binning_x': 2, 'binning_y': 2}
    raw = raw_plane_depth(info)
    assert raw.shape == (100, 140)
    check_is_plane(DepthRectifier.from_camera_info(info)(raw), info, NORMAL, raw)


def test_an_image_of_another_size_is_taken_as_resized():
    info = make_info(*PLUMB_BOB)
    rays = CameraModel.from_camera_info(info, rectified=False).rays(480, 640)
    raw = (OFFSET / (rays @ NORMAL)).astype(np.float32)
    check_is_plane(DepthRectifier.from_camera_info(info)(raw), info, NORMAL, raw)


def test_a_depth_edge_stays_sharp_and_marks_stay_marks():
    info = make_info(*PLUMB_BOB)
    depth = np.full((HEIGHT, WIDTH), 1.0, dtype=np.float32)
    depth[:, 100:150], depth[:, 150:200], depth[:, 200:250] = 5.0, np.inf, -np.inf
    rectified = DepthRectifier.from_camera_info(info)(depth)
    values = set(np.unique(rectified[~np.isnan(rectified)]).tolist())
    assert values == {1.0, 5.0, np.inf, -np.inf}


def test_what_the_raw_image_does_not_reach_is_nan():
    info = make_info(*PLUMB_BOB)
    info['p'][0] = info['p'][5] = 60.0  # zoomed out
    depth = DepthRectifier.from_camera_info(info)(np.ones((HEIGHT, WIDTH), np.float32))
    assert np.isnan(depth[[0, 0, -1, -1], [0, -1, 0, -1]]).all()
    assert depth[HEIGHT // 2, WIDTH // 2] == 1.0


def test_a_camera_that_is_already_rectified_needs_nothing():
    info = make_info('plumb_bob', [0.0] * 5, 200.0)
    k = info['k']
    depth = np.ones((HEIGHT, WIDTH), np.float32)
    for p in ([k[0], 0, k[2], -12.0, 0, k[4], k[5], 0, 0, 0, 1, 0], [0.0] * 12):
        rectify = DepthRectifier.from_camera_info(info | {'p': p})
        assert not rectify.needed
        assert rectify(depth) is depth
    assert not DepthRectifier.from_camera_info(info | {'p': [0.0] * 12, 'r': [0.0] * 9}).needed


def test_a_different_p_or_a_rotation_alone_needs_it():
    info = make_info('plumb_bob', [0.0] * 5, 200.0)
    assert DepthRectifier.from_camera_info(info).needed
    assert DepthRectifier.from_camera_info(info | {'p': [0.0] * 12, 'r': TURN.ravel().tolist()}).needed


def test_distortion_without_p_is_refused():
    with pytest.raises(CameraInfoError, match='P with fx = 0'):
        DepthRectifier.from_camera_info(make_info(*PLUMB_BOB) | {'p': [0.0] * 12})


@pytest.mark.parametrize('rotation', [2.0 * np.eye(3), np.diag([1.0, 1.0, -1.0]), np.full((3, 3), np.nan)])
def test_an_r_that_is_no_rotation_is_refused(rotation):
    with pytest.raises(CameraInfoError, match='rotation matrix'):
        DepthRectifier.from_camera_info(make_info(*PLUMB_BOB, rotation))


def test_maps_of_a_robot_full_of_cameras_are_each_computed_once():
    rectifiers = [DepthRectifier.from_camera_info(make_info(*PLUMB_BOB[:2], 200.0 + number)) for number in range(12)]
    maps = [rectify.maps(12, 16) for rectify in rectifiers]
    assert all(rectify.maps(12, 16) is before for rectify, before in zip(rectifiers, maps, strict=True))
