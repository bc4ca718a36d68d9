"""The order of samples: every one once per epoch, near each other on disk, a function of position and seed."""

import pickle
import time

import numpy as np
import pytest

from training.data.order import Order
from training.errors import DataError


def epoch(order, number):
    return [order[position] for position in range(number * len(order), (number + 1) * len(order))]


@pytest.mark.parametrize('sizes', [[1], [7], [3, 0, 5, 1, 0], [4] * 100, [17, 1, 300, 2] * 9, [0, 70000]])
def test_each_epoch_has_every_sample_once_in_another_order(sizes):
    order = Order(sizes, seed=3)
    assert len(order) == sum(sizes)
    first, second = epoch(order, 0), epoch(order, 1)
    assert np.array_equal(np.sort(first), np.arange(sum(sizes)))
    assert np.array_equal(np.sort(second), np.arange(sum(sizes)))
    if len(first) > 1:
        assert first != second


def test_it_is_a_function_of_position_and_seed_whatever_was_asked_before():
    sizes = [5, 9, 2, 30] * 20
    forwards = [Order(sizes, 1)[position] for position in range(2000)]
    order = Order(sizes, 1)
    assert [order[position] for position in reversed(range(2000))] == forwards[::-1]
    assert [pickle.loads(pickle.dumps(order))[position] for position in (1999, 0, 7)] == [
        forwards[position] for position in (1999, 0, 7)
    ]
    assert epoch(Order(sizes, 2), 0) != epoch(order, 0)
    assert epoch(Order(sizes, [1, 7]), 0) != epoch(order, 0)


def test_it_is_the_same_in_every_version_of_numpy():
    # PCG64's raw output is promised to stay; these are what it gives. A change would break every interrupted run.
    assert epoch(Order([4, 3, 5], 42), 0) == [2, 10, 1, 11, 8, 6, 9, 7, 3, 4, 5, 0]
    assert epoch(Order([4, 3, 5], 42), 1) == [10, 1, 3, 2, 7, 5, 4, 0, 9, 6, 8, 11]


def test_neighbours_come_from_few_shards_and_those_from_anywhere():
    order = Order([10] * 640, 0)
    shards = np.array(epoch(order, 0)).reshape(-1, 160) // 10
    assert all(len({*window}) == 16 for window in shards)
    # 16 of 640 shards, drawn anew: they span most of the data, and no window of this epoch is one of the next.
    assert min(np.ptp(window) for window in shards) > 300
    following = np.array(epoch(order, 1)).reshape(-1, 160) // 10
    assert not {frozenset(window) for window in shards} & {frozenset(window) for window in following}


def test_every_sample_is_as_likely_to_come_first():
    firsts = np.array([Order([2, 3, 1, 4], seed)[0] for seed in range(2000)])
    # A window holds all of it, so 200 each, give or take a deviation of 13.
    assert np.abs(np.bincount(firsts, minlength=10) - 200).max() < 60


def test_tens_of_millions_of_samples_need_no_list_of_them():
    began = time.process_time()
    order = Order([200] * 310_000, 0)
    found = [order[position] for position in range(61_990_000, 62_010_000)]
    assert time.process_time() - began < 5
    assert len(pickle.dumps(order)) < 20 * 310_000
    assert len({*found[:10_000]}) == len({*found[10_000:]}) == 10_000
    assert 0 <= min(found) <= max(found) < 62_000_000


def test_nothing_to_order_and_negative_numbers_are_refused():
    for sizes in ([], [0, 0]):
        with pytest.raises(DataError, match='no samples'):
            Order(sizes, 0)
    with pytest.raises(ValueError, match='-1 samples'):
        Order([3, -1], 0)
    with pytest.raises(ValueError, match='negative'):
        Order([3], -1)
    with pytest.raises(IndexError):
        Order([3], 0)[-1]
