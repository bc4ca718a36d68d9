"""Scale and shift over time, as a statistician would want them."""

import numpy as np
import pytest

from depth_anything_ros.alignment import Alignment, Tracker
from depth_anything_ros.alignment.tracker import CONFIRMATIONS

S = 1_000_000_000
SCALE, SHIFT, REACH = 0.5, 0.1, 1.0


def fit(stamp_s, scale=SCALE, shift=SHIFT, sigma=0.05):
    return Alignment(scale, shift, (sigma**2, 0.0, (0.2 * sigma) ** 2), stamp_ns=int(stamp_s * S))


def test_its_covariance_is_that_of_its_error():
    random = np.random.default_rng(0)
    squared = []
    for _ in range(300):
        tracker = Tracker(drift=0.05)
        truth = np.array([np.log(SCALE), SHIFT])
        for i in range(20):
            truth += random.standard_normal(2) * 0.05 * np.sqrt(0.1) * [1.0, REACH]
            measured = truth + random.standard_normal(2) * [0.05, 0.01]
            tracker.update(fit(0.1 * i, np.exp(measured[0]), measured[1]), REACH)
        found = tracker.at(int(1.9 * S))
        error = np.array([np.log(found.scale), found.shift]) - truth
        a, b, c = found.covariance
        squared.append(error @ np.linalg.solve([[a, b], [b, c]], error))
    # Chi-square with two degrees of freedom has the mean 2; the drift is estimated too, from few fits, which costs.
    assert np.mean(squared) == pytest.approx(2.2, abs=0.5)


def test_a_precise_fit_weighs_more_than_a_vague_one():
    tracker = Tracker(drift=0.01)
    tracker.update(fit(0, sigma=0.01), REACH)
    tracker.update(fit(0.1, scale=1.1 * SCALE, sigma=0.1), REACH)
    assert SCALE < tracker.at(S).scale < 1.01 * SCALE


def test_correlated_scale_and_shift_are_not_taken_for_independent_ones():
    tracker = Tracker(drift=0.0)
    # All evidence near disparity 1: the sum is known, the parts are not.
    along = 0.1
    vague = Alignment(0.5, 0.1, (along**2, -0.5 * along**2, (0.5 * along) ** 2 + 1e-6), stamp_ns=0)
    tracker.update(vague, REACH)
    found = tracker.at(0)
    assert found.sigma(np.float32(1.0)) < 0.2 * found.sigma(np.float32(2.0))


def test_wild_fits_of_different_kinds_never_win():
    tracker = Tracker(drift=0.05)
    for i in range(10):
        tracker.update(fit(0.1 * i), REACH)
    for i, factor in enumerate([5.0, 0.2, 9.0, 0.1, 4.0, 0.3]):
        reason = tracker.update(fit(1.0 + 0.1 * i, factor * SCALE), REACH)
        assert 'held back' in reason
    assert tracker.at(2 * S).scale == pytest.approx(SCALE, rel=0.03)


def test_wild_fits_between_good_ones_never_add_up():
    tracker = Tracker(drift=0.05)
    for i in range(40):
        tracker.update(fit(0.1 * i, 5.0 * SCALE if i % 3 else SCALE) if i > 5 else fit(0.1 * i), REACH)
    assert tracker.at(4 * S).scale == pytest.approx(SCALE, rel=0.03)


def test_a_lasting_change_wins_after_the_promised_number():
    tracker = Tracker(drift=0.05)
    for i in range(10):
        tracker.update(fit(0.1 * i), REACH)
    reasons = [tracker.update(fit(1.0 + 0.1 * i, 4.0 * SCALE), REACH) for i in range(CONFIRMATIONS)]
    assert all(reasons[:-1])
    assert not reasons[-1]
    assert tracker.at(2 * S).scale == pytest.approx(4.0 * SCALE, rel=0.01)


def test_a_lasting_change_of_the_scale_teaches_nothing_of_a_shift_that_was_held():
    tracker = Tracker(drift=0.05)
    for i in range(10):
        tracker.update(fit(0.1 * i), REACH)
    # A wall at 1/z = 0.6 for a minute, then another scale there.
    for i in range(1, 60):
        held = Alignment(SCALE, SHIFT, (0.01**2, 0.0, 0.0), stamp_ns=(1 + i) * S)
        assert tracker.update(held, REACH, held_at_slope=0.5) == ''
    before = tracker.at(60 * S)
    for i in range(CONFIRMATIONS):
        held = Alignment(3.0 * SCALE, before.shift, (0.01**2, 0.0, 0.0), stamp_ns=int((60 + 0.1 * i) * S))
        reason = tracker.update(held, REACH, held_at_slope=1.5)
    assert reason == ''
    after = tracker.at(int(60.2 * S))
    assert after.scale == pytest.approx(3.0 * SCALE, rel=0.05)
    assert after.covariance[2] > 0.9 * before.covariance[2]


def test_disparity_that_changes_for_good_changes_neither_what_holds_nor_what_might():
    tracker, gain, offset = Tracker(drift=0.01), 0.6, 0.3
    for i in range(5):
        tracker.update(fit(0.1 * i), REACH)
    for i in range(CONFIRMATIONS - 1):
        assert tracker.update(fit(0.5 + 0.1 * i, scale=3.0 * SCALE), REACH)
    now = int(0.4 * S)
    before = tracker.at(now)
    tracker.go_through(gain, offset)
    disparity = np.linspace(0.5, 3.0, 9, dtype=np.float32)
    np.testing.assert_allclose(tracker.at(now).depth(disparity), before.depth(gain * disparity + offset), rtol=1e-4)
    np.testing.assert_allclose(tracker.at(now).sigma(disparity), before.sigma(gain * disparity + offset), rtol=1e-3)
    assert tracker.update(fit(1.0, scale=3.0 * SCALE).through(gain, offset), REACH) == ''
    assert tracker.at(S).scale == pytest.approx(3.0 * SCALE * gain, rel=0.02)


def test_an_exact_source_is_followed_exactly():
    tracker = Tracker(drift=0.1)
    for i in range(5):
        tracker.update(fit(i, scale=SCALE * (1.0 + 0.02 * i), sigma=0.0), REACH)
    assert tracker.at(4 * S).scale == pytest.approx(1.08 * SCALE, rel=1e-4)


def test_a_scale_with_the_shift_known_is_filtered_as_much_as_its_noise_asks():
    random = np.random.default_rng(0)
    tracker = Tracker(drift=0.1)
    spread = []
    for i in range(300):
        scale = SCALE * np.exp(0.05 * random.standard_normal())
        tracker.update(Alignment(scale, 0.0, (0.05**2, 0.0, 0.0), stamp_ns=int(0.1 * i * S)), REACH)
        spread.append(tracker.at(int(0.1 * i * S)).scale)
    found = tracker.at(30 * S)
    assert np.std(np.log(spread[50:])) == pytest.approx(np.sqrt(found.covariance[0]), rel=0.5)
