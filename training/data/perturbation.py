"""What befalls a training image's appearance: strong perturbation, and the exposures of a camera in trouble."""

from __future__ import annotations

import math
from collections.abc import Callable

import cv2
import numpy as np


def perturb(image: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Strong perturbation of colours and sharpness (V1 paper, section 3.2).

    With the values of UniMatch by the same author, the paper has none: colour jitter of brightness, contrast and
    saturation by factors U(0.5, 1.5) and hue by U(-0.25, 0.25) turns in random order with probability 0.8, grayscale
    with 0.2, Gaussian blur of deviation U(0.1, 2) pixels with 0.5. In 8 bits as there (it used PIL), by OpenCV, which
    takes 4 ms where torchvision's functions take 40, and gives the same bytes with any number of threads.

    Args:
        image: (h, w, 3) uint8 RGB; it is left as it is.
        generator: source of all chance.

    Returns:
        (h, w, 3) uint8 RGB.
    """
    jittered, greyed, blurred = generator.random(3) < (0.8, 0.2, 0.5)
    factors, turn = generator.uniform(0.5, 1.5, 3), generator.uniform(-0.25, 0.25)
    deviation, order = generator.uniform(0.1, 2.0), generator.random(4).argsort()
    if jittered:
        steps: list[tuple[Callable[[np.ndarray, float], np.ndarray], float]]
        steps = [*zip((brightness, contrast, saturation), factors.tolist(), strict=True), (hue, turn)]
        for index in order:
            step, amount = steps[index]
            image = step(image, amount)
    if greyed:
        image = _grey(image)
    return cv2.GaussianBlur(image, (0, 0), deviation) if blurred else image


def brightness(image: np.ndarray, factor: float) -> np.ndarray:
    """Blend uint8 RGB with black: 0 is black, 1 the image."""
    return cv2.convertScaleAbs(image, alpha=factor)


def contrast(image: np.ndarray, factor: float) -> np.ndarray:
    """Blend uint8 RGB with the mean of its grey values: 0 is that grey, 1 the image."""
    mean = cv2.mean(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY))[0]
    # Not in place of brightness: a sum may be negative, of which convertScaleAbs takes the size.
    table = np.clip(np.rint(factor * np.arange(256) + (1 - factor) * mean), 0, 255)
    return cv2.LUT(image, table.astype(np.uint8))


def saturation(image: np.ndarray, factor: float) -> np.ndarray:
    """Blend uint8 RGB with its grey values: 0 is grey, 1 the image."""
    return cv2.addWeighted(image, factor, _grey(image), 1 - factor, 0)


def hue(image: np.ndarray, turn: float) -> np.ndarray:
    """Turn the hue of uint8 RGB, 1 being the whole circle."""
    hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV_FULL)  # the circle is 0..255, and adding wraps
    hsv[:, :, 0] += np.uint8(round(turn * 256) % 256)
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB_FULL)


def _grey(image: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)


def degrade(image: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """The image as a moving camera takes it in poor light.

    Each with probability 0.5, in the order in which a camera does it: moved while it was exposed, along a line of 1 to
    4 % of the longer side at any angle; of another exposure, by -3 to 1.2 stops (of the encoded values, clipped);
    Gaussian noise of 2 to 25 levels, drawn evenly in the logarithm, the same for all channels or to each its own; JPEG
    of quality 10 to 60. These are among the corruptions of ImageNet-C (arXiv 1903.12261, section 4); how much of them
    is our own choice.

    Args:
        image: (h, w, 3) uint8 RGB; it is left as it is.
        generator: source of all chance.

    Returns:
        (h, w, 3) uint8 RGB.
    """
    moved, exposed, noisy, compressed = generator.random(4) < 0.5
    length = generator.uniform(0.01, 0.04) * max(image.shape[:2])
    angle, stops = generator.uniform(0, math.pi), generator.uniform(-3.0, 1.2)
    deviation, quality = math.exp(generator.uniform(math.log(2), math.log(25))), int(generator.integers(10, 61))
    channels = 1 if generator.random() < 0.5 else 3
    if moved:
        image = motion_blur(image, length, angle)
    if exposed:
        image = brightness(image, 2.0**stops)
    if noisy:
        noise = generator.standard_normal((*image.shape[:2], channels), np.float32) * np.float32(deviation)
        image = np.clip(np.rint(image + noise), 0, 255).astype(np.uint8)
    if compressed:
        bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
        _, data = cv2.imencode('.jpg', bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
        image = cv2.cvtColor(cv2.imdecode(data, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
    return image


def motion_blur(image: np.ndarray, length: float, angle: float) -> np.ndarray:
    """The mean of uint8 RGB along a line of `length` pixels, which rises to the right by `angle`, radians."""
    half = math.ceil(length / 2)
    side = 2 * half + 1
    # Samples a fraction of a pixel apart, each shared out to the four pixels around it.
    along = np.linspace(-length / 2, length / 2, 8 * side)
    x, y = half + along * math.cos(angle), half - along * math.sin(angle)
    kernel = np.zeros((side + 1, side + 1), np.float32)
    column, row = np.floor(x).astype(int), np.floor(y).astype(int)
    for right in (0, 1):
        for below in (0, 1):
            weight = np.abs(1 - right - (x - column)) * np.abs(1 - below - (y - row))
            np.add.at(kernel, (row + below, column + right), weight)
    kernel = kernel[:side, :side]
    return cv2.filter2D(image, -1, kernel / kernel.sum(), borderType=cv2.BORDER_REPLICATE)
