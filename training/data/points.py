"""Sparse measurements, such as those of a LiDAR, as depth maps."""

from __future__ import annotations

import numpy as np


def rasterise(points: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Points as a sparse depth map.

    Args:
        points: (N, 3): column and row in pixels (0 is the centre of the first), depth in metres. Those that are not
            finite, not in front of the camera or outside are left out.
        size: height and width.

    Returns:
        (H, W) float32, in each pixel the nearest depth, NaN where there is none.
    """
    height, width = size
    with np.errstate(invalid='ignore'):
        column, row = np.rint(points[:, :2]).T
        inside = (column >= 0) & (column < width) & (row >= 0) & (row < height) & (points[:, 2] > 0)
    depth = np.full(size, np.inf, np.float32)
    np.minimum.at(depth, (row[inside].astype(np.intp), column[inside].astype(np.intp)), points[inside, 2])
    return np.where(np.isfinite(depth), depth, np.float32(np.nan))
