"""The losses of Depth Anything, masked, per image, in float32 whatever the precision around them.

Maps are (B, H, W), masks (B, H, W) bool. Each loss is the mean over all B images of a value per image. An image
without a valid pixel counts as 0, so that a batch that is split over processes has the same mean. Values under a mask
that is False may be anything, NaN too: neither they nor their gradient come through.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial, wraps
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

# Least mean absolute deviation: below, a map counts as constant (MiDaS's reference code has the same floor).
_MIN_DEVIATION = 1e-6
# A pixel is at a step if the second difference of the normalised map is more: slopes have none, however steep. What is
# within so many pixels of one is near it.
_STEP, _NEAR = 0.1, 2


def _in_float32(loss: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Run a loss without autocast on float32 (float64 stays)."""

    @wraps(loss)
    def run(*arguments: Any, **named: Any) -> Tensor:
        tensors = [x for x in (*arguments, *named.values()) if isinstance(x, Tensor)]
        with torch.autocast(tensors[0].device.type if tensors else 'cpu', enabled=False):
            return loss(*map(_widened, arguments), **{name: _widened(value) for name, value in named.items()})

    return run


def _widened(value: Any) -> Any:
    half = isinstance(value, Tensor) and value.is_floating_point() and value.itemsize < 4
    return value.float() if half else value


def _clean(values: Tensor, mask: Tensor) -> Tensor:
    # where() and not a product: 0 * NaN is NaN, in the gradient too.
    return torch.where(mask, values, 0.0)


def _check(mask: Tensor, *maps: Tensor) -> None:
    for values in maps:
        if values.shape != mask.shape or values.dim() != 3:
            raise ValueError(
                f'expected maps and masks of one shape (B, H, W), got {[tuple(m.shape) for m in (*maps, mask)]}'
            )
    if mask.dtype != torch.bool:
        raise ValueError(f'expected a mask of bool, got {mask.dtype}')


def _sorted(values: Tensor, mask: Tensor) -> Tensor:
    """(B, N) -> (B, N), the valid values in ascending order, then infinities."""
    return torch.where(mask, values, torch.inf).sort(dim=1).values


def _masked_median(values: Tensor, mask: Tensor) -> Tensor:
    """(B, N) -> (B, 1), the lower median of the valid values, 0 where there are none."""
    # By selection, which takes a fraction of what sorting does.
    known = torch.where(mask, values, torch.nan)
    return _clean(known.nanmedian(dim=1, keepdim=True).values, mask.any(1, keepdim=True))


def normalise(values: Tensor, mask: Tensor) -> Tensor:
    """Bring maps to median 0 and mean absolute deviation 1 (V1 paper, equation 3).

    d_hat = (d - t) / s with t = median(d) and s = mean |d - t|, over each image's valid pixels; s is at least 1e-6.

    Args:
        values: (B, H, W).
        mask: (B, H, W) bool.

    Returns:
        (B, H, W), 0 outside the mask.
    """
    _check(mask, values)
    flat, valid = _clean(values, mask).flatten(1), mask.flatten(1)
    centred = _clean(flat - _masked_median(flat, valid), valid)
    deviation = centred.abs().sum(1, keepdim=True) / valid.sum(1, keepdim=True).clamp(min=1)
    return (centred / deviation.clamp(min=_MIN_DEVIATION)).view_as(values)


def near_steps(values: Tensor, mask: Tensor) -> Tensor:
    """Which pixels are at outlines, where a map jumps by more than a tenth of its mean absolute deviation.

    Args:
        values: (B, H, W), what normalise makes of the map.
        mask: (B, H, W) bool; a jump counts between valid pixels alone.

    Returns:
        (B, H, W) bool: within two pixels of a jump.
    """
    steps = torch.zeros_like(mask)
    for axis in (1, 2):
        count = values.shape[axis] - 2
        if count < 1:
            continue
        before, middle, after = (values.narrow(axis, start, count) for start in range(3))
        known = mask.narrow(axis, 0, count) & mask.narrow(axis, 1, count) & mask.narrow(axis, 2, count)
        steps.narrow(axis, 1, count).logical_or_(((before + after - 2 * middle).abs() > _STEP) & known)
    return F.max_pool2d(steps[:, None].float(), 2 * _NEAR + 1, stride=1, padding=_NEAR)[:, 0] > 0


