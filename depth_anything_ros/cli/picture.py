"""A picture to run networks on where nobody has given one."""

from __future__ import annotations

import cv2
import numpy as np


def made_up_picture(height: int, width: int) -> np.ndarray:
    """Something with gradients, edges and texture, uint8 RGB (height, width, 3), always the same.

    Noise would not do: networks in reduced precision are farther off on it than on anything that a camera sees.
    """
    noise = np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8)
    picture = cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)
    cv2.rectangle(picture, (width // 4, height // 3), (width // 2, height - 1), (200, 60, 30), cv2.FILLED)
    return picture
