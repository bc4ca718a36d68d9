"""Procedural textures: (SIZE, SIZE, 3) float32 sRGB colours in 0..1, which repeat without a seam."""

from __future__ import annotations

import colorsys
from functools import lru_cache

import cv2
import numpy as np

SIZE = 256
Colour = tuple[float, float, float] | np.ndarray
_NOISES = 16  # different fields of each kind: textures take one, roll it and flip it


@lru_cache(maxsize=160)
def _field(exponent: float, index: int, stretch: int) -> np.ndarray:
    """Noise whose amplitude falls as frequency**-exponent: mean 0, deviation 1, periodic."""
    rng = np.random.default_rng([index, stretch])
    frequency = np.fft.fftfreq(SIZE) * SIZE
    radius = np.hypot(frequency[:, None] * stretch, frequency[None, :SIZE])
    radius[0, 0] = np.inf
    spectrum = np.fft.fft2(rng.normal(size=(SIZE, SIZE))) * radius**-exponent
    field = np.fft.ifft2(spectrum).real
    return ((field - field.mean()) / field.std()).astype(np.float32)


def noise(rng: np.random.Generator, exponent: float = 1.5, stretch: int = 1) -> np.ndarray:
    """(SIZE, SIZE): 0 is white noise, 1 cloudy and grainy, 2 smooth; stretch: longer by that along the rows."""
    field = _field(exponent, int(rng.integers(_NOISES)), stretch)
    return np.roll(field, rng.integers(SIZE, size=2), axis=(0, 1))[:: rng.choice([-1, 1]), :: rng.choice([-1, 1])]


def colour(rng: np.random.Generator, saturation: tuple[float, float] = (0.1, 0.7),
           value: tuple[float, float] = (0.25, 0.9), hue: tuple[float, float] = (0.0, 1.0)) -> np.ndarray:  # fmt: skip
    """A random sRGB colour."""
    return np.array(colorsys.hsv_to_rgb(rng.uniform(*hue), rng.uniform(*saturation), rng.uniform(*value)), np.float32)


def _mix(low: Colour, high: Colour, share: np.ndarray) -> np.ndarray:
    share = np.clip(share, 0, 1)[..., None].astype(np.float32)
    return np.asarray(low, np.float32) * (1 - share) + np.asarray(high, np.float32) * share


def plain(rng: np.random.Generator, base: Colour, contrast: float = 0.04) -> np.ndarray:
    """Paint or plaster: one colour, slightly uneven."""
    uneven = contrast * (0.4 * noise(rng, 1.5) + 0.3 * noise(rng, 0.5))
    return np.clip(np.asarray(base, np.float32) * (1 + uneven[..., None]), 0, 1)


def concrete(rng: np.random.Generator, base: Colour) -> np.ndarray:
    """Stains and grains."""
    return np.clip(np.asarray(base) * (1 + (0.07 * noise(rng, 1.3) + 0.05 * noise(rng, 0.2))[..., None]), 0, 1)


