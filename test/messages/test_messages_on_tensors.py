"""What messages hold has the same bits, whether arrays or tensors it was made of."""

from array import array
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from depth_anything_ros.messages import (
    depth_to_millimetres,
    fill_packed_points,
    fill_point_cloud,
    pack_points,
    tensors,
    unpack_colors,
)


def cloud(*shape):
    rng = np.random.default_rng(0)
    points = rng.normal(size=(*shape, 3)).astype(np.float32)
    return points, rng.integers(0, 256, (*shape, 3), np.uint8)


def test_millimetres(device):
    depth = np.float32([np.nan, np.inf, -np.inf, 0, -1, 4e-4, 5e-4, 1e-3, 1.2345, 32.767, 32.768, 65.535, 65.5354, 70])
    depth = np.concatenate([depth, np.random.default_rng(0).uniform(0, 70, 500).astype(np.float32)])
    found = tensors.depth_to_millimetres(torch.from_numpy(depth).to(device)).cpu().numpy().view(np.uint16)
    np.testing.assert_array_equal(found, depth_to_millimetres(depth))


@pytest.mark.parametrize('colored', [True, False])
def test_points(device, colored):
    points, colors = cloud(5, 7)
    pixels = torch.from_numpy(colors).to(device) if colored else None
    found = tensors.pack_points(torch.from_numpy(points).to(device), pixels).cpu().numpy()
    expected = pack_points(points, colors if colored else None)
    np.testing.assert_array_equal(found.reshape(expected.shape), expected.view(np.int32))


@pytest.mark.parametrize('shape', [(6,), (3, 4), (0,)])
@pytest.mark.parametrize('colored', [True, False])
def test_packed_points_fill_a_message_as_points_do(shape, colored):
    points, colors = cloud(*shape)
    colors = colors if colored else None
    packed = pack_points(points, colors).reshape(*shape, 4 if colored else 3)
    ours, expected = SimpleNamespace(data=array('B')), SimpleNamespace(data=array('B'))
    fill_packed_points(ours, packed, SimpleNamespace)
    fill_point_cloud(expected, points, colors, SimpleNamespace)
    assert vars(ours) == vars(expected)


def test_colours_come_out_of_packed_points():
    points, colors = cloud(6)
    np.testing.assert_array_equal(unpack_colors(pack_points(points, colors)), colors)


@pytest.mark.parametrize('wrong', [np.zeros((4, 2), np.float32), np.zeros((4, 4)), np.zeros(4, np.float32)])
def test_what_is_not_packed_is_refused(wrong):
    with pytest.raises(ValueError, match='packed points must be float32'):
        fill_packed_points(SimpleNamespace(data=array('B')), wrong, SimpleNamespace)
