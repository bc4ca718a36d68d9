"""Marks, rectification, points and pictures on tensors of any device, by the rules of the functions on arrays.

Nothing here waits for the device, and all shapes follow from those of the arguments, so that it can be captured as a
CUDA graph.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

from depth_anything_ros.geometry.colorize import SAMPLED
from depth_anything_ros.geometry.depth import check_limits
from depth_anything_ros.geometry.rectify import DepthRectifier


def edge_mask(depth: torch.Tensor, threshold: float) -> torch.Tensor:
    """As geometry.edge_mask: bool (H, W)."""
    nothing = ~(depth > 0)
    farthest = _largest_neighbour(depth.masked_fill(nothing, 0.0))
    # The largest of the negatives is the negative of the nearest.
    nearest = _largest_neighbour((-depth).masked_fill_(nothing, -torch.inf))
    ratio = 1.0 + threshold
    return ~nothing & ((farthest > ratio * depth) | (depth > -ratio * nearest))


def mark_depth(depth: torch.Tensor, min_m: float, max_m: float, edge_threshold: float = 0.0) -> torch.Tensor:
    """As geometry.mark_depth: float32 (H, W)."""
    check_limits(min_m, max_m, edge_threshold)
    invalid = ~(depth > 0) & (depth != -torch.inf)
    if edge_threshold > 0:
        invalid |= edge_mask(depth, edge_threshold) & (depth < torch.inf)
    marked = depth.masked_fill(depth < min_m, -torch.inf)
    return marked.masked_fill_(depth > max_m, torch.inf).masked_fill_(invalid, torch.nan)


def marked_sigma(sigma: torch.Tensor, depth: torch.Tensor) -> torch.Tensor:
    """The standard deviation of depth, (H, W), with NaN where marked depth is not finite."""
    return sigma.masked_fill(~torch.isfinite(depth), torch.nan)


def rectifier_maps(
    rectifier: DepthRectifier, height: int, width: int, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    """Where in memory each rectified pixel comes from, int64 (H, W), and rectified over raw Z, 0 where from nowhere."""
    pixels, scale = rectifier.maps(height, width)
    inside = pixels[..., 0] >= 0
    sources = np.where(inside, pixels[..., 1].astype(np.int64) * width + pixels[..., 0], 0)
    return torch.tensor(sources, device=device), torch.tensor(np.where(inside, scale, np.float32(0.0)), device=device)


def rectified(values: torch.Tensor, sources: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """As DepthRectifier, of an image (H, W); sources and scale: its rectifier_maps."""
    return (values.take(sources) * scale).masked_fill_(scale == 0, torch.nan)


def backproject(depth: torch.Tensor, rays: torch.Tensor) -> torch.Tensor:
    """Points (H, W, 3) in metres, of depth (H, W) along rays (H, W, 3) with z = 1; NaN where there is none."""
    seen = depth.masked_fill(~((depth > 0) & (depth < torch.inf)), torch.nan)
    return seen[..., None] * rays


def compacted(rows: torch.Tensor, kept: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The rows (N, C) that are kept, bool (N,), first and in their order, then zeros; and how many, int32 (1,)."""
    number = kept.cumsum(0)
    found = rows.new_zeros(len(rows) + 1, rows.shape[1])
    # All that is not kept goes into the last row, which goes away.
    found[(number - 1).masked_fill_(~kept, len(rows))] = rows
    return found[:-1], number[-1:].int()


def colorize(nearness: torch.Tensor, palette: torch.Tensor, percentiles: torch.Tensor) -> torch.Tensor:
    """As geometry.colorize, without limits: uint8 (H, W, 3) in the palette's (256, 3) order of colours.

    percentiles: those that the colours span, as fractions.
    """
    finite = torch.isfinite(nearness)
    sample = nearness[::SAMPLED, ::SAMPLED].masked_fill(~finite[::SAMPLED, ::SAMPLED], torch.nan)
    low, high = torch.nanquantile(sample.flatten(), percentiles)
    scaled = (nearness - low) * (255.0 / (high - low).clamp_min(1e-9))
    gray = scaled.clamp(0.0, 255.0).masked_fill_(~finite, 0.0).int()
    colored = palette.index_select(0, gray.flatten()).view(*gray.shape, 3)
    return colored.masked_fill_(~finite[..., None], 0)


def resized(pixels: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """An image uint8 (h, w, 3) in another size, by linear interpolation: uint8 (H, W, 3)."""
    image = F.interpolate(pixels.permute(2, 0, 1)[None].float(), size=size, mode='bilinear', align_corners=False)
    return image[0].permute(1, 2, 0).round().to(torch.uint8)


def _largest_neighbour(values: torch.Tensor) -> torch.Tensor:
    """The largest of each pixel of (H, W) and its 8 neighbours, without NaN."""
    return F.max_pool2d(values[None], 3, stride=1, padding=1)[0]
