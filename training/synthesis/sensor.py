"""The sensor: from linear light to a picture with exposure, colour cast, blur, noise and gamma."""

from __future__ import annotations

import cv2
import numpy as np

_LUMINANCE = np.array([0.2126, 0.7152, 0.0722], np.float32)


def expose(rng: np.random.Generator, colour: np.ndarray, *, dark: bool = False) -> np.ndarray:
    """A picture as a camera takes it.

    Args:
        rng: for what the camera's automatics get wrong, and for noise.
        colour: (H, W, 3) float32 linear RGB of any scale.
        dark: a night scene, which cameras leave dark and make noisy.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    height, width = colour.shape[:2]
    luminance = np.einsum('ijk,k->ij', colour, _LUMINANCE)
    middle = np.exp(np.log(luminance + 1e-4).mean()) * 0.5 + luminance.mean() * 0.25 + 1e-6
    target = 0.09 if dark else 0.17
    image = colour * np.float32(target / middle * 2.0 ** rng.normal(0, 0.45))
    # White balance: most of the light's colour is taken out, some is left, some is made.
    cast = image.reshape(-1, 3).mean(0) + 1e-6
    cast = (cast / cast.mean()) ** -rng.uniform(0.2, 0.9) * rng.normal(1, 0.03, 3)
    image = image * cast.astype(np.float32)
    rows, columns = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    image = image * (1 - rng.uniform(0, 0.25) * (rows**2 + columns**2) / 2).astype(np.float32)[..., None]
    if (sigma := rng.uniform(0, 0.7) * width / 256) > 0.25:
        image = cv2.GaussianBlur(np.ascontiguousarray(image, np.float32), (0, 0), sigma)
    level = rng.uniform(0.002, 0.008) if not dark else rng.uniform(0.005, 0.02)
    noise = rng.standard_normal(image.shape, np.float32)
    image = image + noise * np.sqrt(level**2 + 0.02 * level * np.maximum(image, 0))
    # A shoulder from 0.8 on instead of a hard end.
    image = np.maximum(image, 0)
    image = np.where(image > 0.8, 0.8 + 0.2 * (1 - np.exp(-(image - 0.8) / 0.35)), image)
    gamma = image ** np.float32(1 / rng.uniform(2.0, 2.4))
    return np.clip(gamma * 255 + 0.5, 0, 255).astype(np.uint8)
