"""Range limits as REP 117 has them, and an edge filter that takes flying pixels but leaves floors."""

import cv2
import numpy as np
import pytest

from depth_anything_ros.geometry import edge_mask, mark_depth

NAN, INF = np.nan, np.inf
NODE_DEFAULT = 0.07


def test_each_pixel_is_marked_as_rep_117_says():
    depth = np.array([[NAN, 0.0, -1.0, -0.0, -INF, 0.1, 0.3, 5.0, 20.0, 20.1, INF]], dtype=np.float32)
    expected = [[NAN, NAN, NAN, NAN, -INF, -INF, 0.3, 5.0, 20.0, INF, INF]]
    marked = mark_depth(depth, min_m=0.3, max_m=20.0)
    assert marked.dtype == np.float32
    np.testing.assert_array_equal(marked, np.array(expected, dtype=np.float32))


def test_no_upper_limit_leaves_far_depth():
    np.testing.assert_array_equal(mark_depth(np.array([[1e6, INF]]), 0.0, INF), [[1e6, INF]])


def test_the_input_is_kept_unless_it_is_the_output():
    depth = np.array([[0.1, 1.0, 2.0, 50.0]], dtype=np.float32)
    before = depth.copy()
    marked = mark_depth(depth, 0.3, 20.0, edge_threshold=0.5)
    np.testing.assert_array_equal(depth, before)
    assert mark_depth(depth, 0.3, 20.0, edge_threshold=0.5, out=depth) is depth
    np.testing.assert_array_equal(depth, marked)


def test_both_sides_of_a_step_are_edges_and_nothing_else():
    depth = np.full((6, 8), 2.0, dtype=np.float32)
    depth[:, 4:] = 3.0
    columns = np.isin(np.arange(8), [3, 4])
    np.testing.assert_array_equal(edge_mask(depth, 0.49), np.tile(columns, (6, 1)))
    assert not edge_mask(depth, 0.51).any()


def test_a_diagonal_neighbour_counts():
    depth = np.ones((5, 5), dtype=np.float32)
    depth[0, 0] = 2.0
    expected = np.zeros((5, 5), dtype=bool)
    expected[:2, :2] = True
    np.testing.assert_array_equal(edge_mask(depth, 0.5), expected)


@pytest.mark.parametrize('nothing', [NAN, 0.0, -1.0, -INF])
def test_a_pixel_without_depth_makes_no_edge(nothing):
    depth = np.ones((5, 5), dtype=np.float32)
    depth[2, 2] = nothing
    assert not edge_mask(depth, 0.01).any()


def test_an_image_without_depth_has_no_edges():
    assert not edge_mask(np.full((4, 4), NAN), 0.0).any()
    assert not edge_mask(np.full((4, 4), INF), 0.0).any()


def test_the_outline_against_the_sky_is_an_edge_but_the_sky_stays():
    depth = np.full((4, 6), 5.0, dtype=np.float32)
    depth[:, 3:] = INF
    marked = mark_depth(depth, 0.1, 20.0, edge_threshold=NODE_DEFAULT)
    np.testing.assert_array_equal(marked, np.tile(np.float32([5, 5, NAN, INF, INF, INF]), (4, 1)))


def test_a_flying_pixel_beyond_the_range_is_invalid_not_free():
    depth = np.float32([[2.0, 2.0, 25.0, 40.0, 40.0]])
    marked = mark_depth(depth, 0.1, 20.0, edge_threshold=NODE_DEFAULT)
    np.testing.assert_array_equal(marked, np.float32([[2.0, NAN, NAN, NAN, INF]]))


def test_the_limits_of_the_range_are_no_edges():
    depth = np.tile(np.linspace(0.2, 0.25, 50, dtype=np.float32), (3, 1))
    marked = mark_depth(depth, 0.21, 0.24, edge_threshold=NODE_DEFAULT)
    assert not np.isnan(marked).any()


def test_a_floor_seen_by_a_low_robot_survives_to_ten_metres():
    focal, height = 600.0, 0.3
    rows_below_horizon = np.arange(1, 400)
    depth = np.repeat((focal * height / rows_below_horizon)[:, None], 20, axis=1)
    assert not edge_mask(depth, NODE_DEFAULT)[depth < 10.0].any()


