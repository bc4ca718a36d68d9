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


@pytest.mark.parametrize('seed', range(5))
def test_what_a_fit_explains_tells_what_the_disparity_knows_from_what_it_does_not(seed):
    random = np.random.default_rng(seed)
    disparity, depth = evidence(1000, noise=0.05, outliers=0.4, seed=seed)
    assert fit_scale_shift(disparity, depth).explained > 0.5
    # An obstacle before a wall that fills three quarters of the image.
    flat = np.where(random.random(1000) < 0.75, 3.0, 18.0) + 0.2 * random.standard_normal(1000)
    assert fit_scale_shift(flat, (1.0 + 0.05 * random.standard_normal(1000)) / (SCALE * flat + SHIFT)).explained > 0.7
    shuffled = random.permutation(disparity)
    assert fit_scale_shift(shuffled, depth, shift=0.0, max_scale_sigma=np.inf).explained < 0.2


@pytest.mark.parametrize('wall', [0.5, 0.6, 0.7])
@pytest.mark.parametrize('wrong', [0.05, 0.1])
@pytest.mark.parametrize('seed', range(4))
def test_a_wall_that_is_most_of_what_is_seen_does_not_outvote_what_is_near(wall, wrong, seed):
    """A sensor beside the camera sees past the edges of near things. Any line through the wall explains the wall."""
    random = np.random.default_rng(seed)
    inverse = np.where(random.random(1000) < wall, 0.3, random.uniform(0.1, 1.0, 1000))
    disparity = (inverse * (1.0 + 0.02 * random.standard_normal(1000)) - SHIFT) / SCALE
    depth = (1.0 + 0.01 * random.standard_normal(1000)) / inverse
    behind = random.choice(np.flatnonzero(inverse > 0.45), int(wrong * 1000), replace=False)
    depth[behind] = random.uniform(3.0, 6.0, behind.size)
    fitted = fit_scale_shift(disparity, depth)
    assert fitted.depth(np.float32((1.0 - SHIFT) / SCALE)) == pytest.approx(1.0, rel=0.03)


def test_few_samples_know_how_little_they_know():
    """Of 100 fits of the fewest samples hardly any is farther off at a metre than three times what it says."""
    one_metre = np.float32((1.0 - SHIFT) / SCALE)
    fits = [fit_scale_shift(*evidence(20, noise=0.05, seed=seed)) for seed in range(100)]
    off = [abs(fitted.depth(one_metre) - 1.0) / fitted.sigma(one_metre) for fitted in fits]
    assert np.mean(np.array(off) > 3.0) < 0.05


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
    with pytest.raises(TooFewSamplesError, match='19 usable depth samples, at least 20'):
        fit_scale_shift(*evidence(19))
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


def test_through_a_map_of_the_disparity_depth_and_doubt_are_the_same():
    alignment = Alignment(0.5, 0.1, covariance=(0.01, -0.002, 0.004), noise=(0.01, 0.02))
    disparity = np.linspace(0.5, 3.0, 20, dtype=np.float32)
    moved = alignment.through(1.7, -0.4)
    seen = (1.7 * disparity - 0.4).astype(np.float32)
    np.testing.assert_allclose(moved.depth(disparity), alignment.depth(seen), rtol=1e-5)
    np.testing.assert_allclose(moved.sigma(disparity), alignment.sigma(seen), rtol=1e-4)


@pytest.mark.parametrize(('scale', 'shift'), [(0.0, 0.0), (-1.0, 0.0), (np.nan, 0.0), (np.inf, 0.0), (1.0, np.nan)])
def test_an_alignment_cannot_be_made_of_nonsense(scale, shift):
    with pytest.raises(DegenerateEvidenceError):
        Alignment(scale=scale, shift=shift)


@pytest.mark.parametrize('noise_of', ['depth', 'disparity'])
def test_scale_and_shift_are_as_uncertain_as_it_says(noise_of):
    random = np.random.default_rng(0)
    deviations = []
    for _ in range(150):
        inverse = random.uniform(0.05, 1.0, 300)
        error = 0.05 * random.standard_normal(300) * (inverse if noise_of == 'depth' else 0.3)
        fitted = fit_scale_shift((inverse - SHIFT + error) / SCALE, 1.0 / inverse)
        deviations.append([np.log(fitted.scale / SCALE), fitted.shift - SHIFT] / np.sqrt(fitted.covariance[::2]))
    assert np.std(deviations, axis=0) == pytest.approx([1.0, 1.0], rel=0.25)