def _per_image_affine_invariant(
    prediction: Tensor, target: Tensor, mask: Tensor, trim: float, edge_weight: float = 0.0
) -> Tensor:
    if not 0 <= trim < 1:
        raise ValueError(f'trim must be in [0, 1), got {trim}')
    if edge_weight and trim:
        raise ValueError(f'edge_weight must be 0 with a trim, got {edge_weight} with {trim}')
    expected = normalise(target, mask)
    residual = (normalise(prediction, mask) - expected).abs().flatten(1)
    if not trim:
        return _weighted_mean(residual, _weights(expected, mask, edge_weight, normalised=True)).squeeze(1)
    valid = mask.flatten(1)
    count = valid.sum(1, keepdim=True)
    kept = count - (count.double() * trim).floor().long()
    chosen = torch.arange(residual.shape[1], device=residual.device) < kept
    return _clean(_sorted(residual, valid), chosen).sum(1) / kept.clamp(min=1).squeeze(1)


@_in_float32
def affine_invariant_loss(
    prediction: Tensor, target: Tensor, mask: Tensor, trim: float = 0.0, edge_weight: float = 0.0
) -> Tensor:
    """Mean absolute error after both maps were normalised (V1 paper, equations 1 to 3).

    L = mean_i |d_hat_i - d_hat*_i|, without the floor(trim * n) largest residuals of each image's n valid pixels (V2
    paper, section 5.2: the largest 10 % of pseudo-labels' losses are ignored).

    Args:
        prediction: (B, H, W) disparity, of any scale and shift.
        target: (B, H, W) disparity, of any other scale and shift.
        mask: (B, H, W) bool, where the target is known.
        trim: fraction of each image's valid pixels to leave out, 0 to less than 1.
        edge_weight: how much more a pixel counts that is near_steps of the target, 0 for not more; of no paper.

    Returns:
        Scalar.

    Raises:
        ValueError: shapes, the mask's type or trim do not fit, or both trim and edge_weight are given.
    """
    return _per_image_affine_invariant(prediction, target, mask, trim, edge_weight).mean()


@_in_float32
def correlation_loss(prediction: Tensor, target: Tensor, mask: Tensor, edge_weight: float = 0.0) -> Tensor:
    """Root mean square error after both maps were brought to mean 0 and standard deviation 1; of neither paper.

    L = sqrt(mean_i (d_hat_i - d_hat*_i)^2) = sqrt(2 - 2 r), r the correlation of the maps over an image's valid pixels.
    What least squares (MiDaS, arXiv 1907.01341, equation 5) leave of the target's deviation is sqrt(1 - r^2), so it has
    the same minimum; but an inverted map, which a fit of any sign would make a good one, has the largest loss, 2. Where
    the network cannot know, it learns the mean of what may be there and not the median: of disparity that is nearer.

    Args:
        prediction: (B, H, W) disparity, of any scale and shift.
        target: (B, H, W) disparity, of any other scale and shift.
        mask: (B, H, W) bool, where the target is known.
        edge_weight: as of affine_invariant_loss.

    Returns:
        Scalar.

    Raises:
        ValueError: shapes, the mask's type or edge_weight do not fit.
    """
    _check(mask, prediction, target)
    weight = _weights(target, mask, edge_weight)
    residual = _standardised(prediction, weight, mask) - _standardised(target, weight, mask)
    square = _weighted_mean(residual.square(), weight).squeeze(1)
    return _root(square).mean()


def _standardised(values: Tensor, weight: Tensor, mask: Tensor) -> Tensor:
    """(B, H, W) -> (B, N) of weighted mean 0 and deviation 1."""
    flat = _clean(values, mask).flatten(1)
    centred = flat - _weighted_mean(flat, weight)
    return centred / _root(_weighted_mean(centred.square(), weight)).clamp(min=_MIN_DEVIATION)


