"""Is one network better than another: seen where it is, not seen where it is not, not fooled by a long log."""

import numpy as np
import pytest

from training.errors import DataError
from training.evaluation.comparison import compare
from training.evaluation.results import ImageScore, Result


def result(values, metric='abs_rel', sequence='', weights=None, model='m'):
    weights = np.ones(len(values)) if weights is None else weights
    images = [
        ImageScore(f'k{i}', i, {metric: float(value)}, float(weight), sequence, i if sequence else None)
        for i, (value, weight) in enumerate(zip(values, weights, strict=True))
    ]
    return Result(model, 'd', images)


def drift(seed, n, memory):
    """Noise whose neighbours are alike."""
    rng = np.random.default_rng(seed)
    values = np.zeros(n)
    for i in range(1, n):
        values[i] = memory * values[i - 1] + rng.normal()
    return values


@pytest.mark.parametrize(
    ('metric', 'change', 'verdict'),
    [
        ('abs_rel', -0.02, 'better'),
        ('abs_rel', 0.02, 'worse'),
        ('abs_rel', 0.0, 'no difference seen'),
        ('delta1', 0.02, 'better'),
        ('delta1', -0.02, 'worse'),
    ],
)
def test_a_difference_beyond_the_noise_is_seen_and_its_direction_depends_on_the_metric(metric, change, verdict):
    rng = np.random.default_rng(0)
    hard = rng.uniform(0.1, 0.9, 60)  # images differ far more than networks do: pairing takes that out
    found = compare(result(hard, metric), result(hard + change + rng.normal(0, 0.02, 60), metric), metric)
    assert found.verdict == verdict
    assert found.low < found.difference < found.high
    assert found.difference == pytest.approx(found.second - found.first)
    assert verdict in found.sentence()


def test_the_interval_is_that_of_the_mean():
    differences = np.random.default_rng(1).normal(0.01, 0.05, 400)
    found = compare(result(np.zeros(400)), result(differences), 'abs_rel')
    half = 1.96 * differences.std() / np.sqrt(400)
    assert (found.low, found.high) == pytest.approx((found.difference - half, found.difference + half), abs=0.1 * half)
    assert found.block == 1


def test_the_same_seed_gives_the_same_interval():
    one, two = result(np.zeros(40)), result(drift(0, 40, 0.5))
    assert compare(one, two, 'abs_rel', seed=3) == compare(one, two, 'abs_rel', seed=3)
    assert compare(one, two, 'abs_rel', seed=3) != compare(one, two, 'abs_rel', seed=4)


def test_neighbours_in_time_do_not_count_as_independent():
    """Two equally good networks on one log: the naive interval sees a difference most of the time."""
    zero, trials = np.zeros(300), range(100, 124)
    seen = {
        sequence: sum(
            compare(
                result(zero, sequence=sequence), result(drift(seed, 300, 0.7), sequence=sequence), 'abs_rel'
            ).verdict
            != 'no difference seen'
            for seed in trials
        )
        for sequence in ('', 'log')
    }
    assert seen[''] > 0.4 * len(trials)
    assert seen['log'] < 0.2 * len(trials)


def test_the_order_of_time_counts_and_not_that_of_the_rows():
    values = drift(1, 200, 0.9)
    order = np.random.default_rng(0).permutation(200)

    def stored_out_of_order(series):
        rows = [ImageScore(f'k{i}', i, {'abs_rel': float(series[t])}, 1.0, 'log', int(t)) for i, t in enumerate(order)]
        return Result('m', 'd', rows)

    zero = np.zeros(200)
    found = compare(stored_out_of_order(values), stored_out_of_order(zero), 'abs_rel')
    assert found == compare(result(values, sequence='log'), result(zero, sequence='log'), 'abs_rel')


def test_too_few_images_give_no_verdict():
    found = compare(result([0.5] * 5), result([0.1] * 5), 'abs_rel')
    assert (found.verdict, found.low, found.high) == ('no difference seen', None, None)
    assert 'too few' in found.sentence()


def test_images_of_scenes_of_their_own_are_independent():
    images = [ImageScore(f'k{i}', i, {'abs_rel': 0.1 * i}, sequence=f'scene{i}') for i in range(12)]
    assert compare(Result('a', 'd', images), result(np.zeros(12)), 'abs_rel').block == 1


def test_only_images_of_both_are_compared_and_the_others_are_counted():
    one, two = result(np.arange(30.0)), result(np.arange(30.0))
    two = Result('m', 'd', two.images[:20])
    found = compare(one, two, 'abs_rel')
    assert (found.images, found.unpaired, found.difference) == (20, 10, 0.0)
    with pytest.raises(DataError, match='rmse'):
        compare(one, two, 'rmse')


def test_weights_weigh():
    weights = [3] * 10 + [1] * 10
    one = result([0.0] * 20, 'da2k', weights=weights)
    found = compare(one, result([1.0] * 10 + [0.0] * 10, 'da2k', weights=weights), 'da2k')
    assert found.difference == pytest.approx(0.75)
    assert found.low < 0.75 < found.high