def test_most_flying_pixels_of_a_blurred_real_scene_are_found():
    # The left disparity of Middlebury's motorcycle; a network's last layer upsamples disparity bilinearly by two.
    data = pytest.importorskip('skimage.data')
    disparity = data.stereo_motorcycle()[2] + 31.086
    measured = np.isfinite(disparity)
    # What only the left camera sees is background: it takes the farther of the surfaces left and right of it.
    last = np.maximum.accumulate(np.where(measured, np.arange(measured.shape[1]), 0), axis=1)
    following = np.where(measured, np.arange(measured.shape[1]), measured.shape[1] - 1)
    following = np.minimum.accumulate(following[:, ::-1], axis=1)[:, ::-1]
    sides = [np.where(measured, disparity, np.nan)[np.arange(len(last))[:, None], side] for side in (last, following)]
    disparity = np.fmin(*sides).astype(np.float32)
    sharp = 994.978 * 0.193001 / disparity
    half = cv2.resize(disparity, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    soft = 994.978 * 0.193001 / cv2.resize(half, sharp.shape[::-1], interpolation=cv2.INTER_LINEAR)
    # Flying: no surface within three pixels is that deep, to 3 %.
    shifts = [np.roll(sharp, (dy, dx), (0, 1)) for dy in range(-3, 4) for dx in range(-3, 4)]
    flying = measured & (np.min([np.abs(shift / soft - 1.0) for shift in shifts], axis=0) > 0.03)
    right = measured & (np.abs(soft / sharp - 1.0) < 0.03)
    edges = edge_mask(soft, NODE_DEFAULT)
    assert flying.sum() > 1000
    assert edges[flying].mean() > 0.8
    assert edges[right].mean() < 0.03


@pytest.mark.parametrize(
    ('arguments', 'cause'),
    [
        ({'min_m': 2.0, 'max_m': 2.0}, 'min_m < max_m'),
        ({'min_m': -0.1, 'max_m': 2.0}, 'min_m < max_m'),
        ({'min_m': NAN, 'max_m': 2.0}, 'min_m < max_m'),
        ({'min_m': 0.1, 'max_m': 2.0, 'edge_threshold': -0.1}, 'threshold'),
        ({'min_m': 0.1, 'max_m': 2.0, 'edge_threshold': NAN}, 'threshold'),
        ({'min_m': 0.1, 'max_m': 2.0, 'out': np.empty((2, 3), np.float32)}, r'float32 \(2, 2\)'),
        ({'min_m': 0.1, 'max_m': 2.0, 'out': np.empty((2, 2))}, 'float64'),
    ],
)
def test_settings_that_make_no_sense_are_refused(arguments, cause):
    with pytest.raises(ValueError, match=cause):
        mark_depth(np.ones((2, 2), np.float32), **arguments)


@pytest.mark.parametrize('shape', [(0, 4), (3,), (2, 2, 1)])
def test_an_array_that_is_no_depth_image_is_refused(shape):
    with pytest.raises(ValueError, match='depth image'):
        edge_mask(np.ones(shape), 0.1)


@pytest.mark.parametrize('in_place', [False, True])
def test_a_tall_image_is_marked_row_by_row_as_its_parts_are(in_place):
    """What is computed some rows at a time must not show where one part ends."""
    generator = np.random.default_rng(0)
    depth = generator.choice(np.float32([np.nan, -np.inf, 0.0, 0.05, 1.0, 1.05, 2.0, 30.0, np.inf]), (301, 40))
    whole = mark_depth(depth.copy(), 0.1, 20.0, 0.07)
    if in_place:
        changed = depth.copy()
        assert mark_depth(changed, 0.1, 20.0, 0.07, out=changed) is changed
        np.testing.assert_array_equal(changed, whole)
    for top in (1, 37, 100, 299):
        part = mark_depth(depth[top - 1 :].copy(), 0.1, 20.0, 0.07)
        np.testing.assert_array_equal(part[1:], whole[top:])