def wood(rng: np.random.Generator, base: Colour, planks: int = 4) -> np.ndarray:
    """Planks along the rows, each of another shade, with grain."""
    grain = 0.10 * noise(rng, 1.0, 12) + 0.12 * np.sin(6 * noise(rng, 2.0, 6))
    rows = np.arange(SIZE) * planks // SIZE
    shade = rng.normal(0, 0.10, planks)[rows][:, None] * np.ones((1, SIZE))
    image = np.asarray(base) * (1 + (grain + shade))[..., None]
    if planks > 1:
        for row in range(planks):
            line = row * SIZE // planks
            image[line : line + 2] *= 0.5
            joint = int(rng.integers(SIZE))
            image[line : (row + 1) * SIZE // planks, joint : joint + 2] *= 0.55
    return np.clip(image, 0, 1)


def tiles(rng: np.random.Generator, base: Colour, other: Colour, count: int = 4, offset: bool = False,
          aspect: int = 1, joint: Colour = (0.6, 0.6, 0.58)) -> np.ndarray:  # fmt: skip
    """Tiles, checks or (offset, aspect 2) bricks, between two colours, with joints.

    aspect: rows for each column.
    """
    rows = count * aspect
    y, x = np.mgrid[0:SIZE, 0:SIZE] / SIZE
    row = np.floor(y * rows).astype(int)
    shifted = x * count + (0.5 * (row % 2) if offset else 0)
    column = np.floor(shifted).astype(int) % count
    checked = rng.random() < 0.35 and not offset
    share = ((row + column) % 2).astype(float) if checked else rng.random((rows, count))[row, column]
    image = _mix(base, other, share) * (1 + 0.05 * noise(rng, 1.0)[..., None])
    edge = np.minimum(
        np.minimum(y * rows % 1, 1 - y * rows % 1) / rows, np.minimum(shifted % 1, 1 - shifted % 1) / count
    )
    image = np.where((edge * SIZE < 1.5)[..., None], np.asarray(joint, np.float32), image)
    return np.clip(image, 0, 1)


def bricks(rng: np.random.Generator, base: Colour) -> np.ndarray:
    """A brick wall."""
    return tiles(rng, np.asarray(base) * 0.8, np.asarray(base) * 1.15, 4, True, 3, (0.62, 0.6, 0.56))


def carpet(rng: np.random.Generator, base: Colour, other: Colour) -> np.ndarray:
    """Fabric: fine grain, with a soft pattern or none."""
    y, x = np.mgrid[0:SIZE, 0:SIZE] * (2 * np.pi / SIZE)
    kind, number = rng.integers(4), int(rng.integers(2, 7))
    pattern = [
        0.25 + 0 * x,
        np.sin(number * x) > rng.uniform(-0.5, 0.8),
        (np.sin(number * x) * np.sin(number * y)) > rng.uniform(0, 0.5),
        0.5 + 0.5 * np.sin(number * x + 2 * np.sin(number * y)),
    ][kind]
    return np.clip(_mix(base, other, np.asarray(pattern, float)) * (1 + 0.12 * noise(rng, 0.2)[..., None]), 0, 1)


def grass(rng: np.random.Generator, base: Colour, other: Colour) -> np.ndarray:
    """Grass, soil, gravel or foliage: two colours mixed at all scales."""
    share = 0.5 + 0.22 * noise(rng, 1.3) + 0.18 * noise(rng, 0.4)
    return np.clip(_mix(base, other, share) * (1 + 0.15 * noise(rng, 0.0)[..., None]), 0, 1)


def facade(rng: np.random.Generator, base: Colour, night: bool = False) -> np.ndarray:
    """One storey of 3 m by 3 m: a wall with one or two windows."""
    wall = bricks(rng, base) if rng.random() < 0.4 else concrete(rng, base)
    image = np.ascontiguousarray(wall)
    frame = colour(rng, (0, 0.15), (0.3, 0.95))
    count = int(rng.integers(1, 3))
    half, low, high = rng.uniform(0.12, 0.2), rng.uniform(0.28, 0.4), rng.uniform(0.7, 0.85)
    for index in range(count):
        middle = (index + 0.5) / count
        lit = night and rng.random() < 0.5
        pane = np.array([1.0, 0.85, 0.55]) if lit else colour(rng, (0.05, 0.3), (0.1, 0.45), (0.5, 0.65))
        half_width = half if count == 2 else half * 1.6
        left, right = int((middle - half_width) * SIZE), int((middle + half_width) * SIZE)
        top, bottom = int((1 - high) * SIZE), int((1 - low) * SIZE)
        cv2.rectangle(image, (left - 5, top - 5), (right + 5, bottom + 7), frame.tolist(), -1)
        cv2.rectangle(image, (left, top), (right, bottom), pane.tolist(), -1)
        shine = _mix(pane, np.minimum(pane * 1.5, 1), np.linspace(1, 0, bottom - top)[:, None] * np.ones(right - left))
        image[top:bottom, left:right] = shine
        cv2.line(image, ((left + right) // 2, top), ((left + right) // 2, bottom), frame.tolist(), 4)
    return np.clip(image[::-1], 0, 1)


def poster(rng: np.random.Generator) -> np.ndarray:
    """A print: shapes, a fade and letters, as on posters, screens, packages and labels."""
    fade = np.linspace(0, 1, SIZE)[:, None] * np.ones(SIZE)
    image = np.ascontiguousarray(_mix(colour(rng), colour(rng), fade if rng.random() < 0.5 else fade.T))
    for _ in range(int(rng.integers(2, 9))):
        ink = colour(rng, (0, 1), (0, 1)).tolist()
        x, y, w, h = (int(value) for value in rng.integers(0, SIZE, 4))
        kind = rng.integers(4)
        if kind == 0:
            cv2.circle(image, (x, y), w // 4 + 4, ink, -1, cv2.LINE_AA)
        elif kind == 1:
            cv2.rectangle(image, (x, y), (x + w // 2, y + h // 3), ink, -1)
        elif kind == 2:
            cv2.line(image, (x, y), (w, h), ink, int(rng.integers(1, 12)), cv2.LINE_AA)
        else:
            cv2.ellipse(image, (x, y), (w // 3 + 2, h // 5 + 2), float(rng.uniform(0, 180)), 0, 360, ink, -1)
    for _ in range(int(rng.integers(0, 4))):
        letters = ''.join(chr(65 + int(letter)) for letter in rng.integers(0, 26, int(rng.integers(3, 9))))
        place = (int(rng.integers(0, 120)), int(rng.integers(30, SIZE)))
        ink = colour(rng, (0, 1), (0, 1)).tolist()
        cv2.putText(image, letters, place, int(rng.integers(0, 5)), float(rng.uniform(0.6, 2.2)), ink, 2, cv2.LINE_AA)
    return np.clip(image[::-1], 0, 1)


def asphalt(rng: np.random.Generator, base: Colour) -> np.ndarray:
    """Grains, patches and cracks."""
    image = concrete(rng, base)
    cracks = np.abs(noise(rng, 1.6)) < 0.012
    return np.clip(np.where(cracks[..., None], image * 0.6, image), 0, 1)


def photo(rng: np.random.Generator, picture: np.ndarray) -> np.ndarray:
    """A square part of a picture (H, W, 3) uint8, mirrored at its ends so that it repeats without a seam if asked."""
    height, width = picture.shape[:2]
    side = max(1, int(min(height, width) * rng.uniform(0.5, 1.0)))
    top, left = int(rng.integers(height - side + 1)), int(rng.integers(width - side + 1))
    part = picture[top : top + side, left : left + side]
    return cv2.resize(part, (SIZE, SIZE), interpolation=cv2.INTER_AREA)[::-1].astype(np.float32) / 255


def mirrored(texture: np.ndarray) -> np.ndarray:
    """The texture and its mirror images in one, so that it repeats without a seam."""
    half = cv2.resize(texture, (SIZE // 2, SIZE // 2), interpolation=cv2.INTER_AREA)
    row = np.concatenate([half, half[:, ::-1]], 1)
    return np.concatenate([row, row[::-1]], 0)
