"""The robust fit of 1/z = scale * disparity + shift."""

from __future__ import annotations

from dataclasses import dataclass
from math import nan, sqrt

import numpy as np

from depth_anything_ros.alignment.alignment import (
    Alignment,
    DegenerateEvidenceError,
    InvertedDisparityError,
    TooFewSamplesError,
)

MIN_SAMPLES = 20
"""Of fewer the best line through two of them passes so near to others that their noise seems to be nothing."""
# Hypotheses, and the samples that judge them. Of pairs drawn from 40 % outliers 36 % are clean, so 128 leave no
# practical chance of none.
_HYPOTHESES = 128
_JUDGES = 200
# Of the range of disparity: each has as many judges, if it has so many samples. A wall that is most of what is seen
# tells of one disparity only; judged by it alone, any line through it is right.
_STEPS = 20
# A quantile below the median still finds the majority where chance made it less than a half.
_QUANTILE = 0.4
# Of the samples, when it is asked what a fit explains: fewer favour the fit, more let wrong samples decide.
_LOOKED_AT = 0.8
# Of |x| for a Gaussian of standard deviation 1.
_QUANTILE_TO_SIGMA = 1.0 / 0.5244
_MEDIAN_TO_SIGMA = 1.4826
_MAX_REFINEMENTS = 20
# What needs medians is found from so many samples: enough for all of it, and a fraction of the time.
_SURVEYED = 800
# Noise of the best samples over the spread of q: below the first number they are right and the others wrong, above the
# second there is no telling. Measured with networks of many qualities on driving and indoor scenes.
_DOUBTFUL = (0.1, 0.4)
_MAX_DOUBT = 0.999
_ONE_SIGMA = 0.6827
# Tukey's biweight: 95 % efficient on Gaussian noise, no influence at all beyond this many standard deviations.
_TUKEY = 4.685
# The median |x| of a Gaussian that is cut off there is practically that of the whole.
_MIN_SAMPLES_FOR_NOISE = 40
# No weight is infinite: the part of the noise that does not depend on depth is at least this fraction of the whole.
_LEAST_ABSOLUTE = 0.05
MAX_SCALE_SIGMA = 0.5
"""Beyond this, relative, the standard error of the scale says that there is no scale."""


@dataclass(frozen=True)
class _Line:
    """q = scale * d + shift, and the (2, 2) covariance of the two for weights that are 1 / variance, once fitted."""

    scale: float
    shift: float
    covariance: np.ndarray | None = None


def fit_scale_shift(
    disparity: np.ndarray,
    depth_m: np.ndarray,
    weights: np.ndarray | None = None,
    *,
    shift: float | None = None,
    min_samples: int = MIN_SAMPLES,
    max_scale_sigma: float = MAX_SCALE_SIGMA,
    independent: int | None = None,
    stamp_ns: int | None = None,
) -> Alignment:
    """Fit 1/z = scale * disparity + shift, robust to about 40 % of wrong samples.

    disparity, depth_m, weights: arrays of one shape; pairs with a value that is not finite, a depth or a weight
    that is not positive, are left out. depth_m in metres.
    shift: held at this value, 1/m, and only the scale is fitted; None: both are.
    max_scale_sigma: a fit that leaves the scale less certain, relative, is refused.
    independent: how many of the samples err independently; None: all. A network errs alike at neighbouring pixels, so
    ten thousand of them know less than their number says. Only the covariance depends on it.

    A least quantile of residuals over sample pairs finds the start (Rousseeuw 1984), iterated least squares with
    Tukey's biweight the result; each step is closed-form, and the same input gives the same output. Residuals in
    inverse depth q are judged against sqrt(a^2 + b^2 q^2), a and b from the residuals themselves: a network errs about
    equally at every disparity, a range sensor in proportion.
    Where even the samples that agree best scatter much against the spread of q, the network errs and not the samples:
    then fewer are rejected, down to plain least squares.

    Raises TooFewSamplesError and DegenerateEvidenceError.
    """
    d, q, w = _usable(disparity, depth_m, weights)
    n = d.size
    needed = max(min_samples, MIN_SAMPLES)
    if n < needed:
        raise TooFewSamplesError(f'{n} usable depth samples, at least {needed} needed')
    # The start and the noise need a part of the samples only, drawn so that no order of theirs matters.
    some = np.random.default_rng(0).integers(0, n, _SURVEYED) if n > _SURVEYED else slice(None)
    line, noise_model, cutoff = _survey(d[some], q[some], w[some], shift)
    # Of the prediction, not of the sample, whose own error would change its weight.
    noise = noise_at(noise_model, line.scale * d + line.shift)
    line, _ = _refine(d, q, w, noise, line, 1.0, cutoff, held=shift)
    return _result(d, q, w, some, line, noise_model, cutoff, independent, max_scale_sigma, stamp_ns)


