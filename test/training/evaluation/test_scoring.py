"""From predictions to scores: alignment, limits, what does not count, and what an inverted prediction gets."""

import dataclasses

import numpy as np
import pytest

from depth_anything_ros.estimation import Prediction, Timings
from training.data.spec import DataSpec
from training.errors import RecipeError
from training.evaluation.protocol import Protocol
from training.evaluation.scoring import check_served, score
from training.evaluation.truth import NoTruthError

PLAIN = Protocol(DataSpec('shards'), max_depth=80.0)


def scores(estimator, sample, **changes):
    return score(estimator(sample.image), sample, dataclasses.replace(PLAIN, **changes))


def test_a_disparity_is_right_whatever_its_scale_and_shift(world):
    sample = world.sample('a')
    found = scores(world.Reading(lambda red, _: 7.0 * red + 300.0), sample)
    assert found.scores['abs_rel'] == pytest.approx(0.0, abs=1e-5)
    assert found.scores['delta1'] == 1.0
    assert found.to_metres.scale == pytest.approx(world.scale / 7.0, rel=1e-4)


def test_what_does_not_count_changes_nothing(world):
    sample = world.sample('a')
    clean = scores(world.Reading(np.add), sample, crop=[8, 40, 4, 60]).scores
    rng = np.random.default_rng(0)
    spoilt = sample.depth.copy()
    spoilt[:8], spoilt[:, :4], spoilt[40:], spoilt[:, 60:] = 1.0, 50.0, 2.0, 3.0
    assert scores(world.Reading(np.add), dataclasses.replace(sample, depth=spoilt), crop=[8, 40, 4, 60]).scores == clean
    hidden = rng.random(spoilt.shape) < 0.3
    as_nan, as_sky, as_border, far = (dataclasses.replace(sample, depth=sample.depth.copy()) for _ in range(4))
    as_nan.depth[hidden], as_sky.depth[hidden], far.depth[hidden] = np.nan, np.inf, 81.0
    as_border.depth[hidden] = 1.0
    as_border.valid = ~hidden
    wavy = world.Reading(lambda red, _: red + 20.0 * np.sin(red / 9.0))
    a, b, c, d = (scores(wavy, item).scores for item in (as_nan, as_sky, as_border, far))
    assert a == b == c == d
    assert a != scores(wavy, sample).scores


def test_an_inverted_or_constant_prediction_scores_as_the_best_constant_and_is_told(world):
    sample = world.sample('a')
    inverted = scores(world.Reading(lambda red, _: 255.0 - red), sample)
    constant = scores(world.Reading(lambda red, _: 0.0 * red + 3.0), sample)
    assert (inverted.facts['inverted'], inverted.facts['constant']) == (True, False)
    assert (constant.facts['inverted'], constant.facts['constant']) == (False, True)
    assert inverted.scores == constant.scores
    best = 1.0 / np.mean(1.0 / sample.depth.astype(np.float64))
    assert constant.scores['abs_rel'] == pytest.approx(np.mean(np.abs(best - sample.depth) / sample.depth), rel=1e-6)
    assert constant.scores['abs_rel'] > 0.3


def test_where_the_aligned_disparity_is_not_positive_the_depth_is_the_limit(world):
    sample = world.sample('a')
    sample.depth[:, :32] = 79.0
    bent = world.Reading(lambda red, _: np.where(np.arange(64) < 32, -0.2, world.scale * red + world.shift))
    found = scores(bent, sample)
    values = found.to_metres(bent(sample.image).values, 'disparity')
    assert values[:, :32] == pytest.approx(80.0)
    nearest = scores(bent, sample, clip='truth')
    assert nearest.to_metres(bent(sample.image).values, 'disparity')[:, :32] == pytest.approx(79.0)
    assert np.all((values >= PLAIN.min_depth) & (values <= 80.0))


def test_metric_depth_as_it_is_by_its_median_or_by_its_disparity(world):
    sample = world.sample('a')
    twice = world.Metric(lambda depth, _: 2.0 * depth)
    assert scores(twice, sample, alignment='none', max_depth=200.0).scores['abs_rel'] == pytest.approx(1.0, abs=1e-4)
    assert scores(twice, sample, alignment='median').scores['abs_rel'] == pytest.approx(0.0, abs=1e-4)
    bent = world.Metric(lambda depth, _: 1.0 / (3.0 / depth + 0.1))
    assert scores(bent, sample, alignment='median').scores['abs_rel'] > 0.03
    assert scores(bent, sample, alignment='disparity').scores['abs_rel'] == pytest.approx(0.0, abs=1e-4)


