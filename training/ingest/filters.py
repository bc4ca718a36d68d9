"""Which frames are worth learning from.

The measures are taken of a grey image whose shorter side has 256 pixels, so that they mean the same for every camera.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np

from training.ingest.settings import Settings

_SIDE = 256
_THUMBNAIL = (32, 32)
_SATURATED = 250


def grey(image: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 RGB as uint8 grey whose shorter side has 256 pixels."""
    height, width = image.shape[:2]
    scale = _SIDE / min(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    shrunk = cv2.resize(image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    return cv2.cvtColor(shrunk, cv2.COLOR_RGB2GRAY)


def brightness(grey_image: np.ndarray) -> float:
    """The mean grey value, 0 to 255."""
    return float(grey_image.mean())


def saturated_share(grey_image: np.ndarray) -> float:
    """The share of pixels at the upper end of the range (250 and more), 0 to 1."""
    return float((grey_image >= _SATURATED).mean())


def sharpness(grey_image: np.ndarray) -> float:
    """The variance of the Laplacian (Pech-Pacheco et al. 2000, Diatom autofocusing in brightfield microscopy)."""
    return float(cv2.Laplacian(grey_image, cv2.CV_32F).var())


def thumbnail(grey_image: np.ndarray) -> np.ndarray:
    """float32 (32, 32) with mean 0: a change of brightness alone is no new view."""
    small = cv2.resize(grey_image, _THUMBNAIL, interpolation=cv2.INTER_AREA).astype(np.float32)
    return small - small.mean()


class Verdict(NamedTuple):
    """On a frame. dropped: why, '' if it is kept. measured: what that comes of, such as `sharpness 31.4`."""

    dropped: str
    measured: str


class FrameFilter:
    """Judges the frames of one camera, in the order of time."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._last_ns: int | None = None
        self._last_thumbnail: np.ndarray | None = None

    def too_soon(self, stamp_ns: int) -> bool:
        """Whether every_s has not yet passed since the last frame that was kept. Time that jumps back starts anew."""
        if self._last_ns is None or stamp_ns < self._last_ns:
            return False
        return stamp_ns - self._last_ns < self._settings.every_s * 1e9

    def judge(self, image: np.ndarray, stamp_ns: int) -> Verdict:
        """Whether a frame, (H, W, 3) uint8 RGB, is `dark`, `overexposed`, `blurred`, a `duplicate`, or kept."""
        settings, small = self._settings, grey(image)
        mean, saturated, sharp = brightness(small), saturated_share(small), sharpness(small)
        if mean < settings.min_brightness:
            return Verdict('dark', f'brightness {mean:.1f}')
        if saturated > settings.max_saturated:
            return Verdict('overexposed', f'saturated {saturated:.2f}')
        if sharp < settings.min_sharpness:
            return Verdict('blurred', f'sharpness {sharp:.1f}')
        current = thumbnail(small)
        if self._last_thumbnail is not None:
            difference = float(np.abs(current - self._last_thumbnail).mean())
            if difference < settings.min_difference:
                return Verdict('duplicate', f'difference {difference:.1f}')
        self._last_ns, self._last_thumbnail = stamp_ns, current
        return Verdict('', f'sharpness {sharp:.1f}')
