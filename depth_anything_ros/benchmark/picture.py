"""A picture to run networks on where nobody has given one."""

from __future__ import annotations

import cv2
import numpy as np

_HORIZON = 0.45
# Left, top, width and height as shares of the picture, and the colour.
_BOXES = (
    (0.12, 0.30, 0.16, 0.38, (120, 80, 60)),
    (0.62, 0.38, 0.12, 0.20, (70, 90, 120)),
    (0.78, 0.15, 0.15, 0.62, (150, 140, 120)),
)


def made_up_picture(height: int, width: int) -> np.ndarray:
    """A hall with a tiled floor and three boxes, uint8 RGB (height, width, 3), always the same.

    Noise would not do: networks in reduced precision are farther off on what no camera sees than on what one does.
    """
    row = np.linspace(0, 1, height, dtype=np.float32)[:, None]
    column = np.linspace(-1, 1, width, dtype=np.float32)[None]
    nearness = np.clip((row - _HORIZON) / (1 - _HORIZON), 0.02, 1)
    tiles = (np.floor(3 * column / nearness) + np.floor(4 / nearness)) % 2
    floor = 95 + nearness * (18 + 14 * tiles)
    picture = np.where(row > _HORIZON, floor, 185 - 60 * row)[..., None] * np.float32([1, 0.97, 0.9])
    for left, top, wide, high, colour in _BOXES:
        rows = slice(int(top * height), int((top + high) * height))
        columns = slice(int(left * width), int((left + wide) * width))
        shade = np.linspace(1.1, 0.75, columns.stop - columns.start, dtype=np.float32)
        picture[rows, columns] = shade[:, None] * np.float32(colour)
    grain = np.random.default_rng(0).normal(0, 6, (height // 4 + 1, width // 4 + 1)).astype(np.float32)
    grain = cv2.resize(grain, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.clip(picture + grain[..., None], 0, 255).astype(np.uint8)
