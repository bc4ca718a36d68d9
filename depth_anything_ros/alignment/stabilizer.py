"""Flicker: the affine drift of a network's disparity from frame to frame, estimated and removed."""

from __future__ import annotations

from math import exp

import cv2
import numpy as np

# What is compared: images this wide tell all that an affine map needs.
_WIDTH = 160
_ITERATIONS = 5
_TUKEY = 4.685
_MEDIAN_TO_SIGMA = 1.4826
# A cut, or a camera that turned away: less of the disparity's spread than this is explained by the frame before.
_MIN_EXPLAINED = 0.5
_LARGEST_STEP = 2.0
_LONGEST_GAP_S = 1.0
# Frames of one stamp that may be one frame, come again. Of more the clock stands, and no chain would ever leak.
_MOST_OF_A_STAMP = 3
_IDENTITY = 1.0, 0.0
# DIS works on patches, at several scales.
_MIN_FLOW_SIZE = 32


class Stabilizer:
    """Maps each frame's disparity so that what did not move keeps its value from one frame to the next.

    The network's disparity is known up to scale and shift only, and both flicker. Between consecutive frames points
    are followed by dense optical flow (Kroeger et al. 2016, DIS), and the affine map that brings most of them together
    is estimated robustly; the maps are chained, and the chain leaks back to
    the identity with a time constant. So what is fast is removed, and what is slow, such as a wall that comes nearer,
    passes.

    given_up: gain and offset of the chain that the last call ended, None if it ended none: by so much what it returned
    is off from the frames before.
    """

    def __init__(self, time_constant_s: float) -> None:
        """time_constant_s: seconds over which a drift is let through; 0: nothing is changed."""
        self.time_constant_s = time_constant_s
        self._flow = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
        self.given_up: tuple[float, float] | None = None
        self._stamp_ns, self._of_this_stamp = 0, 0
        self._size: tuple[int, ...] = ()
        self._previous: np.ndarray | None = None
        self._previous_gray: np.ndarray | None = None
        self._gain, self._offset = _IDENTITY

    def __call__(self, stamp_ns: int, disparity: np.ndarray, image: np.ndarray | None = None) -> np.ndarray:
        """Return (H, W) disparity, stabilised; as it is in the first frame, after a cut, a gap or a new size, and where
        the stamps stand still.

        A frame that comes twice, or a little late, is none of these.

        image: uint8 RGB (h, w, 3) of the same field of view; without it the camera is taken to stand still.
        """
        self.given_up = None
        if self.time_constant_s <= 0.0:
            self._end_chain()
            self._previous = None
            return disparity
        now, gray = _reduced(disparity, image)
        elapsed_s = abs(stamp_ns - self._stamp_ns) / 1e9
        self._of_this_stamp = 1 if elapsed_s else self._of_this_stamp + 1
        follows = elapsed_s <= _LONGEST_GAP_S and self._of_this_stamp <= _MOST_OF_A_STAMP
        step = None
        if self._previous is not None and self._size == disparity.shape and follows:
            step = _affine_between(now, self._followed(gray))
        if step is None:
            self._end_chain()
        else:
            kept = exp(-elapsed_s / self.time_constant_s)
            self._gain, self._offset = step[0] ** kept, step[1] * kept
        self._stamp_ns, self._size, self._previous_gray = stamp_ns, disparity.shape, gray
        self._previous = (self._gain * now + self._offset).astype(np.float32)
        if self.map == _IDENTITY:
            return disparity
        return disparity * np.float32(self._gain) + np.float32(self._offset)

    @property
    def map(self) -> tuple[float, float]:
        """Gain and offset by which the last disparity was changed."""
        return self._gain, self._offset

    def _end_chain(self) -> None:
        self.given_up = self.map if self.map != _IDENTITY else None
        self._gain, self._offset = _IDENTITY

    def _followed(self, gray: np.ndarray | None) -> np.ndarray:
        """The previous stabilised disparity, each point moved to where it is now; NaN where it was outside."""
        if gray is None or self._previous_gray is None:
            return self._previous
        flow = self._flow.calc(gray, self._previous_gray, None)
        height, width = gray.shape
        u, v = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
        return cv2.remap(
            self._previous,
            u + flow[..., 0],
            v + flow[..., 1],
            cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_CONSTANT,
            borderValue=np.nan,
        )


def _reduced(disparity: np.ndarray, image: np.ndarray | None) -> tuple[np.ndarray, np.ndarray | None]:
    """Disparity and gray image at the size at which they are compared."""
    height, width = disparity.shape
    size = min(width, _WIDTH), max(1, round(height * min(1.0, _WIDTH / width)))
    small = cv2.resize(np.asarray(disparity), size, interpolation=cv2.INTER_NEAREST)
    if image is None or min(size) < _MIN_FLOW_SIZE:
        return small, None
    return small, cv2.cvtColor(cv2.resize(image, size, interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY)


def _affine_between(now: np.ndarray, before: np.ndarray) -> tuple[float, float] | None:
    """(gain, offset) with before = gain * now + offset for most pixels; None if the two show different things.

    Tukey's iteration on the reduced major axis, the ratio of the standard deviations: a regression would underestimate
    the gain by the noise in `now`, and the chain of frames would fade.
    """
    both = np.isfinite(now) & np.isfinite(before)
    now, before = now[both].astype(np.float64), before[both].astype(np.float64)
    if now.size < 3:
        return None
    weight = np.ones_like(now)
    spread = _deviation(before)
    if not (spread > 0.0 and _deviation(now) > 0.0):
        return None
    for _ in range(_ITERATIONS):
        total = weight.sum()
        mean_now, mean_before = (weight @ now) / total, (weight @ before) / total
        x, y = now - mean_now, before - mean_before
        variance_now, variance_before = weight @ x**2, weight @ y**2
        if not (variance_now > 0.0 and weight @ (x * y) > 0.0):
            return None
        gain = float(np.sqrt(variance_before / variance_now))
        residual = y - gain * x
        sigma = max(_MEDIAN_TO_SIGMA * float(np.median(np.abs(residual))), 1e-9 * spread)
        weight = np.maximum(1.0 - (residual / (_TUKEY * sigma)) ** 2, 0.0) ** 2
        if not weight.sum() > 0.0:
            return None
    if sigma > (1.0 - _MIN_EXPLAINED) * spread or not 1.0 / _LARGEST_STEP < gain < _LARGEST_STEP:
        return None
    return gain, float(mean_before - gain * mean_now)


def _deviation(values: np.ndarray) -> float:
    return _MEDIAN_TO_SIGMA * float(np.median(np.abs(values - np.median(values))))
