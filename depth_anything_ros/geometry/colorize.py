"""Depth as a picture."""

from __future__ import annotations

import cv2
import numpy as np

COLORMAPS = {
    'inferno': cv2.COLORMAP_INFERNO,
    'magma': cv2.COLORMAP_MAGMA,
    'turbo': cv2.COLORMAP_TURBO,
    'viridis': cv2.COLORMAP_VIRIDIS,
    'gray': None,
}
# Percentiles of every 16th pixel: within a colour step of the exact ones, at a tenth of the time.
PERCENTILES = 2.0, 98.0
SAMPLED = 4


def colorize(nearness: np.ndarray, colormap: str = 'inferno', limits: tuple[float, float] | None = None) -> np.ndarray:
    """Colour (H, W) float values of which larger is nearer, as uint8 RGB (H, W, 3); what is not finite is black.

    The colours span the limits; without, the 2nd to the 98th percentile, so that one wild pixel does not darken the
    rest. Disparity goes in as it is, depth as 1 / depth.
    """
    finite = np.isfinite(nearness)
    if limits is None:
        sample = nearness[::SAMPLED, ::SAMPLED][finite[::SAMPLED, ::SAMPLED]]
        limits = tuple(np.percentile(sample, PERCENTILES)) if sample.size else (0.0, 1.0)
    low, high = limits
    scaled = np.where(finite, nearness, np.float32(low))
    scaled -= np.float32(low)
    scaled *= np.float32(255.0 / max(high - low, 1e-9))
    gray = np.clip(scaled, 0.0, 255.0).astype(np.uint8)
    colored = _looked_up(gray, colormap)
    colored[~finite] = 0
    return colored


def palette(colormap: str) -> np.ndarray:
    """The colours of 0 to 255, uint8 RGB (256, 3)."""
    return _looked_up(np.arange(256, dtype=np.uint8)[:, None], colormap)[:, 0]


def _looked_up(gray: np.ndarray, colormap: str) -> np.ndarray:
    """The colours of uint8 (H, W), uint8 RGB (H, W, 3)."""
    table = COLORMAPS[colormap]
    if table is None:
        return np.repeat(gray[..., None], 3, axis=2)
    return cv2.cvtColor(cv2.applyColorMap(gray, table), cv2.COLOR_BGR2RGB)