def test_depth_is_as_uncertain_as_it_says():
    disparity, depth = evidence(2000, noise=0.05)
    fitted = fit_scale_shift(disparity, depth)
    inside = np.abs(fitted.depth(disparity) - depth) < fitted.sigma(disparity)
    assert inside.mean() == pytest.approx(0.68, abs=0.05)


def test_samples_that_err_together_leave_more_doubt():
    samples = evidence(2000, noise=0.05)
    alone, together = fit_scale_shift(*samples), fit_scale_shift(*samples, independent=20)
    assert together.scale == alone.scale
    assert np.sqrt(together.covariance[0] / alone.covariance[0]) == pytest.approx(10.0, rel=0.05)


def test_weights_of_any_size_give_the_same_fit_and_doubt():
    disparity, depth = evidence(500, noise=0.05)
    one, many = (fit_scale_shift(disparity, depth, np.full(500, weight)) for weight in (1.0, 1e6))
    assert many.scale == pytest.approx(one.scale)
    assert many.covariance == pytest.approx(one.covariance)


def test_a_network_that_errs_everywhere_gets_the_least_squares_line():
    random = np.random.default_rng(3)
    inverse = random.uniform(0.05, 1.0, 2000)
    # Systematic: no part of the samples lies on a line.
    disparity = inverse + 0.25 * np.sin(7.0 * inverse) + 0.15 * random.standard_normal(2000)
    fitted = fit_scale_shift(disparity, 1.0 / inverse)
    scale, shift = np.polyfit(disparity, inverse, 1)
    error, least = (
        np.sqrt(np.mean((a * disparity + b - inverse) ** 2)) for a, b in ((fitted.scale, fitted.shift), (scale, shift))
    )
    assert error < 1.03 * least


@pytest.mark.parametrize('outliers', [0.0, 0.3])
def test_with_the_shift_held_one_depth_is_enough(outliers):
    random = np.random.default_rng(0)
    depth = (1.0 + 0.02 * random.standard_normal(300)) / (SCALE * 3.0 + SHIFT)
    wrong = random.random(300) < outliers
    depth[wrong] *= random.uniform(1.5, 4.0, wrong.sum())
    fitted = fit_scale_shift(np.full(300, 3.0), depth, shift=SHIFT)
    assert fitted.shift == SHIFT
    assert fitted.scale == pytest.approx(SCALE, rel=0.01)


def test_a_held_shift_nearer_than_everything_is_refused():
    disparity, depth = evidence(100)
    with pytest.raises(DegenerateEvidenceError, match='held at'):
        fit_scale_shift(disparity, depth, shift=5.0)


def test_samples_too_close_together_for_their_noise_are_refused():
    random = np.random.default_rng(0)
    disparity = random.uniform(10.0, 10.2, 60)
    with pytest.raises(DegenerateEvidenceError):
        fit_scale_shift(disparity, (1.0 + 0.1 * random.standard_normal(60)) / (SCALE * disparity + SHIFT))


def test_the_condition_tells_one_depth_from_many():
    wide = fit_scale_shift(*evidence(500))
    disparity = np.random.default_rng(0).uniform(10.0, 10.5, 500)
    narrow = fit_scale_shift(disparity, 1.0 / (SCALE * disparity + SHIFT))
    design = np.stack([disparity / np.linalg.norm(disparity), np.full(500, 500**-0.5)], axis=1)
    assert narrow.condition == pytest.approx(np.linalg.cond(design), rel=1e-3)
    assert wide.condition < 5.0
    assert narrow.condition > 50.0


def test_depth_far_beyond_the_horizon_is_unknown_not_free():
    disparity, depth = evidence(2000, noise=0.02)
    fitted = fit_scale_shift(disparity, depth)
    horizon = -fitted.shift / fitted.scale
    beyond = fitted.depth(np.float32([horizon - 1e-3, horizon - 5.0, np.nan]))
    assert beyond[0] == np.inf
    assert np.isnan(beyond[1:]).all()


def test_what_contradicts_a_fit_is_beyond_three_of_its_deviations():
    # Of the shift, and of a pixel's own noise.
    alignment = Alignment(1.0, 0.0, covariance=(0.0, 0.0, 0.03**2), noise=(0.04, 0.0))
    just_inside, just_outside = alignment.depth(np.float32([-0.149, -0.151]))
    assert just_inside == np.inf
    assert np.isnan(just_outside)


def test_sigma_is_unknown_for_numbers_that_were_given():
    assert Alignment(scale=1.0, shift=0.0).sigma(np.ones(3)) is None
