"""The camera model against OpenCV's forward models, which are not ours, and against the image pipeline's rules."""

import array
import os
import re
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from depth_anything_ros.geometry import CameraInfoError, CameraModel, backproject

WIDTH, HEIGHT = 160, 120

# Distortion models, mild and strong. The fields of view are those of real lenses: 60 to 110 degrees, fisheye 150.
LENSES = {
    'pinhole': ('plumb_bob', [0.0] * 5, 130.0),
    'no model named': ('', [], 130.0),
    'plumb_bob, 4 coefficients': ('plumb_bob', [-0.2834, 0.0740, 0.0002, 0.00002], 100.0),
    'plumb_bob, barrel': ('plumb_bob', [-0.36, 0.12, 0.002, -0.001, -0.01], 70.0),
    'plumb_bob, pincushion': ('plumb_bob', [0.3, 0.2, 0.001, 0.001, 0.1], 110.0),
    'rational_polynomial': ('rational_polynomial', [8.2, 4.7, 3e-4, -2e-4, 0.22, 8.6, 6.9, 1.1], 60.0),
    'rational_polynomial, tilted': (
        'rational_polynomial',
        [-0.3, 0.1, 1e-3, 1e-3, 0.0, 0.01, 0.02, 0.0, 1e-3, -1e-3, 2e-3, 1e-3, 0.02, -0.03],
        90.0,
    ),
    'equidistant': ('equidistant', [-0.011, 0.0043, -0.0026, 0.0005], 70.0),
    'equidistant, ideal': ('fisheye', [0.0] * 4, 70.0),
}


def make_info(model='plumb_bob', d=(), focal=130.0, **changes):
    """A CameraInfo as a dict, the principal point off the centre and the pixels not square."""
    info = {
        'width': WIDTH,
        'height': HEIGHT,
        'distortion_model': model,
        'd': list(d),
        'k': [focal, 0.0, 78.3, 0.0, focal * 1.02, 61.7, 0.0, 0.0, 1.0],
        'r': [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0],
        'p': [0.9 * focal, 0.0, 80.0, 0.0, 0.0, 0.9 * focal, 60.0, 0.0, 0.0, 0.0, 1.0, 0.0],
    }
    return info | changes


def opencv_project(points, info):
    """Pixels (N, 2) of points (N, 3) by OpenCV's forward model."""
    k, d, zero = np.reshape(info['k'], (3, 3)), np.array(info['d']), np.zeros(3)
    if info['distortion_model'] in ('equidistant', 'fisheye'):
        return cv2.fisheye.projectPoints(points[:, None], zero, zero, k, d)[0][:, 0]
    return cv2.projectPoints(points, zero, zero, k, d if d.size else None)[0][:, 0]


@pytest.fixture(params=LENSES, ids=str)
def raw_info(request):
    return make_info(*LENSES[request.param])


def test_a_slanted_plane_comes_back_through_each_lens(raw_info):
    normal, offset = np.array([0.28, -0.16, 0.946]), 3.0
    camera = CameraModel.from_camera_info(raw_info, rectified=False)
    v, u = np.mgrid[:HEIGHT, :WIDTH]
    pixels = np.stack((u.ravel(), v.ravel()), axis=1).astype(float)
    # The depth of the plane under each pixel, by inverting OpenCV's forward model numerically.
    rays = invert_by_search(lambda rays: opencv_project(rays, raw_info), pixels, camera)
    depth = offset / (rays @ normal)
    in_view = ((depth > 0) & (depth < 50.0)).reshape(HEIGHT, WIDTH)
    points = backproject(np.where(in_view, depth.reshape(HEIGHT, WIDTH), np.nan), camera)
    assert in_view.mean() > 0.8
    distance_to_plane = points[in_view] @ normal - offset
    assert np.abs(distance_to_plane).max() < 1e-4 * offset
    truth = (rays * depth[:, None])[in_view.ravel()]
    assert (np.linalg.norm(points[in_view] - truth, axis=1) < 1e-4 * np.linalg.norm(truth, axis=1)).all()


