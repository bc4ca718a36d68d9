"""What messages hold, on tensors of any device: bits, in the integers that torch computes with."""

from __future__ import annotations

import torch

from depth_anything_ros.messages.outgoing import MAX_MILLIMETRES


def depth_to_millimetres(depth: torch.Tensor) -> torch.Tensor:
    """As messages.depth_to_millimetres: the bits of uint16 (H, W), as int16."""
    rounded = depth * 1000.0 + 0.5
    valid = (rounded >= 1.0) & (depth <= MAX_MILLIMETRES / 1000)
    return rounded.masked_fill_(~valid, 0.0).int().short()


def pack_points(points: torch.Tensor, pixels: torch.Tensor | None) -> torch.Tensor:
    """As messages.pack_points, of points (H, W, 3) and the pixels, uint8 RGB, that colour them: the bits of float32.

    int32 (H, W, 4), or (H, W, 3) without pixels.
    """
    bits = points.view(torch.int32)
    if pixels is None:
        return bits
    red, green, blue = pixels.int().unbind(-1)
    return torch.cat([bits, ((red << 16) | (green << 8) | blue)[..., None]], dim=-1)
