"""Undistortion: the image, and what was measured in it, as the ideal camera of CameraInfo's P would have them."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np

from depth_anything_ros.geometry import DepthRectifier
from depth_anything_ros.geometry.camera import pixel_blocks


def rectify_image(image: np.ndarray, rectifier: DepthRectifier) -> tuple[np.ndarray, np.ndarray]:
    """Resample an image by bilinear interpolation.

    Args:
        image: (H, W, 3) uint8 of the raw camera, at its size.
        rectifier: from the raw to the rectified camera.

    Returns:
        (H, W, 3) uint8, black where the raw image does not reach, and (H, W) bool: where it does.
    """
    sources, valid = _maps(rectifier, *image.shape[:2])
    return cv2.remap(image, sources, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT), valid


def rectify_points(points: np.ndarray, rectifier: DepthRectifier) -> np.ndarray:
    """Move points (N, 3), column, row and metres along the raw axis, to the rectified image and along its axis.

    Those without a ray, or behind the rectified camera or outside its image, are left out.
    """
    rays = rectifier.raw.unproject(points[:, :2])
    turned = (rays * points[:, 2:]) @ np.reshape(rectifier.rotation, (3, 3)).T
    pixels = rectifier.rectified.project(turned)
    width, height = rectifier.rectified.width, rectifier.rectified.height
    with np.errstate(invalid='ignore'):
        seen = ((pixels >= -0.5) & (pixels < (width - 0.5, height - 0.5))).all(axis=1)
    return np.column_stack([pixels, turned[:, 2]])[seen]


@lru_cache(maxsize=8)
def _maps(rectifier: DepthRectifier, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Each rectified pixel's place in the raw image, float32 (H, W, 2), and whether that is inside, bool (H, W)."""
    raw, rectified = rectifier.raw.scaled(height, width), rectifier.rectified.scaled(height, width)
    rotation = np.reshape(rectifier.rotation, (3, 3))
    sources = np.empty((height, width, 2), np.float32)
    valid = np.empty((height, width), bool)
    for rows, pixels in pixel_blocks(height, width):
        # Row vectors: ray @ R is R^T times the ray, from the rectified to the raw frame.
        places = raw.project(rectified.unproject(pixels) @ rotation)
        with np.errstate(invalid='ignore'):
            # A float32 map has 1e-4 px to spare for the outermost row and column of an image that stays as it is.
            inside = ((places >= -1e-3) & (places <= (width - 1 + 1e-3, height - 1 + 1e-3))).all(axis=1)
        sources[rows] = np.where(inside[:, None], places, -2).reshape(-1, width, 2)
        valid[rows] = inside.reshape(-1, width)
    return sources, valid