def _weighted_mean(values: Tensor, weight: Tensor) -> Tensor:
    """(B, N) -> (B, 1), 0 where nothing has a weight."""
    return (values * weight).sum(1, keepdim=True) / weight.sum(1, keepdim=True).clamp(min=1)


def _root(square: Tensor) -> Tensor:
    """The square root, 0 without a gradient where there is nothing: its own is infinite at 0."""
    positive = square > 1e-12
    return _clean(torch.where(positive, square, torch.ones_like(square)).sqrt(), positive)


def _weights(target: Tensor, mask: Tensor, edge_weight: float, *, normalised: bool = False) -> Tensor:
    """(B, H, W) -> (B, N), how much each of a target's pixels counts; normalised: it is what normalise makes of one."""
    if not edge_weight >= 0:
        raise ValueError(f'edge_weight must be at least 0, got {edge_weight}')
    valid = mask.flatten(1).to(target.dtype)
    if not edge_weight:
        return valid
    steps = near_steps(target if normalised else normalise(target, mask), mask)
    return valid * (1 + edge_weight * steps.flatten(1))


def _per_image_gradient_matching(prediction: Tensor, target: Tensor, mask: Tensor, scales: int) -> Tensor:
    if scales < 1:
        raise ValueError(f'scales must be at least 1, got {scales}')
    residual = normalise(prediction, mask) - normalise(target, mask)
    total = residual.new_zeros(len(residual))
    for scale in range(scales):
        r, m = residual[:, :: 2**scale, :: 2**scale], mask[:, :: 2**scale, :: 2**scale]
        across = _clean((r[:, :, 1:] - r[:, :, :-1]).abs(), m[:, :, 1:] & m[:, :, :-1]).flatten(1).sum(1)
        down = _clean((r[:, 1:] - r[:, :-1]).abs(), m[:, 1:] & m[:, :-1]).flatten(1).sum(1)
        total = total + (across + down) / m.flatten(1).sum(1).clamp(min=1)
    return total


@_in_float32
def gradient_matching_loss(prediction: Tensor, target: Tensor, mask: Tensor, scales: int = 4) -> Tensor:
    """Multi-scale gradient matching (MiDaS, arXiv 1907.01341, equation 11).

    L = sum_k 1/M_k sum_i |dx R_i| + |dy R_i| with R = d_hat - d_hat*, at scale k of every 2^k-th pixel, with M_k
    valid ones. A difference counts where both neighbours are valid.

    Args:
        prediction: (B, H, W) disparity.
        target: (B, H, W) disparity.
        mask: (B, H, W) bool.
        scales: number K of scales, at least 1.

    Returns:
        Scalar.

    Raises:
        ValueError: shapes, the mask's type or scales do not fit.
    """
    return _per_image_gradient_matching(prediction, target, mask, scales).mean()


@_in_float32
def cutmix_loss(
    prediction: Tensor,
    target_a: Tensor,
    target_b: Tensor,
    box_mask: Tensor,
    mask_a: Tensor,
    mask_b: Tensor,
    trim: float = 0.0,
) -> Tensor:
    """Affine-invariant loss of a CutMix image, apart in its two regions (V1 paper, equations 6 to 8).

    L = |M| / HW * L^M(prediction, a) + (1 - |M| / HW) * L^(1-M)(prediction, b), the box M of a pasted into b.

    Args:
        prediction: (B, H, W) of the mixed images.
        target_a: (B, H, W) disparity inside the box.
        target_b: (B, H, W) disparity outside it.
        box_mask: (B, H, W) bool, the box M. Empty: the image is not mixed.
        mask_a: (B, H, W) bool, where target_a is known.
        mask_b: (B, H, W) bool, where target_b is known.
        trim: as in affine_invariant_loss, in each region.

    Returns:
        Scalar.

    Raises:
        ValueError: shapes, a mask's type or trim do not fit.
    """
    loss = partial(_per_image_affine_invariant, trim=trim)
    return _by_region(loss, prediction, target_a, target_b, box_mask, mask_a, mask_b)


