"""Back-projection and the point cloud."""

import numpy as np
import pytest

from depth_anything_ros.geometry import CameraModel, backproject, point_cloud

CAMERA = CameraModel(width=64, height=48, fx=50.0, fy=51.0, cx=31.0, cy=23.5)
NORMAL, OFFSET = np.array([0.3, -0.5, 0.81]), 2.0


def plane_depth(height=48, width=64, camera=CAMERA):
    v, u = np.mgrid[:height, :width]
    rays = np.stack(((u - camera.cx) / camera.fx, (v - camera.cy) / camera.fy, np.ones_like(u)), axis=2)
    return (OFFSET / (rays @ NORMAL)).astype(np.float32)


def some_colors():
    return np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)


def test_a_plane_comes_back_at_the_size_of_the_camera_and_at_any_other():
    for height, width in [(48, 64), (96, 128), (24, 64)]:
        depth = plane_depth(height, width, CAMERA.scaled(height, width))
        points = backproject(depth, CAMERA)
        assert points.dtype == np.float32
        assert points.shape == (height, width, 3)
        np.testing.assert_allclose(points @ NORMAL, OFFSET, rtol=1e-5)
        np.testing.assert_array_equal(points[..., 2], depth)


@pytest.mark.parametrize('nothing', [np.nan, np.inf, -np.inf, 0.0, -2.0])
def test_a_pixel_without_depth_has_no_point(nothing):
    depth = plane_depth()
    depth[5, 7] = nothing
    missing = np.isnan(backproject(depth, CAMERA))
    assert missing[5, 7].all()
    assert missing.sum() == 3


def test_a_compact_cloud_holds_the_finite_points_in_the_order_of_the_image():
    depth, rgb = plane_depth(), some_colors()
    depth[::2] = np.inf
    cloud = point_cloud(depth, CAMERA, rgb)
    assert not cloud.organized
    np.testing.assert_array_equal(cloud.points, backproject(depth, CAMERA)[1::2].reshape(-1, 3))
    np.testing.assert_array_equal(cloud.colors, rgb[1::2].reshape(-1, 3))


@pytest.mark.parametrize('stride', [1, 3, 5, 100])
def test_an_organised_cloud_keeps_every_nth_row_and_column(stride):
    depth, rgb = plane_depth(), some_colors()
    depth[0, 0] = np.nan
    cloud = point_cloud(depth, CAMERA, rgb, stride=stride, organized=True)
    assert cloud.organized
    assert cloud.points.shape == (-(-48 // stride), -(-64 // stride), 3)
    assert np.isnan(cloud.points[0, 0]).all()
    np.testing.assert_array_equal(cloud.points, backproject(depth, CAMERA)[::stride, ::stride])
    np.testing.assert_array_equal(cloud.colors, rgb[::stride, ::stride])


def test_a_strided_compact_cloud_is_the_organised_one_without_its_gaps():
    depth = plane_depth()
    depth[10:20] = np.nan
    organised = point_cloud(depth, CAMERA, stride=4, organized=True)
    compact = point_cloud(depth, CAMERA, stride=4)
    assert compact.colors is None
    np.testing.assert_array_equal(compact.points, organised.points[np.isfinite(organised.points[..., 2])])


def test_a_voxel_holds_the_centroid_and_mean_colour_of_its_points():
    depth, rgb, side = plane_depth(), some_colors(), 0.25
    full = point_cloud(depth, CAMERA, rgb)
    cloud = point_cloud(depth, CAMERA, rgb, voxel_m=side)
    voxels = {}
    for point, color in zip(full.points.astype(float), full.colors, strict=True):
        voxels.setdefault(tuple(np.floor(point / side)), []).append((point, color))
    assert len(cloud.points) == len(voxels) < len(full.points)
    expected = [np.mean([point for point, _ in voxels[key]], axis=0) for key in sorted(voxels)]
    colors = [np.mean([color for _, color in voxels[key]], axis=0) for key in sorted(voxels)]
    np.testing.assert_allclose(cloud.points, expected, rtol=1e-5, atol=1e-6)
    assert np.abs(cloud.colors - np.array(colors)).max() <= 0.5
    np.testing.assert_allclose(cloud.points @ NORMAL, OFFSET, rtol=1e-5)


def test_voxels_do_not_depend_on_what_else_is_in_view():
    depth = plane_depth()
    half = depth.copy()
    half[:, :32] = np.nan
    alone = point_cloud(half, CAMERA, voxel_m=0.1).points
    among_others = point_cloud(depth, CAMERA, voxel_m=0.1).points
    far_right = alone[:, 0] > 0.5
    assert {tuple(point) for point in alone[far_right]} <= {tuple(point) for point in among_others}


@pytest.mark.parametrize('voxel_m', [0.0, 0.1])
def test_nothing_in_view_is_an_empty_cloud(voxel_m):
    cloud = point_cloud(np.full((48, 64), np.inf), CAMERA, some_colors(), voxel_m=voxel_m)
    assert cloud.points.shape == cloud.colors.shape == (0, 3)
    assert cloud.points.dtype == np.float32


@pytest.mark.parametrize(
    ('arguments', 'cause'),
    [
        ({'stride': 0}, 'stride'),
        ({'voxel_m': -0.1}, 'voxel_m'),
        ({'voxel_m': float('nan')}, 'voxel_m'),
        ({'voxel_m': 1e-7}, 'too small'),
        ({'voxel_m': 0.1, 'organized': True}, 'no place in an organised cloud'),
        ({'rgb': np.zeros((48, 63, 3), np.uint8)}, r'\(48, 64, 3\), got uint8 \(48, 63, 3\)'),
        ({'rgb': np.zeros((48, 64, 3), np.float32)}, 'float32'),
    ],
)
def test_arguments_that_make_no_sense_are_refused(arguments, cause):
    with pytest.raises(ValueError, match=cause):
        point_cloud(plane_depth(), CAMERA, **arguments)


def test_an_array_that_is_no_depth_image_is_refused():
    with pytest.raises(ValueError, match='depth image'):
        backproject(np.ones((4, 4, 1)), CAMERA)