def test_a_relative_network_is_not_taken_for_metres():
    with pytest.raises(RecipeError, match='relative one has no metres'):
        check_served('disparity', dataclasses.replace(PLAIN, alignment='none'), 'm on d')
    check_served('depth', dataclasses.replace(PLAIN, alignment='none'), 'm on d')
    check_served('disparity', dataclasses.replace(PLAIN, alignment='none', truth='pairs'), 'm on d')


def test_sparse_points_are_column_and_row_of_the_nearest_pixel(world):
    sample = world.sample('a')
    rows, columns = np.random.default_rng(0).integers(0, (48, 64), (200, 2)).T
    points = np.stack([columns + 0.4, rows - 0.4, sample.depth[rows, columns]], axis=1).astype(np.float32)
    outside = np.array([[64.0, 3.0, 5.0], [3.0, -1.0, 5.0], [3.0, 3.0, np.nan], [3.0, 3.0, 0.0]], np.float32)
    sparse = dataclasses.replace(sample, depth=None, points=np.concatenate([points, outside]))
    found = scores(world.Reading(), sparse, truth='points')
    assert found.truth.depth.size == 200
    assert found.scores['abs_rel'] == pytest.approx(0.0, abs=1e-5)
    cropped = scores(world.Reading(), sparse, truth='points', crop=[0, 24, 0, 64], min_pixels=20)
    assert cropped.truth.depth.size == np.count_nonzero(rows < 24)


@pytest.mark.parametrize(
    ('change', 'protocol', 'reason'),
    [
        ({'depth': None}, {}, 'no truth'),
        ({}, {'truth': 'points'}, 'no truth'),
        ({}, {'truth': 'pairs'}, 'no truth'),
        ({'depth': np.full((48, 64), np.nan, np.float32)}, {}, 'too few valid pixels'),
        ({'points': np.ones((30, 3), np.float32)}, {'truth': 'points', 'min_pixels': 31}, 'too few valid pixels'),
        ({'meta': {'scale': 'arbitrary'}}, {'alignment': 'median'}, 'truth without a scale'),
    ],
)
def test_a_sample_without_enough_truth_says_why(world, change, protocol, reason):
    sample = dataclasses.replace(world.sample('a17'), **change)
    with pytest.raises(NoTruthError, match=r'^a17: ') as caught:
        scores(world.Metric(), sample, **protocol)
    assert caught.value.reason == reason


def test_pairs_are_judged_by_nearness_and_weigh_by_their_number(world):
    sample = world.sample('a')
    nearest, farthest = (np.unravel_index(pick(sample.depth), (48, 64)) for pick in (np.argmin, np.argmax))
    right = [int(value) for value in (*nearest, *farthest)]
    sample.meta['pairs'] = [right, right, right[2:] + right[:2]]
    for estimator in (world.Reading(), world.Metric()):
        found = scores(estimator, sample, truth='pairs')
        assert found.scores == {'da2k': pytest.approx(2 / 3)}
        assert found.weight == 3


def test_edges_are_measured_where_the_protocol_says_so(world):
    sample = world.sample('a')
    assert 'boundary_f1' not in scores(world.Reading(), sample).scores
    assert scores(world.Reading(), sample, edges=True).scores['boundary_f1'] == pytest.approx(1.0, abs=0.01)
    # A shift of the disparity changes ratios of depth: without the alignment these edges would be others.
    shifted = world.Reading(lambda red, _: red + 500.0)
    assert scores(shifted, sample, edges=True).scores['boundary_f1'] == pytest.approx(1.0, abs=0.01)
    flat = dataclasses.replace(sample, depth=np.full((48, 64), 3.0, np.float32))
    assert 'boundary_f1' not in scores(world.Reading(), flat, edges=True).scores


def test_a_prediction_of_depth_zero_is_limited_and_not_divided_by(world):
    sample = world.sample('a')
    zero = Prediction(np.zeros((48, 64), np.float32), 'depth', (48, 64), Timings(0, 0, 0))
    for alignment in ('none', 'median', 'disparity'):
        found = score(zero, sample, dataclasses.replace(PLAIN, alignment=alignment))
        assert all(np.isfinite(value) for value in found.scores.values())