@_in_float32
def cutmix_gradient_matching_loss(
    prediction: Tensor,
    target_a: Tensor,
    target_b: Tensor,
    box_mask: Tensor,
    mask_a: Tensor,
    mask_b: Tensor,
    scales: int = 4,
) -> Tensor:
    """Gradient matching of a CutMix image, apart in its two regions as cutmix_loss is; of neither paper.

    No difference across the border of the box counts, where the target jumps from one image to another.

    Args and errors: as of cutmix_loss; scales: as of gradient_matching_loss.

    Returns:
        Scalar.
    """
    loss = partial(_per_image_gradient_matching, scales=scales)
    return _by_region(loss, prediction, target_a, target_b, box_mask, mask_a, mask_b)


def _by_region(
    loss: Callable[[Tensor, Tensor, Tensor], Tensor],
    prediction: Tensor,
    target_a: Tensor,
    target_b: Tensor,
    box_mask: Tensor,
    mask_a: Tensor,
    mask_b: Tensor,
) -> Tensor:
    """The mean over the images of a loss (B,) of each region apart, weighted by the region's area."""
    _check(box_mask, prediction, target_a, target_b, mask_a, mask_b)
    inside = loss(prediction, target_a, mask_a & box_mask)
    outside = loss(prediction, target_b, mask_b & ~box_mask)
    area = box_mask.flatten(1).to(inside.dtype).mean(1)
    return (area * inside + (1 - area) * outside).mean()


@_in_float32
def feature_alignment_loss(student: Tensor, frozen: Tensor, margin: float = 0.85) -> Tensor:
    """Keep the student's features near those of the frozen encoder (V1 paper, equation 9).

    L = 1 - mean_i cos(f_i, f'_i) over the patches whose cosine is not above the margin; 0 where all are above it.

    Args:
        student: (B, N, C) features of N patches.
        frozen: (B, N, C); no gradient goes into them.
        margin: cosine above which a patch is let alone.

    Returns:
        Scalar.

    Raises:
        ValueError: the shapes differ.
    """
    if student.shape != frozen.shape or student.dim() != 3:
        raise ValueError(f'expected two features (B, N, C), got {tuple(student.shape)} and {tuple(frozen.shape)}')
    cosine = F.cosine_similarity(student, frozen.detach(), dim=2)
    counted = cosine <= margin
    return (_clean(1 - cosine, counted).sum(1) / counted.sum(1).clamp(min=1)).mean()


@_in_float32
def silog_loss(prediction: Tensor, target: Tensor, mask: Tensor, lambd: float = 0.5) -> Tensor:
    """Scale-invariant logarithmic loss of metric depth (Eigen et al. 2014, in the root form of V2's metric training).

    L = sqrt(mean g^2 - lambd * mean(g)^2), g = log d* - log d over an image's valid pixels. V2's code pools the
    pixels of n = 4 images, a GPU's batch: an error of an image's scale counts here with 1 - lambd of its square, there,
    where such errors are independent, with 1 - lambd / n.

    Args:
        prediction: (B, H, W) metres; raised to 1e-6 where it is less.
        target: (B, H, W) metres, positive where the mask is true.
        mask: (B, H, W) bool.
        lambd: weight of the scale's part, 0 to 1.

    Returns:
        Scalar.

    Raises:
        ValueError: shapes, the mask's type or lambd do not fit.
    """
    _check(mask, prediction, target)
    if not 0 <= lambd <= 1:
        raise ValueError(f'lambd must be in [0, 1], got {lambd}')
    ones = torch.ones_like(prediction)
    logs = torch.where(mask, target, ones).log() - torch.where(mask, prediction, ones).clamp(min=1e-6).log()
    count = mask.flatten(1).sum(1).clamp(min=1)
    mean, square = logs.flatten(1).sum(1) / count, logs.square().flatten(1).sum(1) / count
    # 0: a perfect image, or one without a valid pixel.
    return _root(square - lambd * mean.square()).mean()
