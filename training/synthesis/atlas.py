"""Textures with their smaller copies, sampled without aliasing."""

from __future__ import annotations

import cv2
import numpy as np

from training.synthesis.textures import SIZE

_LEVELS = SIZE.bit_length()  # 256, 128, ... 1


def linear(srgb: np.ndarray) -> np.ndarray:
    """Linear light of sRGB values in 0..1 (IEC 61966-2-1)."""
    return np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)


_LINEAR = linear(np.arange(256) / 255).astype(np.float32)


class Atlas:
    """Textures (SIZE, SIZE, 3) sRGB in 0..1 and their pyramids (Williams 1983), in one array."""

    def __init__(self, textures: list[np.ndarray]) -> None:
        levels, self._base = [], np.zeros(_LEVELS, np.int64)
        stack = [np.clip(texture * 255 + 0.5, 0, 255).astype(np.uint8) for texture in textures]
        for level in range(_LEVELS):
            side = SIZE >> level
            if level:
                stack = [cv2.resize(texture, (side, side), interpolation=cv2.INTER_AREA) for texture in stack]
                self._base[level] = self._base[level - 1] + len(levels[-1])
            levels.append(np.stack(stack).reshape(-1, 3))
        self._texels = np.concatenate(levels)

    def sample(self, texture: np.ndarray, where: np.ndarray, footprint: np.ndarray) -> np.ndarray:
        """Linear RGB (N, 3).

        Args:
            texture: (N,) index.
            where: (N, 2) coordinates, 1 is the whole texture, which repeats.
            footprint: (N,) how much of the texture, in its widths, a pixel covers.
        """
        level = np.clip(np.rint(np.log2(np.maximum(footprint * SIZE, 1e-3))), 0, _LEVELS - 1).astype(np.int64)
        side = SIZE >> level
        position = (where - np.floor(where)) * side[:, None] - 0.5
        corner = np.floor(position)
        fx, fy = (position - corner).T.astype(np.float32)
        x, y = corner.astype(np.int64).T
        start = self._base[level] + texture * side * side
        result = np.zeros((len(texture), 3), np.float32)
        for dy, wy in ((0, 1 - fy), (1, fy)):
            row = start + ((y + dy) & (side - 1)) * side
            for dx, wx in ((0, 1 - fx), (1, fx)):
                result += _LINEAR[self._texels[row + ((x + dx) & (side - 1))]] * (wx * wy)[:, None]
        return result
