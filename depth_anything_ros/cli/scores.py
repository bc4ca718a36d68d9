"""How far depth is from the truth: of one frame, and of many."""

from __future__ import annotations

from dataclasses import dataclass
from math import nan

import numpy as np

from depth_anything_ros.alignment import Samples

# Eigen et al. 2014, section 4.2: the share of pixels whose depth is off by less than this factor.
_DELTA = 1.25
_CONVEX_ITERATIONS, _ITERATIONS = 10, 50
# No residual weighs more than one of this size, a fraction of the depth.
_LEAST_RESIDUAL = 1e-4
# Relative; float32 does not tell smaller differences apart.
_LEAST_SPREAD = 1e-7
# In the search for the best fit, no prediction counts as farther than this many times the truth.
_FARTHEST = 20.0


@dataclass(frozen=True)
class Truth:
    """Depths at pixels of a frame: rows, columns and depth_m are (N,), inside the image, finite, in metres."""

    rows: np.ndarray
    columns: np.ndarray
    depth_m: np.ndarray

    @classmethod
    def from_samples(cls, samples: Samples, shape: tuple[int, int], min_m: float, max_m: float) -> Truth:
        """Those samples that lie in an image of this (height, width), between min_m and max_m."""
        rows, columns, inside = samples.in_image(shape)
        depth = np.asarray(samples.depth_m, np.float64)[inside]
        with np.errstate(invalid='ignore'):
            usable = (depth > 0.0) & (depth >= min_m) & (depth <= max_m)
        return cls(rows[usable], columns[usable], depth[usable])

    def at(self, image: np.ndarray) -> np.ndarray:
        """The values of an image (H, W) at the pixels: float64 (N,)."""
        return image[self.rows, self.columns].astype(np.float64)


@dataclass(frozen=True)
class Score:
    """How far a depth is from the truth.

    samples: how many there are. seen: at how many of them the depth is finite and positive. The others count against
    delta1 and the median, and are left out of abs_rel.
    abs_rel, median: of |z - truth| / truth. delta1: share with max(z / truth, truth / z) < 1.25.
    within_1_sigma, within_2_sigma: share of those seen whose error is at most one, or two, standard deviations; NaN
    where nobody knows those.
    """

    samples: int = 0
    seen: int = 0
    abs_rel: float = nan
    delta1: float = nan
    median: float = nan
    within_1_sigma: float = nan
    within_2_sigma: float = nan

    @classmethod
    def of(cls, depth: np.ndarray, truth: np.ndarray, sigma: np.ndarray | None = None) -> Score:
        """Compare depth (N,) and its standard deviation with the truth (N,), all in metres."""
        if not truth.size:
            return NO_SCORE
        error = relative_error(depth, truth)
        seen = np.isfinite(error)
        with np.errstate(divide='ignore', invalid='ignore'):
            ratio = np.where(seen, np.maximum(depth / truth, truth / depth), np.inf)
        return cls(
            samples=truth.size,
            seen=int(np.count_nonzero(seen)),
            abs_rel=_mean(error[seen]),
            delta1=float(np.mean(ratio < _DELTA)),
            median=float(np.median(error)),
            within_1_sigma=nan if sigma is None else _share_within(depth[seen], truth[seen], sigma[seen], 1.0),
            within_2_sigma=nan if sigma is None else _share_within(depth[seen], truth[seen], sigma[seen], 2.0),
        )


NO_SCORE = Score()
"""Of a frame without truth."""


def relative_error(depth: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """|depth - truth| / truth, of one shape; infinite where the depth is not finite and positive."""
    with np.errstate(invalid='ignore'):
        known = (depth > 0.0) & (depth < np.inf)
        return np.where(known, np.abs(depth - truth) / truth, np.inf)


def hindsight(disparity: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    """The scale and the shift that leave the least mean relative error of depth: what an alignment is measured by.

    disparity, truth: (N,), finite, truth in metres. Iteratively reweighted least squares: first of |q - 1| with
    q = truth * (scale * disparity + shift), which is convex, then of the relative error |1/q - 1| itself, linearised.
    """
    # Columns of one size, centred, so that nothing cancels.
    centre, spread = float(np.mean(disparity)), float(np.std(disparity))
    if not spread > _LEAST_SPREAD * abs(centre):
        spread = 1.0
    design = np.stack([(disparity - centre) / spread * truth, truth], axis=1)
    solution = np.array([0.0, 1.0 / float(np.median(truth))])
    best, least = solution, np.inf
    for iteration in range(_ITERATIONS):
        q = np.clip(design @ solution, 1.0 / _FARTHEST, _FARTHEST)
        error = np.abs(1.0 / q - 1.0)
        if error.mean() < least:
            best, least = solution, error.mean()
        if iteration < _CONVEX_ITERATIONS:
            solution = _least_squares(design, 1.0, 1.0 / np.maximum(np.abs(q - 1.0), _LEAST_RESIDUAL))
        else:
            # 1/q = (2 p - q) / p^2 near p. Half a step, since that is not far.
            linearised = _least_squares(design, q * (2.0 - q), q**-4 / np.maximum(error, _LEAST_RESIDUAL))
            solution = 0.5 * (solution + linearised)
    scale = float(best[0]) / spread
    return scale, float(best[1]) - scale * centre


def _least_squares(design: np.ndarray, target: np.ndarray | float, weight: np.ndarray) -> np.ndarray:
    weighted = design * weight[:, None]
    # At one disparity the normal equations have no single solution; the least one is as good as any.
    return np.linalg.lstsq(weighted.T @ design, (weighted * np.reshape(target, (-1, 1))).sum(axis=0), rcond=None)[0]


def _mean(values: np.ndarray) -> float:
    return float(np.mean(values)) if values.size else nan


def _share_within(depth: np.ndarray, truth: np.ndarray, sigma: np.ndarray, factor: float) -> float:
    with np.errstate(invalid='ignore'):
        return _mean(np.abs(depth - truth) <= factor * sigma)