def invert_by_search(project, pixels, camera):
    """Rays (N, 3) whose projection is `pixels`: damped secant steps on OpenCV's model, from the pinhole's ray."""
    rays = camera.unproject(pixels)  # only a start: what decides is OpenCV's residual below
    rays[:, :2] *= 1.001
    scale = np.array([camera.fx, camera.fy])
    for _ in range(60):
        residual = pixels - project(rays)
        slope = np.empty((len(rays), 2, 2))
        for axis in range(2):
            moved = rays.copy()
            moved[:, axis] += 1e-6
            slope[:, :, axis] = (project(moved) - project(rays)) / 1e-6
        rays[:, :2] += np.linalg.solve(slope, residual[:, :, None])[:, :, 0]
        if np.abs(residual / scale).max() < 1e-10:
            break
    assert np.abs(project(rays) - pixels).max() < 1e-6
    return rays


def test_the_corners_of_a_distorted_checkerboard_come_back(raw_info):
    board = np.zeros((54, 3))
    board[:, :2] = np.mgrid[:9, :6].T.reshape(-1, 2) * 0.1 - (0.4, 0.25)
    turn = cv2.Rodrigues(np.array([0.3, -0.4, 0.1]))[0]
    corners = board @ turn.T + (0.02, -0.03, 1.1)
    pixels = opencv_project(corners, raw_info)
    rays = CameraModel.from_camera_info(raw_info, rectified=False).unproject(pixels)
    np.testing.assert_allclose(rays * corners[:, 2:], corners, rtol=1e-9, atol=1e-9)


def test_projection_agrees_with_opencv(raw_info):
    rng = np.random.default_rng(0)
    points = rng.uniform((-0.8, -0.6, 1.0), (0.8, 0.6, 2.0), (500, 3))
    camera = CameraModel.from_camera_info(raw_info, rectified=False)
    np.testing.assert_allclose(camera.project(points), opencv_project(points, raw_info), atol=1e-9)


def test_each_pixel_with_a_ray_projects_onto_itself(raw_info):
    camera = CameraModel.from_camera_info(raw_info, rectified=False)
    v, u = np.mgrid[:HEIGHT, :WIDTH]
    pixels = np.stack((u.ravel(), v.ravel()), axis=1).astype(float)
    rays = camera.unproject(pixels)
    seen = np.isfinite(rays).all(axis=1)
    assert seen.mean() > 0.95
    np.testing.assert_allclose(camera.project(rays[seen]), pixels[seen], atol=1e-7)


def test_pixels_beyond_the_fold_of_the_lens_have_no_ray():
    # r (1 - 0.35 r^2) is largest at r = 0.976, where it is 0.651: no ray reaches a pixel further out.
    info = make_info('plumb_bob', [-0.35, 0.0, 0.0, 0.0, 0.0], focal=60.0)
    camera = CameraModel.from_camera_info(info, rectified=False)
    v, u = np.mgrid[:HEIGHT, :WIDTH]
    radius = np.hypot((u - camera.cx) / camera.fx, (v - camera.cy) / camera.fy)
    has_ray = np.isfinite(camera.rays(HEIGHT, WIDTH)).all(axis=2)
    assert has_ray[radius < 0.64].all()
    assert not has_ray[radius > 0.652].any()
    assert np.isnan(backproject(np.ones((HEIGHT, WIDTH)), camera)[~has_ray]).all()


def test_rays_stay_on_the_branch_of_the_optical_axis_up_to_the_fold():
    # With tangential distortion Newton's method can end on the far side of the fold, where pixels match as well.
    info = make_info('plumb_bob', [-0.35, 0.0, 0.02, 0.02, 0.0], focal=60.0)
    camera = CameraModel.from_camera_info(info, rectified=False)
    rays = camera.rays(HEIGHT, WIDTH)[..., :2]
    assert np.nanmax(np.abs(np.diff(rays, axis=0))) < 0.2
    assert np.nanmax(np.abs(np.diff(rays, axis=1))) < 0.2