def _usable(disparity, depth_m, weights) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    d = np.asarray(disparity, dtype=np.float64).ravel()
    z = np.asarray(depth_m, dtype=np.float64).ravel()
    w = np.ones_like(d) if weights is None else np.asarray(weights, dtype=np.float64).ravel()
    if not d.shape == z.shape == w.shape:
        raise ValueError(
            f'disparity, depth and weights must be of one size, got {d.size}, {z.size} and {w.size} values'
        )
    good = np.isfinite(d) & np.isfinite(z) & (z > 0.0) & np.isfinite(w) & (w > 0.0)
    return d[good], 1.0 / z[good], w[good]


def _survey(d, q, w, held: float | None) -> tuple[_Line, tuple[float, float], float]:
    """A first fit, the noise as (absolute in 1/m, fraction), and the residual to reject at in standard deviations."""
    typical = _quantile(q, 0.5)
    noise = np.sqrt(q**2 + typical**2)
    if held is None:
        _check_spread(d)
        order = np.argsort(d, kind='stable')
        judges = _over_the_range(d, order)
        start, sigma = _least_quantile(d, q, noise, order, judges)
    else:
        start, sigma = _least_quantile_scale(d, q, noise, held)
    line, sigma = _refine(d, q, w, noise, start, sigma, _TUKEY, held=held)
    absolute, relative = _noise_model(d, q, noise, line, sigma)
    if held is not None:  # one depth is enough, and no spread is needed to tell wrong samples
        return line, (absolute, relative), _TUKEY
    judged = q[judges]
    spread = _MEDIAN_TO_SIGMA * _quantile(np.abs(judged - _quantile(judged, 0.5)), 0.5)
    whole = float(noise_at((absolute, relative), typical))
    low, high = _DOUBTFUL
    doubt = float(np.clip((whole / spread - low) / (high - low), 0.0, _MAX_DOUBT)) if spread > 0.0 else 0.0
    relative *= 1.0 - doubt
    absolute = max(absolute, sqrt(max(whole**2 - (relative * typical) ** 2, 0.0)))
    return line, (absolute, relative), _TUKEY / (1.0 - doubt)


def noise_at(noise_model: tuple[float, float], q: np.ndarray | float) -> np.ndarray:
    """Standard deviation of inverse depth q, 1/m, by a noise model (absolute in 1/m, fraction of q)."""
    absolute, relative = noise_model
    return np.sqrt(absolute**2 + (relative * np.maximum(q, 0.0)) ** 2)


def _check_spread(d: np.ndarray) -> None:
    low, high = _quantile(d, 0.05), _quantile(d, 0.95)
    if not high - low > 1e-4 * float(np.abs(d).max()):
        raise DegenerateEvidenceError(
            f'all {d.size} samples lie at one disparity (5 to 95 %: {high - low:.3g}): scale and shift cannot be told '
            'apart; give evidence at several depths'
        )


def _least_quantile(
    d: np.ndarray, q: np.ndarray, noise: np.ndarray, order: np.ndarray, judges: np.ndarray
) -> tuple[_Line, float]:
    """The line through two samples with the least quantile of |residual|, and the standard deviation it implies."""
    random = np.random.default_rng(0)
    # One sample from the lower and one from the upper half by disparity: a long base, little noise in the slope.
    half = d.size // 2
    low = order[random.integers(0, half, _HYPOTHESES)]
    high = order[random.integers(half, d.size, _HYPOTHESES)]
    base = d[high] - d[low]
    usable = base > 0.0
    low, high, base = low[usable], high[usable], base[usable]
    if not base.size:
        raise DegenerateEvidenceError('no two samples differ in disparity')
    scales = (q[high] - q[low]) / base
    # Nearer must stay nearer: a falling line is tried only if no rising one was drawn.
    rising = scales > 0.0
    if rising.any():
        scales, low = scales[rising], low[rising]
    shifts = q[low] - scales * d[low]
    return _best(d, q, noise, scales, shifts, judges)


def _least_quantile_scale(d: np.ndarray, q: np.ndarray, noise: np.ndarray, shift: float) -> tuple[_Line, float]:
    """The same with the shift held: each sample with a disparity is a hypothesis of its own."""
    telling = np.flatnonzero(d > 0.0)
    telling = telling[(q[telling] > shift)]
    if not telling.size:
        raise DegenerateEvidenceError(f'with the shift held at {shift:.4g} 1/m no sample asks for a positive scale')
    order = telling[np.argsort((q[telling] - shift) / d[telling], kind='stable')]
    chosen = order[_spread_evenly(order.size, _HYPOTHESES)]
    scales = (q[chosen] - shift) / d[chosen]
    return _best(d, q, noise, scales, np.full_like(scales, shift), _spread_evenly(d.size, _JUDGES))


