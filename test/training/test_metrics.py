"""The metrics: known answers, what changes nothing, and that no trick scores."""

import numpy as np
import pytest

from training.metrics import (
    ConstantPredictionError,
    align_disparity,
    boundary_f1,
    da2k_accuracy,
    depth_metrics,
    flicker,
)


def scene(seed=0, shape=(40, 60)):
    rng = np.random.default_rng(seed)
    return rng.uniform(1.0, 40.0, shape), rng.random(shape) < 0.5


def test_alignment_recovers_the_scale_and_the_shift_of_valid_pixels_only():
    depth, mask = scene()
    prediction = (1.0 / depth - 0.02) / 3.5
    prediction[~mask], depth[~mask] = np.nan, -7.0
    found = align_disparity(prediction, depth, mask)
    assert found == pytest.approx((3.5, 0.02), rel=1e-9)
    assert not found.inverted


def test_alignment_is_the_least_squares_of_the_definition():
    depth, mask = scene(1)
    prediction = np.random.default_rng(2).normal(size=depth.shape).astype(np.float32)
    design = np.stack([prediction[mask], np.ones(mask.sum())], axis=1).astype(np.float64)
    expected = np.linalg.lstsq(design, 1.0 / depth[mask], rcond=None)[0]
    assert align_disparity(prediction, depth, mask) == pytest.approx(tuple(expected), rel=1e-9)


def test_a_large_offset_of_the_prediction_costs_no_precision():
    depth, mask = scene(3)
    prediction = 1.0 / depth + 1e4
    scale, shift = align_disparity(prediction, depth, mask)
    assert np.allclose(scale * prediction + shift, 1.0 / depth, atol=1e-9)


def test_an_inverted_prediction_is_told_by_its_scale():
    depth, mask = scene()
    found = align_disparity(depth, depth, mask)
    assert found.scale < 0
    assert found.inverted


@pytest.mark.parametrize('value', [0.0, 3.7, -1e5])
def test_a_constant_prediction_is_refused_as_such(value):
    depth, mask = scene()
    # With the rounding that interpolation leaves.
    noise = np.random.default_rng(0).choice([-1.0, 0.0, 1.0], depth.shape) * abs(value) * 6e-8
    with pytest.raises(ConstantPredictionError, match='it has no scale'):
        align_disparity(np.float32(value + noise), depth, mask)


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'mask': np.zeros((40, 60), bool)}, 'at least 2 valid pixels, got 0'),
        ({'mask': np.ones((40, 60))}, 'must be bool'),
        ({'mask': np.ones((60, 40), bool)}, 'one shape'),
        ({'depth': np.zeros((40, 60))}, r'depth is not finite and positive at \d+'),
        ({'depth': np.full((40, 60), np.inf)}, 'depth is not finite and positive'),
        ({'prediction': np.full((40, 60), np.nan)}, 'prediction is not finite'),
        ({name: np.ones((2, 4, 4), bool) for name in ('prediction', 'depth', 'mask')}, 'of one image'),
    ],
)
def test_what_cannot_be_aligned_is_refused(change, message):
    depth, mask = scene()
    with pytest.raises(ValueError, match=message):
        align_disparity(**{'prediction': 1.0 / depth, 'depth': depth, 'mask': mask, **change})


def test_depth_metrics_of_a_known_factor():
    depth, mask = scene()
    found = depth_metrics(np.where(mask, 1.3 * depth, np.nan), depth, mask)
    assert found['abs_rel'] == pytest.approx(0.3)
    assert found['sq_rel'] == pytest.approx(0.09 * depth[mask].mean())
    assert found['rmse'] == pytest.approx(0.3 * np.sqrt((depth[mask] ** 2).mean()))
    assert found['rmse_log'] == pytest.approx(np.log(1.3))
    assert found['log10'] == pytest.approx(np.log10(1.3))
    assert found['silog'] == pytest.approx(0.0, abs=1e-9)
    # 1.25 < 1.3 < 1.25^2
    assert (found['delta1'], found['delta2'], found['delta3']) == (0.0, 1.0, 1.0)


def test_depth_metrics_agree_with_their_definitions_and_perfect_depth_has_no_error():
    depth, mask = scene(4)
    prediction = depth * np.random.default_rng(5).uniform(0.6, 1.7, depth.shape)
    d, g = prediction[mask], depth[mask]
    logs = np.log(d / g)
    found = depth_metrics(prediction, depth, mask)
    assert found['silog'] == pytest.approx(100 * np.sqrt((logs**2).mean() - logs.mean() ** 2))
    for n in (1, 2, 3):
        assert found[f'delta{n}'] == pytest.approx(np.mean((d / g < 1.25**n) & (g / d < 1.25**n)))
    perfect = depth_metrics(depth, depth, mask)
    assert all(value == (1.0 if name.startswith('delta') else 0.0) for name, value in perfect.items())


def test_depth_that_is_none_is_refused():
    depth, mask = scene()
    with pytest.raises(ValueError, match='no valid pixel'):
        depth_metrics(depth, depth, np.zeros_like(mask))
    with pytest.raises(ValueError, match='clip it first'):
        depth_metrics(depth - 10.0, depth, mask)


