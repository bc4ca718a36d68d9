"""What is measured: depth against truth, pairs of points, edges, and how still a sequence is.

Everything is of one image and computed in float64. What is reported of a data set is the mean over its images, never
over the pixels of all of them (V1 and V2 papers; MiDaS, arXiv 1907.01341, section 6).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

HIGHER_IS_BETTER = frozenset({'delta1', 'delta2', 'delta3', 'boundary_f1', 'da2k'})
"""The metrics of which more is better; of all others less is."""

# Eigen et al. 2014 (arXiv 1406.2283), section 4.2: delta_n counts the pixels that are off by less than 1.25^n.
_DELTA = 1.25
# A float32 prediction does not tell smaller differences, relative to its values, from rounding.
_LEAST_SPREAD = 1e-6
# Depth Pro (arXiv 2410.02073), section 3.2 and its released evaluation: ratios of 1.05 to 1.25 in 10 steps.
_EDGE_RATIOS = np.linspace(1.05, 1.25, 10)


class ScaleShift(NamedTuple):
    """1 / depth = scale * prediction + shift; in 1/m per unit of the prediction, and 1/m."""

    scale: float
    shift: float

    @property
    def inverted(self) -> bool:
        """Whether the prediction falls where the truth is nearer: it is no disparity, whatever the fit's residuals."""
        return self.scale < 0.0


class ConstantPredictionError(ValueError):
    """The prediction has one value: no scale can be told."""


def align_disparity(prediction: Any, depth: Any, mask: Any) -> ScaleShift:
    """Least squares of scale * prediction + shift = 1 / depth over an image's valid pixels, in float64.

    MiDaS, section 6; the first author of Depth Anything confirms the equation (issue 157 of the V2 repository).

    Args:
        prediction: relative inverse depth, larger is nearer, (H, W) or (N,).
        depth: metres, of its shape.
        mask: bool, of its shape: which pixels count. There, the prediction is finite and the depth finite and positive.

    Returns:
        The best scale and shift, as they come: a negative scale means that the prediction is inverted (`inverted`).

    Raises:
        ConstantPredictionError: all predictions are equal.
        ValueError: fewer than two valid pixels, values in the mask that are none, or shapes that do not fit.
    """
    p, g = _valid(prediction, depth, mask)
    if p.size < 2:
        raise ValueError(f'scale and shift need at least 2 valid pixels, got {p.size}')
    target = 1.0 / g
    # Centred, so that a large offset of the prediction cancels nothing.
    centre, level = p.mean(), target.mean()
    x = p - centre
    power = float(x @ x)
    if not np.sqrt(power / p.size) > _LEAST_SPREAD * np.abs(p).max():
        raise ConstantPredictionError(f'the prediction is {centre:.6g} at all {p.size} valid pixels: it has no scale')
    scale = float(x @ (target - level)) / power
    return ScaleShift(scale, float(level - scale * centre))


def depth_metrics(prediction: Any, depth: Any, mask: Any) -> dict[str, float]:
    """The errors of one image's depth, d, against the truth, g.

    Args:
        prediction: metres, aligned and clipped if the protocol says so, (H, W) or (N,).
        depth: metres, of its shape.
        mask: bool, of its shape: which pixels count. There, both are finite and positive.

    Returns:
        With l = ln d - ln g, means over the image's valid pixels:

        abs_rel: mean of |d - g| / g. sq_rel: mean of (d - g)^2 / g, m. rmse: m. rmse_log: sqrt(mean l^2).
        log10: mean of |log10 d - log10 g|. delta1, delta2, delta3: share with max(d / g, g / d) < 1.25^n, all of
        Eigen et al. 2014.
        silog: 100 * sqrt(mean l^2 - (mean l)^2), as KITTI's benchmark and ZoeDepth have it. (The loss of V2's metric
        training, which weighs the second term by a half and has no factor 100, is another number.)

    Raises:
        ValueError: no valid pixel, values in the mask that are none, or shapes that do not fit.
    """
    d, g = _valid(prediction, depth, mask)
    if not d.size:
        raise ValueError('there is no valid pixel')
    if d.min() <= 0.0:
        raise ValueError(f'the predicted depth is {d.min():.4g} m at a valid pixel: clip it first')
    error, log_error = d - g, np.log(d) - np.log(g)
    ratio = np.maximum(d / g, g / d)
    return {
        'abs_rel': float(np.mean(np.abs(error) / g)),
        'sq_rel': float(np.mean(error**2 / g)),
        'rmse': float(np.sqrt(np.mean(error**2))),
        'rmse_log': float(np.sqrt(np.mean(log_error**2))),
        'log10': float(np.mean(np.abs(log_error)) / np.log(10.0)),
        # The variance of l, which unlike the difference of the two squares cannot round to below zero.
        'silog': float(100.0 * np.std(log_error)),
        **{f'delta{n}': float(np.mean(ratio < _DELTA**n)) for n in (1, 2, 3)},
    }


def da2k_accuracy(nearness: Any, pairs: Sequence[Sequence[int]] | np.ndarray) -> float:
    """The share of an image's pairs of points of which the nearer is predicted to be nearer (V2 paper, section 6).

    In DA-2K the first point of each pair is the nearer one, always: a rule that breaks ties could score anything. So a
    tie is wrong, as is a value that is not finite; a constant prediction and an inverted one score 0.

    Args:
        nearness: (H, W), larger is nearer: relative inverse depth, or 1 / depth.
        pairs: (N, 4): row and column of the nearer point, row and column of the farther.

    Raises:
        ValueError: no pairs, or points outside the image.
    """
    values, points = np.asarray(nearness), np.asarray(pairs)
    if points.ndim != 2 or points.shape[1] != 4 or not len(points):
        raise ValueError(f'expected pairs (N, 4) of row, column, row, column, got shape {points.shape}')
    if values.ndim != 2:
        raise ValueError(f'expected the nearness of one image (H, W), got shape {values.shape}')
    rows, columns = points[:, 0::2].astype(np.int64), points[:, 1::2].astype(np.int64)
    height, width = values.shape
    if min(rows.min(), columns.min()) < 0 or rows.max() >= height or columns.max() >= width:
        raise ValueError(
            f'a point lies outside the image of {height} rows and {width} columns: points are (row, column)'
        )
    nearer, farther = values[rows, columns].astype(np.float64).T
    return float(np.mean((nearer > farther) & np.isfinite(nearer) & np.isfinite(farther)))


