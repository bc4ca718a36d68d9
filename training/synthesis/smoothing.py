"""Averages over neighbours on the same surface."""

from __future__ import annotations

import numpy as np


def smooth_over_surfaces(values: np.ndarray, normals: np.ndarray, inverse: np.ndarray) -> np.ndarray:
    """Mean of values over 5 x 5 pixels, of those on the same surface only.

    Args:
        values: (H, W, C) float32.
        normals: (H, W, 3) unit normals, 0 where there is no surface.
        inverse: (H, W) inverse distance along the ray, which a plane makes nearly linear in the picture.
    """
    for axis in (0, 1):
        total, weight = values.copy(), np.ones(inverse.shape, np.float32)
        for shift in (-2, -1, 1, 2):
            here, there = _overlap(shift, axis)
            alike = np.einsum('ijk,ijk->ij', normals[here], normals[there]) > 0.95
            near = np.abs(inverse[here] - inverse[there]) < 0.04 * abs(shift) * inverse[here]
            same = (alike & near).astype(np.float32)
            total[here] += values[there] * same[..., None]
            weight[here] += same
        values = total / weight[..., None]
    return values


def _overlap(shift: int, axis: int) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """The pixels that have a neighbour `shift` further along an axis, and those neighbours."""
    near = slice(max(0, -shift), None if shift <= 0 else -shift)
    far = slice(max(0, shift), None if shift >= 0 else shift)
    return ((near, slice(None)), (far, slice(None))) if axis == 0 else ((slice(None), near), (slice(None), far))