def test_points_that_the_lens_would_fold_back_into_the_image_are_not_projected():
    info = make_info('plumb_bob', [-0.35, 0.0, 0.0, 0.0, 0.0])
    folded = np.array([[1.6, 0.0, 1.0]])
    assert 0 < opencv_project(folded, info)[0, 0] < WIDTH
    assert np.isnan(CameraModel.from_camera_info(info, rectified=False).project(folded)).all()


def test_a_fisheye_has_rays_up_to_89_degrees():
    info = make_info('equidistant', [0.0] * 4, focal=40.0)
    camera = CameraModel.from_camera_info(info, rectified=False)
    v, u = np.mgrid[:HEIGHT, :WIDTH]
    angle = np.hypot((u - camera.cx) / camera.fx, (v - camera.cy) / camera.fy)
    has_ray = np.isfinite(camera.rays(HEIGHT, WIDTH)[..., 2])
    np.testing.assert_array_equal(has_ray, angle < np.deg2rad(89.0))


def test_points_behind_the_camera_are_not_projected(raw_info):
    camera = CameraModel.from_camera_info(raw_info, rectified=False)
    assert np.isnan(camera.project(np.array([[0.1, 0.1, -1.0], [0.1, 0.1, 0.0]]))).all()


def test_a_rectified_image_uses_p_and_no_distortion():
    info = make_info('plumb_bob', [-0.3, 0.1, 0.0, 0.0, 0.0])
    rays = CameraModel.from_camera_info(info, rectified=True).rays(HEIGHT, WIDTH)
    np.testing.assert_allclose(rays[10, 20], [(20 - 80.0) / 117.0, (10 - 60.0) / 117.0, 1.0], rtol=1e-6)


def test_the_baseline_of_a_right_camera_does_not_turn_its_rays():
    left = make_info()
    right = make_info(p=[117.0, 0.0, 80.0, -58.5, 0.0, 117.0, 60.0, 0.0, 0.0, 0.0, 1.0, 0.0])
    assert CameraModel.from_camera_info(right, rectified=True) == CameraModel.from_camera_info(left, rectified=True)


@pytest.mark.parametrize('rectified', [False, True])
def test_a_region_of_interest_sees_its_part_of_the_full_image(rectified):
    info = make_info('plumb_bob', [-0.3, 0.1, 0.001, 0.001, 0.0])
    full = CameraModel.from_camera_info(info, rectified=rectified).rays(HEIGHT, WIDTH)
    roi = {'x_offset': 40, 'y_offset': 30, 'width': 64, 'height': 48, 'do_rectify': False}
    cropped = CameraModel.from_camera_info(info | {'roi': roi}, rectified=rectified)
    assert (cropped.width, cropped.height) == (64, 48)
    np.testing.assert_allclose(cropped.rays(48, 64), full[30:78, 40:104], atol=1e-6)


@pytest.mark.parametrize('rectified', [False, True])
def test_binning_keeps_every_nth_ray_as_image_geometry_does(rectified):
    info = make_info('plumb_bob', [-0.3, 0.1, 0.001, 0.001, 0.0])
    full = CameraModel.from_camera_info(info, rectified=rectified).rays(HEIGHT, WIDTH)
    roi = {'x_offset': 40, 'y_offset': 30, 'width': 64, 'height': 48}
    binned = CameraModel.from_camera_info(info | {'roi': roi, 'binning_x': 2, 'binning_y': 4}, rectified=rectified)
    assert (binned.width, binned.height) == (32, 12)
    np.testing.assert_allclose(binned.rays(12, 32), full[30:78:4, 40:104:2], atol=1e-6)


