"""The fit of 1/z = scale * disparity + shift, and the value it gives."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite, nan, sqrt

import numpy as np

MIN_SAMPLES = 3
# Hypotheses and the samples that judge them. With 40 % outliers, 36 % of all pairs are clean: 128 pairs leave no
# practical chance of none, and 512 judges put the median's own error at a few percent of the noise.
_HYPOTHESES = 128
_JUDGES = 512
_MAX_REFINEMENTS = 20
# Tukey's biweight: 95 % efficient on Gaussian noise, no influence at all beyond this many standard deviations.
_TUKEY = 4.685
_MAD_TO_SIGMA = 1.4826


class AlignmentError(ValueError):
    """The evidence does not determine scale and shift; the message says why."""


class TooFewSamplesError(AlignmentError):
    """There are fewer usable samples than the fit needs."""


class DegenerateEvidenceError(AlignmentError):
    """The samples lie at one disparity, or ask for a scale that is not positive."""


class UninformativeDisparityError(AlignmentError):
    """The disparity explains too little of the measured depth to be trusted with metres."""


@dataclass(frozen=True)
class Alignment:
    """What turns disparity into metres: 1/z = scale * disparity + shift.

    scale: 1/m per unit of disparity, positive. shift: 1/m.
    rmse: root mean square residual of the inliers in inverse depth, 1/m.
    relative_rmse: the same in depth, as a fraction of the measured depth.
    explained: 1 - median |residual| / median |inverse depth - its median|, over all samples, 1 is perfect, 0 is
    no better than a constant.
    inliers, samples: how many samples agreed, of how many.
    stamp_ns: time of the evidence in nanoseconds, None for a constant that does not age.
    """

    scale: float
    shift: float
    rmse: float = nan
    relative_rmse: float = nan
    explained: float = nan
    inliers: int = 0
    samples: int = 0
    stamp_ns: int | None = None

    def __post_init__(self) -> None:
        if not (isfinite(self.scale) and self.scale > 0.0):
            raise DegenerateEvidenceError(
                f'scale must be positive and finite, got {self.scale}: nearer must stay nearer'
            )
        if not isfinite(self.shift):
            raise DegenerateEvidenceError(f'shift must be finite, got {self.shift}')

    def depth(self, disparity: np.ndarray) -> np.ndarray:
        """Metres along the optical axis, float32, from disparity of any shape.

        Where scale * disparity + shift is not positive the pixel is farther than the fit can tell: +Inf (REP 117).
        NaN stays NaN.
        """
        inverse = np.asarray(disparity, np.float32) * np.float32(self.scale) + np.float32(self.shift)
        with np.errstate(divide='ignore'):
            return np.float32(1.0) / np.maximum(inverse, np.float32(0.0))


def fit_scale_shift(
    disparity: np.ndarray,
    depth_m: np.ndarray,
    weights: np.ndarray | None = None,
    *,
    min_samples: int = MIN_SAMPLES,
    stamp_ns: int | None = None,
) -> Alignment:
    """Fit 1/z = scale * disparity + shift, robust to about 40 % of wrong samples.

    disparity, depth_m, weights: arrays of one shape; pairs with a value that is not finite, a depth or a weight
    that is not positive, are left out. depth_m in metres.

    Least median of squares over sample pairs finds the start (Rousseeuw 1984), iterated least squares with Tukey's
    biweight the result; each step is closed-form, and the same input gives the same output. The network errs about
    equally at every disparity, a range sensor in proportion to depth, so a residual in inverse depth q is judged
    against sqrt(q^2 + median(q)^2): half of each.

    Raises TooFewSamplesError and DegenerateEvidenceError.
    """
    d, q, w = _usable(disparity, depth_m, weights)
    n = d.size
    needed = max(min_samples, MIN_SAMPLES)
    if n < needed:
        raise TooFewSamplesError(f'{n} usable depth samples, at least {needed} needed')
    spread = float(np.subtract(*np.percentile(d, [95, 5])))
    if not spread > 1e-4 * float(np.abs(d).max()):
        raise DegenerateEvidenceError(
            f'all {n} samples lie at one disparity (5 to 95 %: {spread:.3g}): scale and shift cannot be told apart; '
            'give evidence at several depths'
        )

    noise = np.sqrt(q**2 + np.median(q) ** 2)
    scale, shift, sigma = _least_median(d, q, noise)
    weight = w / noise**2
    for _ in range(_MAX_REFINEMENTS):
        previous = scale, shift
        residual = (scale * d + shift - q) / noise
        rejection = np.clip(1.0 - (residual / (_TUKEY * sigma)) ** 2, 0.0, None) ** 2
        scale, shift = _weighted_line(d, q, weight * rejection)
        if np.allclose((scale, shift), previous, rtol=1e-7, atol=0.0):
            break

    if not scale > 0.0:
        raise DegenerateEvidenceError(
            f'the best fit has scale {scale:.4g}: the disparity falls where the measured depth says nearer. '
            'Check that the evidence belongs to this camera and this moment'
        )
    residual = scale * d + shift - q
    inlier = np.abs(residual) < _TUKEY * sigma * noise
    predicted = scale * d[inlier] + shift
    positive = predicted > 0.0
    relative = q[inlier][positive] / predicted[positive] - 1.0
    constant = float(np.median(np.abs(q - np.median(q))))
    return Alignment(
        scale=float(scale),
        shift=float(shift),
        rmse=float(np.sqrt(np.mean(residual[inlier] ** 2))),
        relative_rmse=float(np.sqrt(np.mean(relative**2))) if relative.size else nan,
        explained=1.0 - float(np.median(np.abs(residual))) / constant if constant > 0.0 else 0.0,
        inliers=int(np.count_nonzero(inlier)),
        samples=n,
        stamp_ns=stamp_ns,
    )


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


def _least_median(d: np.ndarray, q: np.ndarray, noise: np.ndarray) -> tuple[float, float, float]:
    """The line through two samples with the least median |residual|, and the standard deviation it implies."""
    random = np.random.default_rng(0)
    # One sample from the lower and one from the upper half by disparity: a long base, little noise in the slope.
    order = np.argsort(d, kind='stable')
    half = d.size // 2
    low = order[random.integers(0, half, _HYPOTHESES)]
    high = order[random.integers(half, d.size, _HYPOTHESES)]
    base = d[high] - d[low]
    usable = base > 0.0
    low, high, base = low[usable], high[usable], base[usable]
    if not base.size:
        raise DegenerateEvidenceError('no two samples differ in disparity')
    scales = (q[high] - q[low]) / base
    shifts = q[low] - scales * d[low]
    judge = order[np.linspace(0, d.size - 1, min(_JUDGES, d.size)).astype(int)]
    residual = np.abs(scales[:, None] * d[judge] + shifts[:, None] - q[judge]) / noise[judge]
    medians = np.median(residual, axis=1)
    # Nearer must stay nearer: a falling line wins only if no rising one was drawn.
    best = int(np.argmin(np.where(scales > 0.0, medians, np.inf) if (scales > 0.0).any() else medians))
    # The correction is Rousseeuw's for small samples; the floor keeps a perfect fit from rejecting rounding errors.
    sigma = max(_MAD_TO_SIGMA * (1.0 + 5.0 / max(d.size - 2, 1)) * float(medians[best]), 1e-7)
    return float(scales[best]), float(shifts[best]), sigma


def _weighted_line(d: np.ndarray, q: np.ndarray, w: np.ndarray) -> tuple[float, float]:
    """Weighted least squares, closed-form, centred for precision."""
    total = w.sum()
    if not total > 0.0:
        raise DegenerateEvidenceError('no sample agrees with any other')
    mean_d, mean_q = (w @ d) / total, (w @ q) / total
    centred = d - mean_d
    variance = w @ centred**2
    if not variance > 1e-12 * total * max(mean_d**2, sqrt(np.finfo(float).tiny)):
        raise DegenerateEvidenceError('the samples that agree lie at one disparity: the scale is undetermined')
    scale = (w @ (centred * (q - mean_q))) / variance
    return float(scale), float(mean_q - scale * mean_d)
