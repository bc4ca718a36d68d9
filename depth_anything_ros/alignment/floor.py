"""The floor in a disparity image whose gravity direction and camera height are known."""

from __future__ import annotations

import numpy as np

from depth_anything_ros.alignment.hook import EvidenceError

# Pairs of pixels, each a hypothesis. With a quarter of floor 1 in 16 is clean: 40, of which some are little off, as two
# pixels have the noise of two pixels.
_HYPOTHESES = 600
_JUDGES = 400
# A longer base makes a better line: the nearer pixel of a pair is by this factor the nearer one.
_MIN_RATIO = 1.2
# How far floor may lie from where it should, relative to its inverse depth: 3 standard deviations of 5 %.
_TOLERANCE = 0.15
# Above the horizon there is no floor to compare with, but nothing lies beyond infinity. A network's far end is bent,
# so only what is far beyond is counted: relative to the median inverse depth of the floor.
_TOLERANCE_ABOVE = 0.3
# What a pixel that cannot be costs a hypothesis, in pixels of floor, and what share of them refutes it.
_PENALTY = 10.0
_MAX_IMPOSSIBLE = 0.02
# Where the disparity has little noise less is impossible; but no network is straighter than this.
_IMPOSSIBLE_SIGMAS = 4.0
_LEAST_TOLERANCE = 0.08
_REFINEMENTS = 10
# Tukey's biweight, cut off early: what lies at the floor's edges errs to one side only, towards the camera.
_TUKEY = 3.0
_MAD_TO_SIGMA = 1.4826
_MIN_SIGMA = 0.002
# Of disparity and inverse depth on the floor: below, the slope is made of noise.
_MIN_CORRELATION = 0.85


def find_floor(disparity: np.ndarray, inverse: np.ndarray, below: np.ndarray, min_share: float) -> np.ndarray:
    """Find which pixels show the floor: weights (N,) from 0, not the floor, to 1.

    disparity: (N,), up to an unknown scale and shift. inverse: (N,) the floor's inverse depth at these pixels, 1/m, at
    most 0 above the horizon. below: (N,) bool, pixels clearly below the horizon, where floor is looked for; not none.
    min_share: of those, how many must be floor.

    Where there is floor, inverse = scale * disparity + shift. Where there is something else it is nearer than the
    floor behind it, never farther, and nothing is farther than infinity: a plane that asks for the contrary, such as
    a table top with floor beside it, or a wall that reaches above the horizon, is not the floor. What remains is
    chosen by the number of pixels that agree, from a fixed set of hypotheses, so that the same input gives the same
    output, and refined by Tukey's biweight.

    Raises EvidenceError.
    """
    median = float(np.median(inverse[below]))
    noise = np.sqrt((inverse**2 + median**2) / 2.0)
    tolerance = np.where(below, _TOLERANCE * noise, _TOLERANCE_ABOVE * median)
    nearest_allowed = np.maximum(inverse, 0.0)
    scale, shift = _best_hypothesis(disparity, nearest_allowed, tolerance, below)
    d, g, spread = disparity[below], inverse[below], noise[below]
    scale, shift, sigma, weights = _refine(d, g, spread, scale, shift)
    tolerance[below] = np.clip(_IMPOSSIBLE_SIGMAS * sigma, _LEAST_TOLERANCE, _TOLERANCE) * spread
    impossible = np.count_nonzero(scale * disparity + shift < nearest_allowed - tolerance) / d.size
    _check(d, g, weights, scale, impossible, min_share)
    result = np.zeros(disparity.shape)
    result[below] = weights
    return result