def test_rays_of_a_resized_image_follow_the_plain_scale_of_resize_node():
    camera = CameraModel.from_camera_info(make_info('plumb_bob', [-0.3, 0.1, 0, 0, 0]), rectified=False)
    full = camera.rays(HEIGHT, WIDTH)
    np.testing.assert_allclose(camera.rays(2 * HEIGHT, 2 * WIDTH)[::2, ::2], full, atol=1e-6)
    np.testing.assert_allclose(camera.rays(HEIGHT // 4, WIDTH // 2), full[::4, ::2], atol=1e-6)
    scaled = camera.scaled(HEIGHT // 4, WIDTH // 2)
    assert (scaled.fx, scaled.cx) == (camera.fx / 2, camera.cx / 2)
    assert (scaled.fy, scaled.cy) == (camera.fy / 4, camera.cy / 4)


def test_rays_are_computed_once_for_equal_cameras():
    first = CameraModel.from_camera_info(make_info(), rectified=False)
    second = CameraModel.from_camera_info(make_info(), rectified=False)
    rays = first.rays(HEIGHT, WIDTH)
    assert second == first
    assert second.rays(HEIGHT, WIDTH) is rays
    assert rays.dtype == np.float32
    assert not rays.flags.writeable


def test_rays_of_a_robot_full_of_cameras_are_each_computed_once():
    cameras = [CameraModel(32, 24, 20.0 + number, 20.0, 15.5, 11.5) for number in range(12)]
    rays = [camera.rays(24, 32) for camera in cameras]
    assert all(camera.rays(24, 32) is before for camera, before in zip(cameras, rays, strict=True))


def ros_message(info, upper_case=False):
    fields = {name.upper() if upper_case and len(name) == 1 else name: info[name] for name in info}
    roi = SimpleNamespace(x_offset=0, y_offset=0, width=0, height=0, do_rectify=False)
    return SimpleNamespace(**fields, binning_x=0, binning_y=0, roi=roi)


def yaml_file(info):
    layout = {'k': 'camera_matrix', 'd': 'distortion_coefficients', 'r': 'rectification_matrix'}
    layout['p'] = 'projection_matrix'
    matrices = {layout[name]: {'rows': 1, 'cols': len(info[name]), 'data': info[name]} for name in layout}
    return matrices | {
        'image_width': info['width'],
        'image_height': info['height'],
        'distortion_model': info['distortion_model'],
    }


@pytest.mark.parametrize('rectified', [False, True])
def test_each_form_of_camera_info_gives_the_same_camera(rectified):
    info = make_info('plumb_bob', [-0.3, 0.1, 0.0, 0.0, 0.0])
    arrays = info | {'k': np.array(info['k']), 'd': array.array('d', info['d']), 'p': tuple(info['p'])}
    forms = [arrays, ros_message(info), ros_message(arrays), ros_message(info, upper_case=True), yaml_file(info)]
    expected = CameraModel.from_camera_info(info, rectified=rectified)
    assert [CameraModel.from_camera_info(form, rectified=rectified) for form in forms] == [expected] * len(forms)


NAN = float('nan')


@pytest.mark.parametrize(
    ('changes', 'rectified', 'cause'),
    [
        ({'k': [0.0] * 9}, False, r'K with fx = 0'),
        ({'k': [NAN] * 9}, False, r'K with fx = nan'),
        ({'k': [float('inf'), 0, 80, 0, 130, 60, 0, 0, 1]}, False, r'fx = inf'),
        ({'k': [130, 0, 80, 0, -130, 60, 0, 0, 1]}, False, r'fy = -130'),
        ({'k': [130, 0, NAN, 0, 130, 60, 0, 0, 1]}, False, r'cx = nan'),
        ({'k': [130, 0, 0, 0, 130, 0, 80, 60, 1]}, False, r'transposed'),
        ({'k': [130, NAN, 80, 0, 130, 60, 0, 0, 1]}, False, r'skew'),
        ({'k': [130, 0, 80, 0, 130, 60, 0, 0, 2]}, False, r'0 0 1'),
        ({'k': [130, 0, 80]}, False, r'3 numbers in k, expected 9'),
        ({'k': ['a'] * 9}, False, r'expected numbers'),
        ({'p': [0.0] * 12}, True, r'P with fx = 0.*rectified = false'),
        ({'p': [NAN] * 12}, True, r'P with fx = nan'),
        ({'distortion_model': 'double_sphere', 'd': [0.1] * 6}, False, r"'double_sphere'.*expected one of"),
        ({'distortion_model': '', 'd': [0.1] * 5}, False, r"distortion_model ''"),
        ({'d': [0.1] * 3}, False, r"3 coefficients in d for distortion_model 'plumb_bob', expected 4 or 5"),
        ({'distortion_model': 'rational_polynomial', 'd': [0.1] * 5}, False, r'expected 8 or 12 or 14'),
        ({'distortion_model': 'equidistant', 'd': []}, False, r'0 coefficients.*expected 4'),
        ({'d': [0.1, NAN, 0, 0, 0]}, False, r'expected finite numbers'),
        ({'width': 0}, False, r'size 0x120'),
        ({'height': 0}, True, r'size 160x0'),
        ({'roi': {'x_offset': 100, 'y_offset': 0, 'width': 100, 'height': 50}}, False, r'roi 100x50 at \(100, 0\)'),
        ({'binning_x': 200}, False, r'binning 200x1'),
    ],
)
def test_an_unusable_camera_info_is_refused_by_its_cause(changes, rectified, cause):
    with pytest.raises(CameraInfoError, match=cause):
        CameraModel.from_camera_info(make_info() | changes, rectified=rectified)


def test_a_camera_info_without_k_is_refused():
    with pytest.raises(CameraInfoError, match='no K'):
        CameraModel.from_camera_info({'width': WIDTH, 'height': HEIGHT}, rectified=False)


def test_a_rectified_image_needs_no_usable_distortion():
    info = make_info('double_sphere', [NAN])
    assert CameraModel.from_camera_info(info, rectified=True).distortion is None


def test_the_size_of_an_image_is_checked_after_roi_and_binning():
    roi = {'x_offset': 0, 'y_offset': 0, 'width': 80, 'height': 60}
    camera = CameraModel.from_camera_info(make_info() | {'roi': roi, 'binning_x': 2}, rectified=True)
    camera.check_image_size(60, 40)
    with pytest.raises(CameraInfoError, match=r'the image is 160x120, expected 40x60'):
        camera.check_image_size(HEIGHT, WIDTH)


@pytest.mark.parametrize('size', [(0, 10), (10, -1)])
def test_a_size_that_is_not_positive_is_refused(size):
    camera = CameraModel.from_camera_info(make_info(), rectified=True)
    with pytest.raises(ValueError, match='positive image size'):
        camera.rays(*size)


def test_a_real_wide_angle_camera_has_exact_rays_everywhere():
    root = Path(os.environ.get('DEPTH_ANYTHING_ROS_DATA', Path(__file__).parents[3] / 'shared' / 'data'))
    path = root / 'euroc_cam0' / 'calibration.yaml'
    if not path.exists():
        pytest.skip(f'no EuRoC calibration at {path}')
    lists = dict(re.findall(r'^(\w+): \[([^\]]*)\]', path.read_text(), re.MULTILINE))
    numbers = {name: [float(number) for number in lists[name].split(',')] for name in lists}
    (fx, fy, cx, cy), (width, height) = numbers['intrinsics'], map(int, numbers['resolution'])
    info = make_info('plumb_bob', numbers['distortion_coefficients'], k=[fx, 0, cx, 0, fy, cy, 0, 0, 1])
    camera = CameraModel.from_camera_info(info | {'width': width, 'height': height}, rectified=False)
    v, u = np.mgrid[:height:8, :width:8]
    pixels = np.stack((u.ravel(), v.ravel()), axis=1).astype(float)
    rays = camera.unproject(pixels)
    np.testing.assert_allclose(opencv_project(rays, info), pixels, atol=1e-7)
    np.testing.assert_allclose(camera.rays(height, width)[::8, ::8].reshape(-1, 3), rays, rtol=1e-6, atol=1e-7)
