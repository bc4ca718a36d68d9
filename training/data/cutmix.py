"""CutMix: a box of each image is replaced by that of its neighbour (V1 paper, equations 5 to 8)."""

from __future__ import annotations

from math import sqrt

import cv2
import numpy as np

# Beyond, a box of the largest area and an aspect in range need not fit.
_MAX_ASPECT_RATIO = 8.0
_AREA = (0.02, 0.4)
_ASPECT = (0.3, 1 / 0.3)


def sample_box(size: tuple[int, int], generator: np.random.Generator, probability: float = 0.5) -> np.ndarray:
    """A random box, as the first author's UniMatch draws it (obtain_cutmix_box).

    With the probability there is a box of a fraction U(0.02, 0.4) of the image's area; its aspect (height / width)
    U(0.3, 1 / 0.3) and its corner are drawn until it lies inside.

    Args:
        size: (height, width) of the image.
        generator: source of all chance.
        probability: that there is a box at all.

    Returns:
        (height, width) bool, true inside the box.

    Raises:
        ValueError: the image is longer than 8 to 1.
    """
    height, width = size
    if max(size) > _MAX_ASPECT_RATIO * min(size):
        raise ValueError(f'no CutMix boxes for {width}x{height}: at most {_MAX_ASPECT_RATIO:g} to 1')
    box = np.zeros(size, bool)
    if generator.random() >= probability:
        return box
    area = generator.uniform(*_AREA) * height * width
    while True:
        aspect = generator.uniform(*_ASPECT)
        tall, wide = int(sqrt(area * aspect)), int(sqrt(area / aspect))
        left, top = int(generator.integers(0, width)), int(generator.integers(0, height))
        if left + wide <= width and top + tall <= height:
            box[top : top + tall, left : left + wide] = True
            return box


def paste(image: np.ndarray, other: np.ndarray, box: np.ndarray) -> np.ndarray:
    """The image with the other inside the box: all (h, w, 3) uint8, the box (h, w) bool (V1 paper, equation 5)."""
    return cv2.copyTo(other, box.view(np.uint8), image.copy())
