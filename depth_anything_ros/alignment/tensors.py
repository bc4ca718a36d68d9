"""What an alignment says of each pixel, on tensors of any device."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from depth_anything_ros.alignment.alignment import Alignment

_CONSTANTS = 6  # and after them the field's coefficients


def alignment_numbers(alignment: Alignment) -> Sequence[float]:
    """What the functions here need of an alignment, to be had as a float32 tensor where they work."""
    variance = alignment.variance or (0.0, 0.0, 0.0)
    return (alignment.scale, alignment.shift, alignment.contradiction, *variance, *alignment.field)


def inverse_depth(disparity: torch.Tensor, numbers: torch.Tensor, basis: torch.Tensor | None = None) -> torch.Tensor:
    """As Alignment.inverse_depth, of an image (H, W); basis (terms, H, W): the field's, see basis_over_image."""
    scale = numbers[0]
    if basis is not None:
        scale = scale * (1.0 + (numbers[_CONSTANTS:, None, None] * basis).sum(0))
    return disparity * scale + numbers[1]


def depth_of_inverse(inverse: torch.Tensor, numbers: torch.Tensor) -> torch.Tensor:
    """As Alignment.depth, of inverse depth in 1/m."""
    return inverse.clamp_min(0.0).reciprocal().masked_fill_(inverse < numbers[2], torch.nan)


def sigma_of_inverse(inverse: torch.Tensor, numbers: torch.Tensor) -> torch.Tensor:
    """As Alignment.sigma, of inverse depth in 1/m; the alignment must know its variance."""
    near = inverse.clamp_min(0.0)
    return _inverse_sigma(near, numbers) / (near * near)


def inverse_sigma_of_inverse(inverse: torch.Tensor, numbers: torch.Tensor) -> torch.Tensor:
    """As Alignment.inverse_sigma, of inverse depth in 1/m; the alignment must know its variance."""
    return _inverse_sigma(inverse.clamp_min(0.0), numbers)


def _inverse_sigma(near: torch.Tensor, numbers: torch.Tensor) -> torch.Tensor:
    variance = (near * numbers[3] + numbers[4]) * near + numbers[5]
    return variance.clamp_min(torch.finfo(torch.float32).tiny).sqrt()