def boundary_f1(prediction: Any, depth: Any, mask: Any) -> float | None:
    """How well the depth edges of one image lie where the true ones are, 0 to 1: sharpness and place together.

    Depth Pro (arXiv 2410.02073), section 3.2: two neighbouring pixels are an edge if one is farther than the other by
    more than a ratio t. F1 of the predicted edges against the true ones of the same direction, over both axes; its mean
    over t of 1.05 to 1.25, weighted by t. A blurred step is spread over pixels whose ratios are small, a displaced one
    hits none. Ratios of depth do not depend on a scale, but do on a shift of the disparity: so the prediction is
    aligned depth. Where one of the two pixels is not valid there is no edge; a t at which the truth has none does not
    count.

    Args:
        prediction: metres, (H, W), aligned and positive in the mask.
        depth: metres, (H, W), dense: between sparse points there are no neighbours.
        mask: bool, (H, W).

    Returns:
        None if the truth has no edges.

    Raises:
        ValueError: values in the mask that are none, or shapes that do not fit.
    """
    _valid(prediction, depth, mask)
    predicted, true = zip(*(_steps(prediction, depth, mask, axis) for axis in (0, 1)), strict=True)
    p, g = np.concatenate(predicted), np.concatenate(true)
    total = weights = 0.0
    for ratio in _EDGE_RATIOS:
        step = np.log(ratio)
        edges = np.count_nonzero(np.abs(g) > step)
        if edges:
            hit = np.count_nonzero(((p > step) & (g > step)) | ((p < -step) & (g < -step)))
            total += float(ratio) * 2.0 * hit / (edges + np.count_nonzero(np.abs(p) > step))
            weights += float(ratio)
    return total / weights if weights else None


def flicker(before: np.ndarray, after: np.ndarray) -> dict[str, float]:
    """How much the depth of a sequence changes from one frame to the next where the world does not ask for it.

    The truth's own change is taken out, so the camera and the scene may move, and neither poses nor optical flow are
    needed. The later frame must be made metric with the alignment of the EARLIER one, as a robot would that aligned
    once: a fit of its own would hide that a relative prediction's scale or shift has jumped.

    Limits: what moves at a pixel is compared with what was there before, so along moving edges the difference of two
    errors counts as flicker, and noise of the truth does everywhere. A constant never flickers: read it beside abs_rel.

    Args:
        before, after: ln(depth / truth) of the two frames, (H, W), NaN where there is no truth; or (N,), (M,) at the
            pixels of sparse truth, which are not the same ones.

    Returns:
        flicker: mean over the pixels with truth in both frames of |after - before| (0.01 is 1 %); not of sparse truth.
        flicker_scale: |median(after) - median(before)|: the part of it that all pixels share.
    """
    medians = [float(np.median(values[np.isfinite(values)])) for values in (before, after)]
    result = {'flicker_scale': abs(medians[1] - medians[0])}
    if before.ndim == 2 and before.shape == after.shape:
        change = np.abs(after - before)
        if (both := np.isfinite(change)).any():
            result['flicker'] = float(change[both].mean())
    return result


def _steps(prediction: Any, depth: Any, mask: Any, axis: int) -> tuple[np.ndarray, np.ndarray]:
    """ln of the ratio of neighbours along an axis, predicted and true, where one of them may be an edge."""
    mask = np.asarray(mask)
    first, second = (slice(None),) * axis + (slice(None, -1),), (slice(None),) * axis + (slice(1, None),)
    both = mask[first] & mask[second]
    steps = []
    for values in (prediction, depth):
        values = np.asarray(values)  # noqa: PLW2901
        steps.append(np.log(values[second][both].astype(np.float64)) - np.log(values[first][both].astype(np.float64)))
    least = np.log(_EDGE_RATIOS[0])
    may_be = (np.abs(steps[0]) > least) | (np.abs(steps[1]) > least)
    return steps[0][may_be], steps[1][may_be]


def _valid(prediction: Any, depth: Any, mask: Any) -> tuple[np.ndarray, np.ndarray]:
    """The values in the mask, float64 (N,); ValueError if something is amiss."""
    prediction, depth, mask = np.asarray(prediction), np.asarray(depth), np.asarray(mask)
    if not prediction.shape == depth.shape == mask.shape or prediction.ndim not in (1, 2):
        raise ValueError(
            'prediction, depth and mask must have one shape, (H, W) of one image or (N,), got '
            f'{prediction.shape}, {depth.shape} and {mask.shape}'
        )
    if mask.dtype != bool:
        raise ValueError(f'the mask must be bool, got {mask.dtype}')
    p, g = prediction[mask].astype(np.float64), depth[mask].astype(np.float64)
    if not np.isfinite(p).all():
        raise ValueError(f'the prediction is not finite at {np.count_nonzero(~np.isfinite(p))} valid pixels')
    wrong = ~(np.isfinite(g) & (g > 0.0))
    if wrong.any():
        raise ValueError(f'the depth is not finite and positive at {np.count_nonzero(wrong)} pixels of the mask')
    return p, g
