import numpy as np
import pytest

from depth_anything_ros.alignment import Samples
from depth_anything_ros.cli.held_out import split
from depth_anything_ros.cli.scores import Score, Truth, hindsight

RANDOM = np.random.default_rng(0)


def absolute_relative(scale, shift, disparity, truth):
    return np.mean(np.abs(1 / (scale * disparity + shift) / truth - 1))


def test_hindsight_finds_the_map_behind_a_third_of_wild_samples():
    truth = RANDOM.uniform(1, 20, 2000)
    disparity = (1 / truth - 0.05) / 0.4
    wild = RANDOM.random(2000) < 0.3
    disparity[wild] = RANDOM.permutation(disparity[wild])
    np.testing.assert_allclose(hindsight(disparity, truth), (0.4, 0.05), rtol=2e-3)


@pytest.mark.parametrize('noise', [0.01, 0.1])
def test_no_map_nearby_has_less_relative_error_than_hindsight(noise):
    truth = RANDOM.uniform(1, 20, 2000)
    disparity = (1 / truth - 0.05) / 0.4 * (1 + noise * RANDOM.standard_normal(2000))
    scale, shift = hindsight(disparity, truth)
    best = absolute_relative(scale, shift, disparity, truth)
    others = [
        absolute_relative(scale * (1 + a), shift + b, disparity, truth)
        for a in np.linspace(-0.1, 0.1, 21)
        for b in np.linspace(-0.01, 0.01, 21)
    ]
    assert best < 1.001 * min(others)
    assert best < 0.8 * np.median(others)


def test_at_one_disparity_hindsight_is_one_depth():
    truth = np.linspace(2.0, 3.0, 50)
    scale, shift = hindsight(np.full(50, 0.7), truth)
    assert 2.0 < 1 / (scale * 0.7 + shift) < 3.0


def test_depth_that_is_none_counts_against_all_but_the_mean_error():
    truth = np.full(5, 2.0)
    score = Score.of(np.array([2.2, 2.2, 4.0, np.inf, np.nan]), truth, np.array([0.3, 0.15, 0.15, 1.0, 1.0]))
    assert (score.samples, score.seen) == (5, 3)
    assert score.abs_rel == pytest.approx((0.1 + 0.1 + 1.0) / 3)
    assert score.delta1 == pytest.approx(2 / 5)
    assert score.median == pytest.approx(1.0)
    assert score.within_1_sigma == pytest.approx(1 / 3)
    assert score.within_2_sigma == pytest.approx(2 / 3)
    assert np.isnan(Score.of(truth, truth).within_1_sigma)


def test_truth_outside_the_image_or_the_range_is_not_looked_at():
    pixels = np.array([[0.4, 0.4], [-0.6, 0], [9.4, 4.4], [9.6, 4], [np.nan, 1], [3, 1], [3, 2], [3, 3]])
    depth = np.array([1.0, 1.0, 2.0, 1.0, 1.0, np.nan, 0.05, 30.0])
    truth = Truth.from_samples(Samples(pixels, depth), (5, 10), 0.1, 20.0)
    assert (truth.rows.tolist(), truth.columns.tolist(), truth.depth_m.tolist()) == ([0, 4], [0, 9], [1.0, 2.0])


@pytest.mark.parametrize('share', [0.1, 0.5, 0.8])
@pytest.mark.parametrize('period', [2, 3, 7, 640])
def test_what_is_held_out_is_even_over_rows_scan_lines_and_echoes(share, period):
    index = np.arange(20_000)
    samples = Samples(np.stack([index, index], axis=1), index, weights=index)
    kept, held = split(samples, share)
    assert np.array_equal(np.sort(np.concatenate([kept.depth_m, held.depth_m])), index)
    for part in (kept, held):
        assert np.array_equal(part.pixels[:, 0], part.depth_m)
        assert np.array_equal(part.weights, part.depth_m)
    by_phase = np.bincount(held.depth_m % period, minlength=period) / np.bincount(index % period)
    np.testing.assert_allclose(by_phase, share, atol=0.08)
