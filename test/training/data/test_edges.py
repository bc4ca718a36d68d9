"""Measured depth without what is around its jumps."""

import numpy as np
import pytest

from training.data.edges import without_edges
from training.data.sample import Sample
from training.errors import BadSampleError

SIZE = (60, 80)


def sample(depth):
    return Sample('k', np.zeros((*SIZE, 3), np.uint8), depth=depth)


def room():
    """A floor that comes nearer by 3 cm a row, and a box on it that is half as far as what is behind it."""
    depth = np.broadcast_to(np.linspace(4, 2.2, SIZE[0], dtype=np.float32)[:, None], SIZE).copy()
    depth[20:40, 30:60] = 1.3
    return depth


def test_depth_is_left_out_around_a_jump_and_nowhere_else():
    depth = room()
    depth[50:55, 5:10] = np.nan
    given = sample(depth)
    left = without_edges(given, 4).depth
    assert given.depth is depth
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]]
    # Metric of the box's outline: how far a pixel is from it, inside and outside.
    outside = np.maximum(np.maximum(20 - rows, rows - 39), np.maximum(30 - columns, columns - 59))
    outline = np.where(outside > 0, outside - 0.5, -outside + 0.5)
    assert np.isnan(left[outline < 4]).all()
    far = (outline > 4 + 4) & ~np.isnan(depth)
    assert np.array_equal(left[far], depth[far])
    assert np.isnan(left[50:55, 5:10]).all()


def test_a_gap_where_the_depth_jumps_hides_no_outline():
    depth = room()
    depth[:, 27:31] = np.nan
    left = without_edges(sample(depth), 4).depth
    assert np.isnan(left[25:35, 24:34]).all()
    assert np.isfinite(left[25:35, 10:16]).all()


def test_a_margin_belongs_to_depth_of_which_some_is_left():
    image = np.zeros((*SIZE, 3), np.uint8)
    for other in (Sample('k', image, disparity=room()), Sample('k', image, points=np.ones((5, 3), np.float32))):
        with pytest.raises(BadSampleError, match='edge_margin is for depth by pixel'):
            without_edges(other, 4)
    stripes = np.where(np.arange(SIZE[1]) % 8 < 4, 1.0, 2.0).astype(np.float32)
    with pytest.raises(BadSampleError, match='nowhere more than 2 pixels from a jump'):
        without_edges(sample(np.broadcast_to(stripes, SIZE)), 2)
    # Sky is a jump from all else, and none from sky.
    sky = room()
    sky[:15] = np.inf
    left = without_edges(sample(sky), 2).depth
    assert np.isinf(left[:9]).all()
    assert np.isnan(left[14:16]).all()
