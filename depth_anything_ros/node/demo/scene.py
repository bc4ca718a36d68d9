"""A real photograph with its true depth and calibration: the motorcycle of Middlebury 2014."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from sensor_msgs.msg import CameraInfo
from skimage.data import stereo_motorcycle

from depth_anything_ros.node.trials import pinhole

# scikit-image's documentation of stereo_motorcycle, for its images at a quarter of the original size.
_FOCAL_PX = 994.978
_CENTRE_PX = (311.193, 254.877)
_BASELINE_M = 0.193001
_DISPARITY_OFFSET_PX = 31.086
# How much of the truth the alignment is shown.
_SPARSE_SAMPLES = 500
_SEED = 0


@dataclass(frozen=True)
class Scene:
    """image: uint8 RGB (H, W, 3). truth, sparse: float32 (H, W) metres, NaN where unknown.

    sparse is what the alignment sees; truth is the rest, and shares no pixel with it.
    """

    image: np.ndarray
    truth: np.ndarray
    sparse: np.ndarray
    info: CameraInfo


def motorcycle() -> Scene:
    """The left image of the stereo pair. Depth is focal length * baseline / (disparity + offset)."""
    image, _, disparity = stereo_motorcycle()
    known = np.isfinite(disparity)
    depth = np.full(disparity.shape, np.nan, np.float32)
    depth[known] = _FOCAL_PX * _BASELINE_M / (disparity[known] + _DISPARITY_OFFSET_PX)
    shown = np.random.default_rng(_SEED).choice(np.flatnonzero(known), _SPARSE_SAMPLES, replace=False)
    sparse = np.full_like(depth, np.nan)
    sparse.flat[shown] = depth.flat[shown]
    truth = depth
    truth.flat[shown] = np.nan

    height, width = depth.shape
    info = pinhole(width, height, _FOCAL_PX, _CENTRE_PX)
    return Scene(np.ascontiguousarray(image), truth, sparse, info)