def test_da2k_points_are_row_and_column_and_the_first_is_the_nearer():
    nearness = np.zeros((5, 9))
    nearness[1, 7] = 2.0
    nearness[4, 0] = 1.0
    pairs = [[1, 7, 4, 0], [4, 0, 1, 7], [4, 0, 2, 2]]
    assert da2k_accuracy(nearness, pairs) == pytest.approx(2 / 3)
    assert da2k_accuracy(nearness, pairs[:1]) == 1.0


@pytest.mark.parametrize('value', [0.0, 1.0, np.nan, np.inf])
def test_da2k_cannot_be_had_by_a_constant(value):
    pairs = np.random.default_rng(0).integers(0, 5, (20, 4))
    assert da2k_accuracy(np.full((5, 5), value), pairs) == 0.0


def test_da2k_of_an_inverted_map_is_zero_and_nan_is_wrong():
    nearness = np.random.default_rng(1).random((6, 6))
    pairs = [[r1, c1, r2, c2] for r1, c1, r2, c2 in np.random.default_rng(2).integers(0, 6, (50, 4))]
    right = [pair for pair in pairs if nearness[tuple(pair[:2])] > nearness[tuple(pair[2:])]]
    assert da2k_accuracy(nearness, right) == 1.0
    assert da2k_accuracy(-nearness, right) == 0.0
    nearness[tuple(right[0][2:])] = np.nan
    assert da2k_accuracy(nearness, right[:1]) == 0.0


@pytest.mark.parametrize('pairs', [[], [[0, 0, 1]], [[0, 0, 5, 0]], [[0, -1, 1, 1]]])
def test_da2k_refuses_what_are_no_pairs_in_the_image(pairs):
    with pytest.raises(ValueError, match=r'pairs|outside'):
        da2k_accuracy(np.zeros((5, 9)), pairs)


def step(blur=0, offset=0, height=20, width=40, at=20):
    """Two walls at 2 m and 4 m, the step spread evenly in ln depth over 1 + blur pixels."""
    columns = np.arange(width) - (at + offset)
    return np.tile(2.0 * 2.0 ** np.clip((columns + 1) / (1 + blur), 0.0, 1.0), (height, 1))


def test_edges_are_sharp_or_blurred_in_place_or_not():
    depth, mask = step(), np.ones((20, 40), bool)
    assert boundary_f1(depth, depth, mask) == 1.0
    assert boundary_f1(5.0 * depth, depth, mask) == 1.0  # a scale changes no ratio
    blurred = [boundary_f1(step(blur), depth, mask) for blur in (1, 3, 20)]
    assert 1.0 > blurred[0] > blurred[1] > blurred[2] == 0.0
    assert boundary_f1(step(offset=1), depth, mask) == 0.0
    assert boundary_f1(8.0 / depth, depth, mask) == 0.0  # the other side is the farther one


def test_edges_are_counted_on_both_axes_as_the_paper_has_it():
    rng = np.random.default_rng(0)
    depth, prediction = np.exp(rng.normal(0.0, 0.15, (2, 9, 11)))
    mask = rng.random((9, 11)) < 0.8
    total = weights = 0.0
    for ratio in np.linspace(1.05, 1.25, 10):
        both = predicted = true = 0
        for row, column in np.argwhere(mask):
            for down, right in ((1, 0), (0, 1), (-1, 0), (0, -1)):
                other = (row + down, column + right)
                if min(other) >= 0 and other[0] < 9 and other[1] < 11 and mask[other]:
                    p = prediction[other] / prediction[row, column] > ratio
                    g = depth[other] / depth[row, column] > ratio
                    both, predicted, true = both + (p and g), predicted + p, true + g
        precision, recall = both / predicted, both / true
        total += ratio * 2 * precision * recall / (precision + recall)
        weights += ratio
    assert boundary_f1(prediction, depth, mask) == pytest.approx(total / weights)


def test_without_true_edges_there_is_no_sharpness_and_masked_pixels_make_none():
    depth = np.full((6, 8), 3.0)
    mask = np.ones((6, 8), bool)
    assert boundary_f1(step(height=6, width=8, at=4), depth, mask) is None
    depth[2, 3], mask[2, 3] = 90.0, False
    assert boundary_f1(np.full((6, 8), 3.0), depth, mask) is None


def test_flicker_is_the_change_that_the_truth_does_not_ask_for():
    rng = np.random.default_rng(0)
    first, second = rng.uniform(1.0, 9.0, (2, 10, 12))
    bias = rng.normal(0.0, 0.3, (10, 12))
    still = flicker(np.log(first * np.exp(bias) / first), np.log(second * np.exp(bias) / second))
    assert still['flicker'] == pytest.approx(0.0, abs=1e-12)
    assert still['flicker_scale'] == pytest.approx(0.0, abs=1e-12)
    jumped = flicker(bias, bias + np.log(1.1))
    assert jumped == pytest.approx({'flicker': np.log(1.1), 'flicker_scale': np.log(1.1)})
    noisy = flicker(bias, np.where(np.indices(bias.shape).sum(0) % 2, bias + 0.2, bias - 0.2))
    assert noisy['flicker'] == pytest.approx(0.2)
    assert noisy['flicker_scale'] < 0.1


def test_flicker_of_sparse_truth_is_that_of_the_scale_alone():
    found = flicker(np.full(30, 0.1), np.full(17, 0.25))
    assert found == pytest.approx({'flicker_scale': 0.15})
