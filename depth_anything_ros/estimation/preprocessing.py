"""The official preprocessing rule (Depth Anything V2: Resize lower_bound, keep aspect, multiples of the patch)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from math import ceil

import cv2
import numpy as np
import torch
import torch.nn.functional as F

from depth_anything_ros.estimation.transfer import images_to_device
from depth_anything_ros.network import IMAGE_MEAN, IMAGE_STD

# The shorter side is scaled to the network's input size: a ribbon of an image would ask for any amount of memory.
MAX_ASPECT_RATIO = 8.0


class ImageShapeError(ValueError):
    """The array is not an image that the network can see."""


def network_size(height: int, width: int, input_size: int, multiple: int) -> tuple[int, int]:
    """(height, width) at which the network sees an image of height x width.

    The shorter side becomes input_size, for smaller images too, the aspect ratio is kept, and each side is rounded to
    the nearest multiple, or up if that is below input_size.
    """
    if min(height, width) < 1:
        raise ImageShapeError(f'the image is {width}x{height}: it has no pixels')
    if max(height, width) > MAX_ASPECT_RATIO * min(height, width):
        raise ImageShapeError(
            f'the image is {width}x{height}: sides of more than {MAX_ASPECT_RATIO:g} to 1 are not supported'
        )
    scale = input_size / min(height, width)
    return _to_multiple(height * scale, input_size, multiple), _to_multiple(width * scale, input_size, multiple)


def _to_multiple(length: float, input_size: int, multiple: int) -> int:
    rounded = round(length / multiple) * multiple
    return rounded if rounded >= input_size else ceil(length / multiple) * multiple


def check_image(image: np.ndarray) -> None:
    """Raise ImageShapeError unless image is uint8 (H, W, 3)."""
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        found = f'{image.dtype} {image.shape}' if isinstance(image, np.ndarray) else type(image).__name__
        raise ImageShapeError(f'expected a uint8 RGB array (H, W, 3), got {found}')


def preprocess(images: Sequence[np.ndarray], size: tuple[int, int], device: torch.device) -> torch.Tensor:
    """Resize and normalise uint8 RGB images (H, W, 3) of one size into float32 (B, 3, height, width) on the device.

    Both ways are the bicubic kernel with a = -0.75 and half-pixel centres, without antialiasing. In float32, where the
    official code has float64: that is a third of the time, and at most a fortieth of a grey level off on noise.
    """
    if device.type != 'cpu':
        return preprocess_pixels(images_to_device(images, device), size)
    # With NumPy, for torch shares even so little work among its threads, which on busy cores wait for each other.
    mean, std = (values.numpy() for values in _normalisation(device))
    batch = np.empty((len(images), 3, *size), np.float32)
    for slot, image in zip(batch, images, strict=True):
        resized = cv2.resize(image.astype(np.float32), size[::-1], interpolation=cv2.INTER_CUBIC)
        np.subtract(resized.transpose(2, 0, 1), mean, out=slot)
    batch /= std
    return torch.from_numpy(batch)


def preprocess_pixels(pixels: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """The same for images that are on their device already, uint8 (B, H, W, 3)."""
    if pixels.device.type == 'cpu':
        return preprocess(pixels.numpy(), size, pixels.device)
    return preprocess_with_torch(pixels, size)


def preprocess_with_torch(pixels: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """The same, on whatever device; how a GPU does it."""
    mean, std = _normalisation(pixels.device)
    resized = F.interpolate(pixels.permute(0, 3, 1, 2).float(), size=size, mode='bicubic', align_corners=False)
    return resized.sub_(mean).div_(std)


@lru_cache(maxsize=8)
def _normalisation(device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and deviation of a pixel's values, 0 to 255, as (3, 1, 1); kept, since each is a copy that waits."""
    mean, std = (255.0 * torch.tensor(values, device=device).view(3, 1, 1) for values in (IMAGE_MEAN, IMAGE_STD))
    return mean, std
