"""Unit shapes: boxes, lathe shapes, superquadrics, blobs, tubes, leaves, terrain."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from trimesh import creation

from training.synthesis.mesh import Shape, make_shape

Profile = tuple[tuple[float, float], ...]
_CUBE = np.array([[x, y, z] for x in (-0.5, 0.5) for y in (-0.5, 0.5) for z in (0.0, 1.0)], np.float32)
_CUBE_FACES = np.array(
    [[0, 1, 3], [0, 3, 2], [4, 6, 7], [4, 7, 5], [0, 4, 5], [0, 5, 1], [2, 3, 7], [2, 7, 6], [0, 2, 6], [0, 6, 4],
     [1, 5, 7], [1, 7, 3]]
)  # fmt: skip


@lru_cache(maxsize=1)
def box() -> Shape:
    """A box."""
    return make_shape(_CUBE, _CUBE_FACES, smooth=False)


@lru_cache(maxsize=1)
def panel() -> Shape:
    """A rectangle in the xz plane, that is upright, seen from both sides."""
    vertices = np.array([[-0.5, 0, 0], [0.5, 0, 0], [0.5, 0, 1], [-0.5, 0, 1]])
    return make_shape(vertices, np.array([[0, 1, 2], [0, 2, 3]]), smooth=False)


@lru_cache(maxsize=1)
def sheet() -> Shape:
    """A rectangle in the xy plane, that is lying."""
    vertices = np.array([[-0.5, -0.5, 0], [0.5, -0.5, 0], [0.5, 0.5, 0], [-0.5, 0.5, 0]])
    return make_shape(vertices, np.array([[0, 1, 2], [0, 2, 3]]), smooth=False)


@lru_cache(maxsize=64)
def lathe(profile: Profile, sections: int = 20) -> Shape:
    """A profile of (radius, height) turned about z; a radius of 0.5 and a height of 1 make it a unit shape."""
    mesh = creation.revolve(np.asarray(profile, np.float64), sections=sections)
    return make_shape(mesh.vertices, mesh.faces)


def cylinder(sections: int = 16) -> Shape:
    """A cylinder."""
    return lathe(((0, 0), (0.5, 0), (0.5, 1), (0, 1)), sections)


def cone(top: float = 0.0, sections: int = 16) -> Shape:
    """A cone, cut off where it is `top` wide."""
    return lathe(((0, 0), (0.5, 0), (top / 2, 1), (0, 1)), sections)


@lru_cache(maxsize=1)
def ball() -> Shape:
    """A sphere of diameter 1."""
    mesh = creation.icosphere(subdivisions=2)
    return make_shape(mesh.vertices / 2 + [0, 0, 0.5], mesh.faces)


@lru_cache(maxsize=64)
def superquadric(east: float, north: float, steps: int = 14) -> Shape:
    """A superquadric (Barr 1981): exponents near 0 give a rounded box, 1 an ellipsoid, 2 an octahedron."""
    latitude = np.linspace(-np.pi / 2, np.pi / 2, steps)
    longitude = np.linspace(-np.pi, np.pi, 2 * steps, endpoint=False)
    power = lambda value, exponent: np.sign(value) * np.abs(value) ** exponent  # noqa: E731
    ring = power(np.cos(latitude), north)[:, None]
    x, y = ring * power(np.cos(longitude), east), ring * power(np.sin(longitude), east)
    z = np.broadcast_to(power(np.sin(latitude), north)[:, None], x.shape)
    vertices = np.stack([x, y, z + 1], -1).reshape(-1, 3) / 2
    return make_shape(vertices, _grid_faces(steps, 2 * steps, wrap=True))


def rounded_box(rounding: float = 0.3) -> Shape:
    """A box with round edges, such as a cushion; rounding from 0.1 (nearly a box) to 1 (an ellipsoid)."""
    return superquadric(rounding, rounding)


def _grid_faces(rows: int, columns: int, *, wrap: bool = False) -> np.ndarray:
    """Two triangles for each cell of a grid of vertices, numbered row by row."""
    row, column = np.mgrid[0 : rows - 1, 0 : columns - (0 if wrap else 1)]
    a, b = row * columns + column, row * columns + (column + 1) % columns
    c, d = b + columns, a + columns
    return np.stack([a, b, c, a, c, d], -1).reshape(-1, 3)


def blob(rng: np.random.Generator, roughness: float = 0.3, subdivisions: int = 3) -> Shape:
    """A sphere pushed in and out by a few random waves: stones, bushes, heaps."""
    mesh = creation.icosphere(subdivisions=subdivisions)
    points = np.asarray(mesh.vertices)
    radius = np.ones(len(points))
    for octave in (1, 2, 4):
        waves, phases = rng.normal(0, 1.5 * octave, (3, 3)), rng.uniform(0, 2 * np.pi, 3)
        radius += roughness / octave / 2 * np.sin(points @ waves.T + phases).mean(1)
    points = points * radius[:, None]
    low, high = points.min(0), points.max(0)
    points = (points - low) / (high - low) - [0.5, 0.5, 0]
    return make_shape(points, mesh.faces)


def tube(path: np.ndarray, radius: float | Sequence[float], sections: int = 6) -> Shape:
    """A tube of a radius (or one for each point) in metres along a path (N, 3): cables, branches, handles."""
    path = np.asarray(path, np.float64)
    along = np.gradient(path, axis=0)
    along /= np.maximum(np.linalg.norm(along, axis=1, keepdims=True), 1e-9)
    # One helper axis for the whole path, that along which it runs least: rings must not twist between points.
    helper = np.eye(3)[np.abs(along).max(0).argmin()]
    side = np.cross(along, helper)
    side /= np.maximum(np.linalg.norm(side, axis=1, keepdims=True), 1e-9)
    other = np.cross(along, side)
    angles = np.linspace(0, 2 * np.pi, sections, endpoint=False)[:, None, None]
    radii = np.broadcast_to(np.asarray(radius, np.float64), len(path))[:, None]
    rings = path + radii * (np.cos(angles) * side + np.sin(angles) * other)
    vertices = rings.transpose(1, 0, 2).reshape(-1, 3)
    return make_shape(vertices, _grid_faces(len(path), sections, wrap=True))


def leaves(rng: np.random.Generator, centres: np.ndarray, length: float, width: float) -> Shape:
    """A leaf of two triangles at each of the centres (N, 3), turned at random, all sizes in metres."""
    count = len(centres)
    along, across = rng.normal(size=(2, count, 3))
    along /= np.linalg.norm(along, axis=1, keepdims=True)
    across -= (across * along).sum(1, keepdims=True) * along
    across /= np.linalg.norm(across, axis=1, keepdims=True)
    along, across = (
        along * length * rng.uniform(0.6, 1.2, (count, 1)),
        across * width * rng.uniform(0.6, 1.2, (count, 1)),
    )
    quads = np.stack([centres - along, centres + across, centres + along, centres - across], 1)
    faces = np.arange(count)[:, None, None] * 4 + np.array([[0, 1, 2], [0, 2, 3]])
    return make_shape(quads.reshape(-1, 3), faces.reshape(-1, 3), smooth=False)


def terrain(heights: np.ndarray, xs: np.ndarray, ys: np.ndarray) -> Shape:
    """A surface of heights (len(xs), len(ys)) above a grid, all in metres."""
    x, y = np.meshgrid(xs, ys, indexing='ij')
    vertices = np.stack([x, y, heights], -1).reshape(-1, 3)
    return make_shape(vertices, _grid_faces(len(xs), len(ys)))


def cloth(rng: np.random.Generator, folds: int = 6, depth: float = 0.05) -> Shape:
    """An upright, folded sheet, such as a curtain: 1 wide, 1 high, folded by `depth` of its width."""
    x = np.linspace(-0.5, 0.5, 8 * folds)
    wave = depth * np.sin(2 * np.pi * folds * x + rng.uniform(0, 6)) * (1 + 0.3 * np.sin(7 * x))
    top = np.stack([x, 0.6 * wave, np.ones_like(x)], -1)
    bottom = np.stack([x, wave, np.zeros_like(x)], -1)
    return make_shape(np.concatenate([top, bottom]), _grid_faces(2, len(x)))