def _over_the_range(d: np.ndarray, order: np.ndarray) -> np.ndarray:
    """Indices of judges, as many of each step of the disparity's range as it has, up to a step's share of them."""
    low, high = _quantile(d, 0.02), _quantile(d, 0.98)
    edges = np.searchsorted(d[order], np.linspace(low, high, _STEPS + 1)[1:-1])
    steps = np.split(order, edges)
    return np.concatenate([step[_spread_evenly(step.size, _JUDGES // _STEPS)] for step in steps])


def _spread_evenly(n: int, most: int) -> np.ndarray:
    return np.linspace(0, n - 1, min(most, n)).astype(int)


def _best(d, q, noise, scales, shifts, judge) -> tuple[_Line, float]:
    precision = 1.0 / noise[judge]
    residual = scales[:, None] * (d[judge] * precision)
    residual += shifts[:, None] * precision
    residual -= q[judge] * precision
    np.abs(residual, out=residual)
    rank = int(_QUANTILE * (judge.size - 1))
    quantiles = np.partition(residual, rank, axis=1)[:, rank]
    best = int(np.argmin(quantiles))
    # The correction is Rousseeuw's for small samples; the floor keeps a perfect fit from rejecting rounding errors.
    sigma = _QUANTILE_TO_SIGMA * (1.0 + 5.0 / max(d.size - 2, 1)) * float(quantiles[best])
    return _Line(float(scales[best]), float(shifts[best])), max(sigma, 1e-7)


def _refine(d, q, w, noise, start: _Line, sigma: float, cutoff: float, *, held: float | None) -> tuple[_Line, float]:
    """Tukey's biweight from a start; returns the line, and the standard deviation in units of the noise."""
    # Columns once, so that an iteration is one product; centred, so that nothing cancels.
    centre = float(d.sum()) / d.size
    x = d - centre
    columns = np.stack([np.ones_like(x), x, x * x, q, x * q])
    weight, precision = w / noise**2, 1.0 / (cutoff * sigma * noise)
    scale, offset = start.scale, start.scale * centre + start.shift
    reach, enough = float(np.abs(x).max()), 3e-3 * sigma * float(noise.mean())
    for _ in range(_MAX_REFINEMENTS):
        residual = (scale * x + (offset - q)) * precision
        rejection = np.maximum(1.0 - residual * residual, 0.0)
        moments = columns @ (weight * rejection * rejection)
        before = scale, offset
        scale, offset, covariance = _solve(moments, centre, held)
        if abs(scale - before[0]) * reach + abs(offset - before[1]) < enough:
            break
    inside = np.abs(residual[np.abs(residual) < 1.0])
    refined = cutoff * sigma * _MEDIAN_TO_SIGMA * _quantile(inside, 0.5) if inside.size else sigma
    shift = offset - scale * centre if held is None else held
    return _Line(scale, shift, covariance), max(refined, 1e-7)


def _solve(moments: np.ndarray, centre: float, held: float | None) -> tuple[float, float, np.ndarray]:
    """Weighted least squares from the moments 1, x, x^2, q, xq: (scale, offset at the centre, covariance).

    The covariance, (2, 2), is that of (scale, shift) for unit variance.
    """
    total, sum_x, sum_xx, sum_q, sum_xq = (float(value) for value in moments)
    if not total > 0.0:
        raise DegenerateEvidenceError('no sample agrees with any other')
    if held is not None:
        # q - held = scale * d, with d = x + centre.
        power = sum_xx + 2.0 * centre * sum_x + centre**2 * total
        if not power > 0.0:
            raise DegenerateEvidenceError('all disparities are zero: the scale is undetermined')
        scale = (sum_xq + centre * sum_q - held * (sum_x + centre * total)) / power
        return scale, scale * centre + held, np.array([[1.0 / power, 0.0], [0.0, 0.0]])
    mean_x, mean_q = sum_x / total, sum_q / total
    variance = sum_xx - total * mean_x**2
    if not variance > 1e-12 * total * max((mean_x + centre) ** 2, sqrt(np.finfo(float).tiny)):
        raise DegenerateEvidenceError('the samples that agree lie at one disparity: the scale is undetermined')
    scale = (sum_xq - total * mean_x * mean_q) / variance
    mean_d = mean_x + centre
    covariance = np.array([[1.0, -mean_d], [-mean_d, mean_d**2]]) / variance + np.array(
        [[0.0, 0.0], [0.0, 1.0 / total]]
    )
    return scale, mean_q - scale * mean_x, covariance


def _noise_model(d, q, noise, line: _Line, sigma: float) -> tuple[float, float]:
    """The noise of inverse depth as (absolute in 1/m, fraction of itself), from the nearer and the farther inliers."""
    residual = np.abs(line.scale * d + line.shift - q)
    inside = residual < _TUKEY * sigma * noise
    typical = _quantile(q, 0.5)
    absolute, relative = sigma * typical, sigma
    if np.count_nonzero(inside) >= _MIN_SAMPLES_FOR_NOISE:
        far = inside & (q <= _quantile(q[inside], 0.5))
        near = inside & ~far
        if near.any():
            (far_q, far_variance), (near_q, near_variance) = (
                (float(np.mean(q[part] ** 2)), (_MEDIAN_TO_SIGMA * _quantile(residual[part], 0.5)) ** 2)
                for part in (far, near)
            )
            if near_q > far_q:
                fraction = min(max((near_variance - far_variance) / (near_q - far_q), 0.0), near_variance / near_q)
                rest = max(near_variance - fraction * near_q, 0.0)
                absolute, relative = sqrt(rest), sqrt(fraction)
    whole = max(sqrt(absolute**2 + (relative * typical) ** 2), 1e-7 * typical)
    return max(absolute, _LEAST_ABSOLUTE * whole), relative


def _result(d, q, w, some, line: _Line, noise_model, cutoff, independent, max_scale_sigma, stamp_ns) -> Alignment:
    n = d.size
    if not line.scale > 0.0:
        raise InvertedDisparityError(
            f'the best fit has scale {line.scale:.4g}: the disparity falls where the measured depth says nearer. '
            'Check that the evidence belongs to this camera and this moment'
        )
    predicted = line.scale * d + line.shift
    residual = np.abs(predicted - q)
    deviations = residual / noise_at(noise_model, predicted)
    inlier = deviations < cutoff
    inliers = int(np.count_nonzero(inlier))
    # Tails are heavier than a Gaussian's: the noise that is told covers as many as a Gaussian's would.
    surveyed = deviations[some]
    surveyed = surveyed[surveyed < cutoff]
    heavier = max(1.0, _quantile(surveyed, _ONE_SIGMA)) if surveyed.size else 1.0
    noise_model = (noise_model[0] * heavier, noise_model[1] * heavier)
    # The weights are relative; those of the covariance are 1 / variance, of as many samples as are independent.
    known = inliers if independent is None else min(inliers, max(1, round(independent * inliers / n)))
    covariance = line.covariance * (heavier**2 * float(np.mean(w[inlier])) * inliers / known)
    scale_variance = covariance[0, 0] / line.scale**2
    if not scale_variance < max_scale_sigma**2:
        raise DegenerateEvidenceError(
            f'the samples determine the scale to {100.0 * sqrt(scale_variance):.0f} % only: they lie too close '
            'together in disparity for their noise; give evidence at several depths'
        )
    positive = inlier & (predicted > 0.0)
    ratio = q[positive] / predicted[positive] - 1.0
    return Alignment(
        scale=line.scale,
        shift=line.shift,
        covariance=(float(scale_variance), float(covariance[0, 1] / line.scale), float(covariance[1, 1])),
        noise=noise_model,
        rmse=float(np.sqrt(np.mean(residual[inlier] ** 2))),
        relative_rmse=float(np.sqrt(np.mean(ratio**2))) if ratio.size else nan,
        explained=_explained(q[some], residual[some]),
        inliers=inliers,
        samples=n,
        condition=_condition(d[inlier]),
        stamp_ns=stamp_ns,
    )


def _explained(q: np.ndarray, residual: np.ndarray) -> float:
    """See Alignment.explained."""
    # Not by medians: before a wall that fills half of the image a constant has almost no median error.
    count = max(1, round(_LOOKED_AT * q.size))
    best = np.argpartition(residual, count - 1)[:count]
    constant = float(np.abs(q[best] - _quantile(q, 0.5)).mean())
    return 1.0 - float(residual[best].mean()) / constant if constant > 0.0 else 0.0


def _quantile(values: np.ndarray, share: float) -> float:
    """The value of this rank; NumPy's own quantiles take several times as long for few values."""
    rank = int(share * (values.size - 1))
    return float(np.partition(values, rank)[rank])


def _condition(d: np.ndarray) -> float:
    """Of the design matrix [d, 1] with its columns scaled to one length; infinite at one disparity."""
    length = sqrt(float(d @ d) * d.size)
    cosine = abs(float(d.sum())) / length if length > 0.0 else 1.0
    return sqrt((1.0 + cosine) / (1.0 - cosine)) if cosine < 1.0 else float('inf')