def _best_hypothesis(d, nearest_allowed, tolerance, below) -> tuple[float, float]:
    """The line through two pixels below the horizon that has the most pixels of floor, and few impossible ones."""
    random = np.random.default_rng(0)
    candidates = np.flatnonzero(below)
    far, near = candidates[random.integers(0, candidates.size, (2, 4 * _HYPOTHESES))]
    swapped = nearest_allowed[far] > nearest_allowed[near]
    far, near = np.where(swapped, near, far), np.where(swapped, far, near)
    rising = (nearest_allowed[near] > _MIN_RATIO * nearest_allowed[far]) & (d[near] > d[far])
    far, near = far[rising][:_HYPOTHESES], near[rising][:_HYPOTHESES]
    if not far.size:
        raise EvidenceError(
            'no floor: below the horizon the disparity does not grow towards the camera. Check the gravity direction, '
            'and that the camera sees the floor'
        )
    scales = (nearest_allowed[near] - nearest_allowed[far]) / (d[near] - d[far])
    shifts = nearest_allowed[far] - scales * d[far]
    lines = np.stack([scales, shifts, np.ones(scales.size)], axis=1)

    def residuals(pixels: np.ndarray) -> np.ndarray:
        """Of some of these pixels, (lines, pixels), in tolerances."""
        judges = random.permutation(pixels)[:_JUDGES]
        return lines @ (np.stack([d[judges], np.ones(judges.size), -nearest_allowed[judges]]) / tolerance[judges])

    residual = residuals(candidates)
    agreement = np.maximum(1.0 - residual * residual, 0.0).mean(axis=1)
    impossible = (residual < -1.0).mean(axis=1)
    elsewhere = np.flatnonzero(~below)
    if elsewhere.size:
        impossible += (residuals(elsewhere) < -1.0).mean(axis=1) * (elsewhere.size / candidates.size)
    best = int(np.argmax(agreement - _PENALTY * impossible))
    return float(scales[best]), float(shifts[best])


def _refine(d, g, noise, scale: float, shift: float) -> tuple[float, float, float, np.ndarray]:
    """Iterated least squares: scale, shift, the noise's standard deviation, and the pixels' weights, 0 to 1."""
    sigma = largest = _TOLERANCE / 3.0
    for _ in range(_REFINEMENTS):
        residual = (scale * d + shift - g) / noise
        weights = np.maximum(1.0 - (residual / (_TUKEY * sigma)) ** 2, 0.0) ** 2
        scale, shift = _line(d, g, weights / noise**2)
        inside = np.abs(residual[weights > 0.0])
        sigma = min(max(_MAD_TO_SIGMA * float(np.median(inside)), _MIN_SIGMA), largest)
    return scale, shift, sigma, weights


def _line(d, g, weights) -> tuple[float, float]:
    total = weights.sum()
    if not total > 0.0:
        raise EvidenceError('no floor: no two pixels agree on one')
    mean_d, mean_g = weights @ d / total, weights @ g / total
    centred = d - mean_d
    variance = weights @ centred**2
    if not variance > 0.0:
        raise EvidenceError('no floor: what looks most like it has one disparity everywhere')
    scale = float(weights @ (centred * (g - mean_g)) / variance)
    return scale, float(mean_g - scale * mean_d)


def _check(d, g, weights, scale: float, impossible: float, min_share: float) -> None:
    floor = weights > 0.0
    share = np.count_nonzero(floor) / d.size
    remedy = 'Check the gravity direction, and that the camera sees the floor'
    if share < min_share:
        raise EvidenceError(
            f'no floor: at best {100.0 * share:.0f} % of the pixels below the horizon fit one, less than '
            f'{100.0 * min_share:.0f} % (min_share). {remedy}'
        )
    if impossible > _MAX_IMPOSSIBLE:
        raise EvidenceError(
            f'no floor: with what looks most like it, {100.0 * impossible:.0f} % as many pixels as lie below the '
            f'horizon would be farther than the floor behind them, or than infinity. {remedy}'
        )
    correlation = float(np.corrcoef(d[floor], g[floor])[0, 1])
    if not (scale > 0.0 and correlation >= _MIN_CORRELATION):
        low, high = np.percentile(g[floor], [5, 95])
        raise EvidenceError(
            f'what looks most like floor, {1.0 / high:.2f} to {1.0 / low:.2f} m away, spans too little depth for the '
            f'noise of its disparity (correlation {correlation:.2f}, at least {_MIN_CORRELATION:g} needed)'
        )
