"""The robust fit of 1/z = scale * disparity + shift."""

import numpy as np
import pytest

from depth_anything_ros.alignment import (
    Alignment,
    DegenerateEvidenceError,
    TooFewSamplesError,
    fit_scale_shift,
)

SCALE, SHIFT = 0.05, 0.02


def evidence(count, noise=0.0, outliers=0.0, seed=0):
    random = np.random.default_rng(seed)
    disparity = random.uniform(0.5, 20.0, count)
    depth = (1.0 + noise * random.standard_normal(count)) / (SCALE * disparity + SHIFT)
    wrong = random.random(count) < outliers
    depth[wrong] = random.uniform(0.3, 30.0, wrong.sum())
    return disparity, depth


def test_exact_samples_give_back_scale_and_shift_exactly():
    fitted = fit_scale_shift(*evidence(100))
    assert fitted.scale == pytest.approx(SCALE, rel=1e-9)
    assert fitted.shift == pytest.approx(SHIFT, rel=1e-8)
    assert fitted.inliers == fitted.samples == 100
    assert fitted.rmse < 1e-9
    assert fitted.explained == pytest.approx(1.0)


@pytest.mark.parametrize('count', [1000, 5000, 20000])
@pytest.mark.parametrize('seed', range(5))
def test_forty_percent_of_wrong_samples_move_the_fit_by_less_than_a_percent(count, seed):
    fitted = fit_scale_shift(*evidence(count, noise=0.02, outliers=0.4, seed=seed))
    assert fitted.scale == pytest.approx(SCALE, rel=0.01)
    assert fitted.depth(np.float32(10.0)) == pytest.approx(1.0 / (SCALE * 10.0 + SHIFT), rel=0.01)
    assert 0.5 < fitted.inliers / fitted.samples < 0.75


def test_an_affine_change_of_the_disparity_changes_no_depth():
    disparity, depth = evidence(500, noise=0.02, outliers=0.2)
    before = fit_scale_shift(disparity, depth).depth(disparity)
    after = fit_scale_shift(7.0 * disparity - 3.0, depth).depth(7.0 * disparity - 3.0)
    np.testing.assert_allclose(after, before, rtol=1e-4)


def test_scaling_the_world_scales_the_depth():
    disparity, depth = evidence(500, noise=0.02)
    before = fit_scale_shift(disparity, depth).depth(disparity)
    after = fit_scale_shift(disparity, 3.0 * depth).depth(disparity)
    np.testing.assert_allclose(after, 3.0 * before, rtol=1e-4)


def test_the_same_evidence_gives_the_same_fit():
    samples = evidence(700, noise=0.05, outliers=0.3)
    assert fit_scale_shift(*samples) == fit_scale_shift(*samples)


def test_samples_that_are_not_numbers_are_left_out():
    disparity, depth = evidence(100)
    disparity = np.concatenate([disparity, [np.nan, 1.0, 1.0, 1.0, np.inf, 1.0]])
    depth = np.concatenate([depth, [1.0, np.nan, 0.0, -2.0, 1.0, np.inf]])
    fitted = fit_scale_shift(disparity, depth)
    assert fitted.samples == 100
    assert fitted.scale == pytest.approx(SCALE, rel=1e-9)


def test_samples_without_weight_count_for_nothing():
    disparity, depth = evidence(100)
    wrong = np.arange(100) < 60
    depth[wrong] *= 3.0
    fitted = fit_scale_shift(disparity, depth, weights=~wrong)
    assert fitted.samples == 40
    assert fitted.scale == pytest.approx(SCALE, rel=1e-9)


def test_too_few_samples_are_refused_with_the_numbers():
    with pytest.raises(TooFewSamplesError, match='2 usable depth samples, at least 3'):
        fit_scale_shift([1.0, 2.0], [1.0, 0.5])
    with pytest.raises(TooFewSamplesError, match='10 usable depth samples, at least 50'):
        fit_scale_shift(*evidence(10), min_samples=50)


def test_one_disparity_only_is_refused():
    with pytest.raises(DegenerateEvidenceError, match='one disparity'):
        fit_scale_shift(np.full(100, 3.0), np.linspace(1.0, 2.0, 100))


def test_a_disparity_that_falls_towards_the_camera_is_refused():
    disparity, depth = evidence(300)
    with pytest.raises(DegenerateEvidenceError, match='nearer'):
        fit_scale_shift(-disparity, depth)


def test_sizes_that_differ_are_an_error():
    with pytest.raises(ValueError, match='of one size'):
        fit_scale_shift(np.ones(3), np.ones(4))


def test_depth_beyond_the_horizon_of_the_fit_is_infinite_not_negative():
    depth = Alignment(scale=0.1, shift=-0.1).depth(np.array([[0.5, 1.0, 2.0, np.nan]], np.float32))
    assert depth.dtype == np.float32
    np.testing.assert_array_equal(depth[0, :2], [np.inf, np.inf])
    assert depth[0, 2] == pytest.approx(10.0)
    assert np.isnan(depth[0, 3])


@pytest.mark.parametrize(('scale', 'shift'), [(0.0, 0.0), (-1.0, 0.0), (np.nan, 0.0), (np.inf, 0.0), (1.0, np.nan)])
def test_an_alignment_cannot_be_made_of_nonsense(scale, shift):
    with pytest.raises(DegenerateEvidenceError):
        Alignment(scale=scale, shift=shift)
