"""The sky: its colour in any direction, and days, dusks and nights."""

from __future__ import annotations

import numpy as np

from training.synthesis import textures
from training.synthesis.world import Light, Sky


def sky_colour(sky: Sky | None, directions: np.ndarray) -> np.ndarray:
    """(N, 3) float32 linear RGB in unit directions (N, 3); black without a sky."""
    if sky is None:
        return np.zeros((len(directions), 3), np.float32)
    up = np.maximum(directions[:, 2], 0.0)
    share = (1 - np.exp(-4 * up))[:, None]
    colour = sky.horizon * (1 - share) + sky.zenith * share
    if sky.clouds > 0:
        field = textures.noise(np.random.default_rng(sky.seed), 1.7)
        # Clouds lie in a layer: towards the horizon they are seen from the side.
        plane = directions[:, :2] / (up + 0.12)[:, None] * 12
        x, y = (np.floor(plane).astype(np.int64) % textures.SIZE).T
        fx, fy = (plane - np.floor(plane)).T
        size = textures.SIZE
        value = (
            field[y, x] * (1 - fx) * (1 - fy) + field[y, (x + 1) % size] * fx * (1 - fy)
            + field[(y + 1) % size, x] * (1 - fx) * fy + field[(y + 1) % size, (x + 1) % size] * fx * fy
        )  # fmt: skip
        cover = np.clip((value - (1.2 - 2.4 * sky.clouds)) * 1.2, 0, 1)[:, None] * np.clip(up * 8, 0, 1)[:, None]
        white = 1.3 * sky.horizon.mean() * np.ones(3)
        colour = colour * (1 - 0.85 * cover) + white * 0.85 * cover
    if sky.sun is not None:
        near = np.maximum(np.einsum('ij,j->i', directions, sky.sun), 0)[:, None]
        colour = colour + sky.horizon * (1.5 * near**60 + 15 * near**1500)
    return colour.astype(np.float32)


def blackbody(kelvin: float) -> np.ndarray:
    """(3,) linear RGB of about unit luminance: warm below 6500 K, cool above (a smooth fit to Planck's law)."""
    ratio = 6500 / kelvin
    colour = np.array([ratio**0.75, 1.0, ratio**-1.1])
    return colour / (colour @ [0.2126, 0.7152, 0.0722])


def daylight(rng: np.random.Generator, *, night: bool) -> tuple[Sky, Light | None, np.ndarray]:
    """A sky, its sun if it casts shadows, and the ambient light (2, 3) that comes from above and from the ground."""
    seed = int(rng.integers(2**31))
    if night:
        zenith = np.array([0.004, 0.006, 0.015]) * rng.uniform(0.5, 3)
        horizon = zenith * 2 + blackbody(2500) * rng.uniform(0.002, 0.03)
        return Sky(zenith, horizon, float(rng.uniform(0, 0.6)), None, seed), None, np.stack([horizon, zenith]) * 1.5
    height, around = rng.uniform(0.1, 1.3), rng.uniform(0, 2 * np.pi)
    direction = np.array([np.cos(around) * np.cos(height), np.sin(around) * np.cos(height), np.sin(height)])
    overcast = rng.random() < 0.3
    if overcast:
        grey = blackbody(rng.uniform(6000, 8000)) * rng.uniform(0.7, 1.2)
        return Sky(grey, grey * 0.9, float(rng.uniform(0.5, 1)), None, seed), None, np.stack([grey, grey * 0.25])
    low = np.clip(1.2 - 2 * height, 0, 1)
    zenith = np.array([0.13, 0.28, 0.65]) * rng.uniform(0.6, 1.1)
    horizon = np.array([0.7, 0.8, 0.95]) * (1 - low) + np.array([1.0, 0.62, 0.35]) * low
    sun = Light(direction, blackbody(5800 - 2800 * low) * rng.uniform(1.8, 4.0), float(rng.uniform(0.005, 0.03)), True)
    ambient = np.stack([(zenith + horizon) * 0.45, np.array([0.16, 0.14, 0.11])])
    return Sky(zenith, horizon, float(rng.choice([0.0, rng.uniform(0.1, 0.7)])), direction, seed), sun, ambient
