"""Sparse measurements, such as those of a LiDAR, as depth maps."""

from __future__ import annotations

import numpy as np


def lies_in(points: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """(N,) bool: which points (N, 3), column and row first, are in a pixel where the mask (H, W) is True."""
    height, width = mask.shape
    column, row = np.rint(points[:, :2]).T
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    inside[inside] = mask[row[inside].astype(np.intp), column[inside].astype(np.intp)]
    return inside


def rasterise(points: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Points as a sparse depth map.

    Args:
        points: (N, 3): column and row in pixels (0 is the centre of the first), depth in metres. Those that are not
            finite, not in front of the camera or outside are left out.
        size: height and width.

    Returns:
        (H, W) float32, in each pixel the nearest depth, NaN where there is none.
    """
    points = points[(points[:, 2] > 0) & lies_in(points, np.ones(size, bool))]
    column, row = np.rint(points[:, :2]).astype(np.intp).T
    depth = np.full(size, np.inf, np.float32)
    np.minimum.at(depth, (row, column), points[:, 2])
    return np.where(np.isfinite(depth), depth, np.float32(np.nan))
