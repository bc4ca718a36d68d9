"""The value that turns disparity into metres."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import inf, isfinite, nan, sqrt

import numpy as np

from depth_anything_ros.alignment.field import field_over_image

# Standard deviations below zero at which an inverse depth is not noise.
_CONTRADICTION = 3.0


class AlignmentError(ValueError):
    """The evidence does not determine scale and shift; the message says why."""


class TooFewSamplesError(AlignmentError):
    """There are fewer usable samples than the fit needs."""


class DegenerateEvidenceError(AlignmentError):
    """The samples do not tell scale and shift apart, or ask for a scale that is not positive."""


class InvertedDisparityError(DegenerateEvidenceError):
    """The disparity falls where the measured depth says nearer: evidence and frame do not belong together."""


class UninformativeDisparityError(AlignmentError):
    """The disparity explains too little of the measured depth to be trusted with metres."""


@dataclass(frozen=True)
class Alignment:
    """What turns disparity into metres: 1/z = scale * disparity + shift.

    scale: 1/m per unit of disparity, positive. shift: 1/m.
    covariance: of (log scale, shift) as (variance, covariance, variance); None if nobody knows.
    noise: standard deviation of a single pixel's inverse depth as (absolute in 1/m, fraction of itself).
    rmse: root mean square residual of the inliers in inverse depth, 1/m.
    relative_rmse: the same in depth, as a fraction of the measured depth.
    explained: 1 - mean |residual| / mean |inverse depth - its median|, over the 80 % of the samples that it fits best.
    1 is perfect, 0 is no better than a constant.
    inliers, samples: how many samples agreed, of how many.
    condition: condition number of the fit's design matrix, columns scaled to one length; large: one depth only.
    stamp_ns: time of the evidence in nanoseconds, None for a constant that does not age.
    field: relative deviation of the scale over the image, see `field.py`; empty where it is one number.
    """

    scale: float
    shift: float
    covariance: tuple[float, float, float] | None = None
    noise: tuple[float, float] = (0.0, 0.0)
    rmse: float = nan
    relative_rmse: float = nan
    explained: float = nan
    inliers: int = 0
    samples: int = 0
    condition: float = nan
    stamp_ns: int | None = None
    field: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if not (isfinite(self.scale) and self.scale > 0.0):
            raise DegenerateEvidenceError(
                f'scale must be positive and finite, got {self.scale}: nearer must stay nearer'
            )
        if not isfinite(self.shift):
            raise DegenerateEvidenceError(f'shift must be finite, got {self.shift}')

    def through(self, gain: float, offset: float) -> Alignment:
        """The alignment of disparity that gives what this one gives of gain * disparity + offset; gain is positive.

        A field's deviations of the offset, which no field can say, are left out.
        """
        moved, covariance = self.scale * offset, self.covariance
        if covariance is not None:
            log_scale, mixed, shift = covariance
            covariance = (log_scale, mixed + moved * log_scale, shift + (2.0 * mixed + moved * log_scale) * moved)
        return replace(self, scale=self.scale * gain, shift=self.shift + moved, covariance=covariance)

    def inverse_depth(self, disparity: np.ndarray) -> np.ndarray:
        """1/z in 1/m, float32, from disparity of any shape, or, with a field, of an image (H, W)."""
        scale = np.float32(self.scale)
        if self.field:
            scale = scale * field_over_image(self.field, *np.shape(disparity))
        return np.asarray(disparity, np.float32) * scale + np.float32(self.shift)

    def depth(self, disparity: np.ndarray) -> np.ndarray:
        """Metres along the optical axis, float32, of the disparity's shape.

        Where 1/z is not positive the pixel is farther than the fit can tell: +Inf (REP 117). But where it is negative
        by more than three standard deviations the fit does not hold for the pixel, which may be anywhere: NaN, as
        +Inf would clear a costmap. NaN stays NaN.
        """
        inverse = self.inverse_depth(disparity)
        with np.errstate(divide='ignore'):
            depth = np.float32(1.0) / np.maximum(inverse, np.float32(0.0))
        if self.covariance is not None:
            beyond = inverse < np.float32(self.contradiction)
            if beyond.any():
                depth = np.where(beyond, np.float32(nan), depth)
        return depth

    @property
    def contradiction(self) -> float:
        """The inverse depth in 1/m below which the fit does not hold for a pixel, see depth; -inf if nobody knows."""
        if self.covariance is None:
            return -inf
        return -_CONTRADICTION * sqrt(self.noise[0] ** 2 + self.covariance[2])

    @property
    def variance(self) -> tuple[float, float, float] | None:
        """Of inverse depth q, as a, b, c in a q^2 + b q + c; None if nobody knows it, see sigma.

        It is the variance of scale * d + shift, with scale * d = q - shift, and that of a pixel's own noise.
        """
        if self.covariance is None:
            return None
        (log_scale, mixed, shift), (absolute, relative), t = self.covariance, self.noise, self.shift
        return (
            log_scale + relative**2,
            2.0 * (mixed - log_scale * t),
            (log_scale * t - 2.0 * mixed) * t + shift + absolute**2,
        )

    def sigma(self, disparity: np.ndarray) -> np.ndarray | None:
        """Standard deviation of depth in metres, float32, of the disparity's shape; None if nobody knows it.

        sigma_z = z^2 sigma_q (first order), see inverse_sigma. +Inf where depth is not finite and positive.
        """
        if self.variance is None:
            return None
        near = np.maximum(self.inverse_depth(disparity), np.float32(0.0))
        sigma = self._inverse_sigma(near)
        near *= near
        with np.errstate(divide='ignore'):
            sigma /= near
        return sigma

    def inverse_sigma(self, disparity: np.ndarray) -> np.ndarray | None:
        """Standard deviation of inverse depth in 1/m, float32, of the disparity's shape; None if nobody knows it.

        It has the fit's covariance and a single pixel's own noise. Where inverse depth is not positive, that of 0.
        """
        if self.variance is None:
            return None
        return self._inverse_sigma(np.maximum(self.inverse_depth(disparity), np.float32(0.0)))

    def _inverse_sigma(self, near: np.ndarray) -> np.ndarray:
        a, b, c = self.variance
        # In place: temporary images cost more than the arithmetic.
        variance = near * np.float32(a)
        variance += np.float32(b)
        variance *= near
        variance += np.float32(c)
        return np.sqrt(np.maximum(variance, np.finfo(np.float32).tiny))
