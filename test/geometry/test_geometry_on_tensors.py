"""On tensors the rules are those of the functions on arrays, to the last mark."""

import cv2
import numpy as np
import pytest
import torch

from depth_anything_ros.geometry import COLORMAPS, CameraModel, DepthRectifier, colorize, edge_mask, mark_depth, tensors
from depth_anything_ros.geometry import backproject as backproject_array
from depth_anything_ros.geometry.colorize import PERCENTILES, palette

NAN, INF = np.nan, np.inf
RAW = {
    'width': 48,
    'height': 36,
    'distortion_model': 'plumb_bob',
    'd': [-0.3, 0.1, 0.001, -0.001, 0.0],
    'k': [30.0, 0, 23.5, 0, 30.0, 17.0, 0, 0, 1],
    'r': cv2.Rodrigues(np.array([0.02, -0.05, 0.01]))[0].ravel().tolist(),
    'p': [24.0, 0, 23.0, 0, 0, 24.0, 18.0, 0, 0, 0, 1, 0],
}


def wild_depth(height=36, width=48, seed=0):
    """Steps, slopes and noise from 0.05 to 50 m, with all that is no depth."""
    rng = np.random.default_rng(seed)
    depth = np.exp(rng.uniform(np.log(0.05), np.log(50.0), (6, 8))).repeat(6, 0).repeat(6, 1)[:height, :width]
    depth = (depth * (1.0 + 0.04 * rng.random((height, width)))).astype(np.float32)
    places = rng.permutation(depth.size)[:120].reshape(-1, 20)
    for place, value in zip(places, (NAN, INF, -INF, 0.0, -1.0, -0.0), strict=True):
        depth.flat[place] = value
    depth[0, :2] = 0.1, 20.0  # the limits themselves
    return depth


@pytest.mark.parametrize('threshold', [0.0, 0.02, 0.07, 10.0])
def test_edges(device, threshold):
    depth = wild_depth()
    found = tensors.edge_mask(torch.from_numpy(depth).to(device), threshold)
    np.testing.assert_array_equal(found.cpu(), edge_mask(depth, threshold))


@pytest.mark.parametrize('limits', [(0.1, 20.0), (0.0, INF), (0.3, 5.0)])
@pytest.mark.parametrize('threshold', [0.0, 0.07])
def test_marks(device, limits, threshold):
    depth = wild_depth()
    found = tensors.mark_depth(torch.from_numpy(depth).to(device), *limits, threshold)
    np.testing.assert_array_equal(found.cpu(), mark_depth(depth, *limits, threshold))


@pytest.mark.parametrize('value', [NAN, INF, -INF, 0.0, 3.0])
def test_marks_of_an_image_of_one_value(device, value):
    depth = np.full((3, 4), value, np.float32)
    found = tensors.mark_depth(torch.from_numpy(depth).to(device), 0.1, 20.0, 0.07)
    np.testing.assert_array_equal(found.cpu(), mark_depth(depth, 0.1, 20.0, 0.07))


def test_limits_that_cannot_be_are_refused():
    with pytest.raises(ValueError, match='min_m < max_m'):
        tensors.mark_depth(torch.ones(2, 2), 2.0, 2.0)


@pytest.mark.parametrize('stride', [1, 4])
@pytest.mark.parametrize('rectified', [True, False], ids=['pinhole', 'distorted'])
def test_points(device, rectified, stride):
    camera = CameraModel.from_camera_info(RAW, rectified=rectified)
    depth, rays = wild_depth(), camera.rays(36, 48)
    every = np.s_[::stride, ::stride]
    found = tensors.backproject(torch.from_numpy(depth[every].copy()).to(device), torch.tensor(rays[every]).to(device))
    np.testing.assert_allclose(found.cpu(), backproject_array(depth, camera)[every], rtol=1e-6)


def test_rectification(device):
    rectifier, depth = DepthRectifier.from_camera_info(RAW), wild_depth()
    maps = tensors.rectifier_maps(rectifier, *depth.shape, device)
    found = tensors.rectified(torch.from_numpy(depth).to(device), *maps)
    expected = rectifier(depth)
    assert np.isnan(expected).sum() > np.isnan(depth).sum()  # some are from outside the image
    np.testing.assert_array_equal(found.cpu(), expected)


@pytest.mark.parametrize('share', [0.0, 0.5, 1.0])
def test_the_rows_that_are_kept_come_first_and_in_order(device, share):
    rng = np.random.default_rng(0)
    rows, kept = rng.integers(-1000, 1000, (300, 4), np.int32), rng.random(300) < share
    found, count = tensors.compacted(torch.from_numpy(rows).to(device), torch.from_numpy(kept).to(device))
    assert count.item() == kept.sum()
    np.testing.assert_array_equal(found.cpu()[: count.item()], rows[kept])
    assert not found.cpu()[count.item() :].any()


@pytest.mark.parametrize('colormap', COLORMAPS)
def test_colours_are_within_one_step(device, colormap):
    nearness = wild_depth()
    table = torch.from_numpy(np.stack([np.arange(256)] * 3, axis=1).astype(np.uint8)).to(device)
    percentiles = torch.tensor(PERCENTILES, device=device) / 100.0
    steps = tensors.colorize(torch.from_numpy(nearness).to(device), table, percentiles).cpu().numpy()
    np.testing.assert_allclose(steps.astype(int), colorize(nearness, 'gray'), atol=1)
    colors = palette(colormap)
    np.testing.assert_array_equal(
        colors[colorize(nearness, 'gray')[np.isfinite(nearness)][:, 0]],
        colorize(nearness, colormap)[np.isfinite(nearness)],
    )
    found = tensors.colorize(torch.from_numpy(nearness).to(device), torch.tensor(colors).to(device), percentiles)
    np.testing.assert_array_equal(found.cpu().numpy()[~np.isfinite(nearness)], 0)


def test_a_picture_without_a_finite_value_is_black(device):
    table = torch.full((256, 3), 200, dtype=torch.uint8, device=device)
    nothing = torch.full((8, 8), NAN, device=device)
    assert not tensors.colorize(nothing, table, torch.tensor([0.02, 0.98], device=device)).any()


@pytest.mark.parametrize('size', [(20, 30), (36, 48), (70, 90)])
def test_resized_pixels_are_opencv_s_within_rounding(device, size):
    pixels = np.random.default_rng(0).integers(0, 256, (36, 48, 3), np.uint8)
    found = tensors.resized(torch.from_numpy(pixels).to(device), size).cpu().numpy()
    np.testing.assert_allclose(found.astype(int), cv2.resize(pixels, size[::-1]), atol=1)
