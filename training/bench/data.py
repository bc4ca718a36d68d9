"""What is trained on and labelled for a measurement: made up, but as much work to read as photos are."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from depth_anything_ros.estimation import network_size
from training.data.sample import Sample
from training.data.shards import ShardWriter, encode_label, encode_sample
from training.files import Folder

IMAGE_SIZE = (480, 640)
"""(height, width) of the images."""

# Cells of the coarsest grid of noise, and of the finest, along an image's height.
_COARSEST, _FINEST = 4, 256
# Strength of a grid of noise over that of the one that is half as fine: JPEGs get the length of a camera's.
_WEAKER = 0.7


def write_data(shards: Path, labels: Path, counts: dict[str, int], side: int, multiple: int) -> None:
    """Write shards of JPEG images, and pseudo-labels of a teacher's size.

    Args:
        shards, labels: the folders.
        counts: number of images by the shard's name.
        side: what the teacher scales an image's shorter side to, pixels.
        multiple: of which the sides of its input are multiples.
    """
    images, teacher = ShardWriter(Folder(shards)), ShardWriter(Folder(labels))
    size = network_size(*IMAGE_SIZE, side, multiple)
    for name, count in counts.items():
        index = images.write(name, _images(name, count))
        random = np.random.default_rng(count)
        disparities = (_noise(random, size, 1, _COARSEST) for _ in range(count))
        keys = (key for key, _ in index['samples'])
        teacher.write(
            name,
            ((key, encode_label(disparity[..., 0])) for key, disparity in zip(keys, disparities, strict=True)),
            labels_of=index['sha256'],
        )


def _images(name: str, count: int) -> Iterator[tuple[str, dict[str, bytes]]]:
    random = np.random.default_rng(count)
    for number in range(count):
        noise = _noise(random, IMAGE_SIZE, 3, _FINEST)
        image = np.clip(127 + 50 * noise, 0, 255).astype(np.uint8)
        key = f'{name}-{number:06d}'
        yield key, encode_sample(Sample(key, image))


def _noise(random: np.random.Generator, size: tuple[int, int], channels: int, finest: int) -> np.ndarray:
    """(H, W, channels) float32, about -3 to 3: the sum of grids of noise, each twice as fine as the one before."""
    height, width = size
    total, cells, strength = np.zeros((*size, channels), np.float32), _COARSEST, 1.0
    while cells <= finest:
        grid = random.standard_normal((cells, round(cells * width / height), channels), np.float32)
        total += strength * cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC).reshape(total.shape)
        cells, strength = 2 * cells, _WEAKER * strength
    return total
