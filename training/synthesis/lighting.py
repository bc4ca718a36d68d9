"""How much light reaches points, and what they send back."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from training.synthesis.raycast import Caster
from training.synthesis.smoothing import smooth_over_surfaces
from training.synthesis.surface import Points, dot, unit
from training.synthesis.world import Light, Scene

_AMBIENT_RAYS = 2
# Of ambient light, that which a neighbour takes away; the rest is what it reflects.
_DARKEST = 0.75


@dataclass(frozen=True)
class Lightmap:
    """The light that reaches the surfaces of a picture, for finer rays to share.

    Attributes:
        row: (H W,) index of each pixel's point, -1 where there is none.
        points: those points.
        light: (N, 1 + lights), see `incoming`.
    """

    row: np.ndarray
    points: Points
    light: np.ndarray


def incoming(scene: Scene, caster: Caster, points: Points, rng: np.random.Generator) -> np.ndarray:
    """(N, 1 + lights) float32: the share of ambient light, then of each light, that reaches points: one or two rays."""
    count = len(points.place)
    start = points.place + points.normal * (1e-3 + 2e-4 * points.distance)[:, None]
    light = np.zeros((count, 1 + len(scene.lights)), np.float32)
    for _ in range(_AMBIENT_RAYS):
        # A unit vector added to the normal is distributed as the cosine.
        towards = unit(points.normal * 1.001 + _directions(rng, count))
        reach = scene.reach * rng.uniform(0.3, 1, count).astype(np.float32)
        light[:, 0] += 1 - _DARKEST * caster.blocked(start, towards, reach)
    light[:, 0] /= _AMBIENT_RAYS
    for index, lamp in enumerate(scene.lights):
        towards, strength = _towards(lamp, points.place)
        matters = np.flatnonzero((dot(points.normal, towards) > 0) & (strength > 1e-3))
        jitter = np.float32(lamp.radius) * _directions(rng, len(matters))
        if lamp.sun:
            aim, reach = towards[matters] + jitter, np.full(len(matters), 1e3, np.float32)
        else:
            aim = lamp.place.astype(np.float32) + jitter - start[matters]
            # Short of the lamp itself, which has a shape of its own.
            reach = np.maximum(np.sqrt(dot(aim, aim)) - np.float32(2 * lamp.radius), 1e-3)
        light[matters, index + 1] = ~caster.blocked(start[matters], unit(aim), reach)
    return light


def make_lightmap(
    scene: Scene, caster: Caster, points: Points, found: np.ndarray, size: tuple[int, int], rng: np.random.Generator
) -> Lightmap:
    """The light of a picture's points, each sharing its rays with its neighbours on the same surface.

    Args:
        scene: with its lights.
        caster: for shadow rays.
        points: what the pixels show.
        found: (N,) the pixel of each.
        size: height and width of the picture.
        rng: for the directions of rays.
    """
    light = incoming(scene, caster, points, rng)
    full = np.zeros((size[0] * size[1], light.shape[1] + 4), np.float32)
    full[found, :3], full[found, 3], full[found, 4:] = points.normal, 1 / points.distance, light
    full = full.reshape(*size, -1)
    smooth = smooth_over_surfaces(full[..., 4:], full[..., :3], full[..., 3])
    row = np.full(size[0] * size[1], -1, np.int64)
    row[found] = np.arange(len(found))
    return Lightmap(row, points, smooth.reshape(len(row), -1)[found])


def shared_light(
    lightmap: Lightmap, scene: Scene, caster: Caster, points: Points, pixels: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """The light of points between a picture's: that of a neighbour on the same surface, else by rays of their own.

    pixels: (4, N) the four pixels around each point, nearest first.
    """
    light = np.zeros((len(points.place), lightmap.light.shape[1]), np.float32)
    open_ = np.arange(len(light))
    known = lightmap.points
    for candidates in pixels:
        row = lightmap.row[candidates[open_]]
        normal = known.normal[row]
        off = np.abs(dot(points.place[open_] - known.place[row], normal))
        same = (row >= 0) & (dot(points.normal[open_], normal) > 0.9) & (off < 5e-3 * points.distance[open_])
        light[open_[same]] = lightmap.light[row[same]]
        open_ = open_[~same]
    if len(open_):
        rest = Points(*(getattr(points, name)[open_] for name in Points.__dataclass_fields__))
        light[open_] = incoming(scene, caster, rest, rng)
    return light


def shade(scene: Scene, points: Points, light: np.ndarray) -> np.ndarray:
    """(N, 3) linear RGB that points send to the viewer: Lambert, and Blinn's highlights; then haze."""
    upward = 0.5 + 0.5 * points.normal[:, 2:]
    above, below = scene.ambient.astype(np.float32)
    diffuse = (above * upward + below * (1 - upward)) * light[:, :1]
    shine = np.zeros_like(diffuse)
    for index, lamp in enumerate(scene.lights):
        towards, strength = _towards(lamp, points.place)
        lit = (light[:, index + 1] * strength)[:, None] * lamp.colour.astype(np.float32)
        diffuse += lit * np.maximum(dot(points.normal, towards), 0)[:, None]
        cosine = np.maximum(dot(points.normal, unit(towards - points.ray)), 0)
        shine += lit * (points.specular * cosine**points.gloss)[:, None]
    seen = points.albedo * (diffuse + points.emission[:, None]) + shine
    if np.isfinite(scene.visibility):
        share = np.exp(points.distance / np.float32(-scene.visibility))[:, None]
        seen = seen * share + (1 - share) * scene.sky.horizon.astype(np.float32)
    return seen


def _directions(rng: np.random.Generator, count: int) -> np.ndarray:
    """(N, 3) float32 unit vectors, uniform over the sphere."""
    return unit(rng.standard_normal((count, 3), np.float32))


def _towards(lamp: Light, places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Unit vectors (N, 3) from places to a light, and its strength there (N,)."""
    if lamp.sun:
        return np.broadcast_to(lamp.place.astype(np.float32), places.shape), np.ones(len(places), np.float32)
    towards = lamp.place.astype(np.float32) - places
    squared = dot(towards, towards)
    # The radius keeps what touches the lamp from burning out.
    return unit(towards), 1 / (squared + np.float32(lamp.radius**2 + 0.05))
