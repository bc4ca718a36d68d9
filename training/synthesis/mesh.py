"""Triangles with textures: how shapes are put together into models, and models into a world."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

Vector = Sequence[float]
# How far a face may turn from the mean of its neighbours and still be part of one smooth surface: cos 40 degrees.
_CREASE = 0.77


@dataclass(frozen=True)
class Shape:
    """A surface without material. Unit shapes stand on z = 0, are 1 high and 1 wide.

    Attributes:
        corners: (F, 3, 3) positions of the corners of each triangle.
        normals: (F, 3, 3) unit normals at the corners.
    """

    corners: np.ndarray
    normals: np.ndarray


def make_shape(vertices: np.ndarray, faces: np.ndarray, *, smooth: bool = True) -> Shape:
    """A shape of vertices (V, 3) and faces (F, 3); smooth: normals are interpolated except over creases."""
    corners = np.asarray(vertices, np.float32)[faces]
    kept = has_area(corners)
    return Shape(corners[kept], corner_normals(corners[kept], np.asarray(faces)[kept], smooth=smooth))


def has_area(corners: np.ndarray) -> np.ndarray:
    """(F,) bool: which triangles (F, 3, 3) are more than a line."""
    return np.linalg.norm(_face_normals(corners), axis=1) > 0


def corner_normals(corners: np.ndarray, faces: np.ndarray, *, smooth: bool = True) -> np.ndarray:
    """Unit normals (F, 3, 3) float32 at the corners (F, 3, 3) of triangles that all have an area.

    faces: (F, 3), which corners are of one vertex; smooth: their normals are one, except over creases.
    """
    flat = _face_normals(corners)
    normals = np.repeat(_unit(flat)[:, None], 3, axis=1)
    if smooth:
        sums = np.zeros((int(faces.max(initial=-1)) + 1, 3), np.float64)
        np.add.at(sums, faces.ravel(), np.repeat(flat, 3, axis=0))  # weighted by area
        mean = _unit(sums).astype(np.float32)[faces]
        normals = np.where((mean * normals).sum(-1, keepdims=True) > _CREASE, mean, normals)
    return normals.astype(np.float32)


def _face_normals(corners: np.ndarray) -> np.ndarray:
    return np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-20)


def rotation(yaw: float = 0.0, pitch: float = 0.0, roll: float = 0.0) -> np.ndarray:
    """(3, 3): roll about x, then pitch about y, then yaw about z, in radians."""
    (cy, cp, cr), (sy, sp, sr) = np.cos([yaw, pitch, roll]), np.sin([yaw, pitch, roll])
    about_z = np.array([[cy, -sy, 0], [sy, cy, 0], [0, 0, 1]])
    about_y = np.array([[cp, 0, sp], [0, 1, 0], [-sp, 0, cp]])
    about_x = np.array([[1, 0, 0], [0, cr, -sr], [0, sr, cr]])
    return (about_z @ about_y @ about_x).astype(np.float32)


def rotated(vectors: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Vectors (..., 3) turned by a matrix (3, 3)."""
    # Not by BLAS, whose rounding depends on its threads: pictures must not depend on the number of processes.
    return np.einsum('...j,kj->...k', vectors, matrix)


@dataclass
class Model:
    """Textured triangles.

    Attributes:
        parts: tuples of corners (F, 3, 3), normals (F, 3, 3), texture coordinates (F, 3, 2) in metres (or 0..1 where
            `fit`), material (F,) int32, and tint (F, 3), which multiplies the texture's colour.
    """

    parts: list[tuple[np.ndarray, ...]] = field(default_factory=list)

    def add(
        self,
        shape: Shape,
        material: int,
        size: Vector = (1.0, 1.0, 1.0),
        at: Vector = (0.0, 0.0, 0.0),
        turn: Vector = (0.0, 0.0, 0.0),
        tint: Vector = (1.0, 1.0, 1.0),
        fit: bool = False,
    ) -> Model:
        """Add a shape.

        Args:
            shape: what.
            material: its index in the Palette.
            size: factors along x, y, z: for a unit shape its extents in metres.
            at: where the shape's origin comes to lie.
            turn: yaw, pitch, roll in radians, about the origin.
            tint: factor of the texture's colour.
            fit: the texture covers the shape once, instead of repeating every so many metres.
        """
        scale = np.asarray(size, np.float32)
        corners = shape.corners * scale
        normals = _unit(shape.normals / scale)
        texture = _box_mapping(corners)
        if fit:
            low, high = texture.min((0, 1)), texture.max((0, 1))
            texture = (texture - low) / np.maximum(high - low, 1e-6)
        turned = rotation(*turn)
        count = len(corners)
        self.parts.append(
            (
                rotated(corners, turned) + np.asarray(at, np.float32),
                rotated(normals, turned),
                texture,
                np.full(count, material, np.int32),
                np.broadcast_to(np.asarray(tint, np.float32), (count, 3)),
            )
        )
        return self

    def add_mapped(self, shape: Shape, where: np.ndarray, material: int, tint: Vector = (1.0, 1.0, 1.0)) -> Model:
        """Add a shape in its own size and place, with texture coordinates (F, 3, 2) of its own."""
        count = len(shape.corners)
        tints = np.broadcast_to(np.asarray(tint, np.float32), (count, 3))
        self.parts.append((shape.corners, shape.normals, where, np.full(count, material, np.int32), tints))
        return self

    def place(self, model: Model, at: Vector = (0.0, 0.0, 0.0), yaw: float = 0.0, scale: float = 1.0) -> Model:
        """Add another model, scaled, turned about z and moved."""
        turned = rotation(yaw)
        for corners, normals, *rest in model.parts:
            moved = rotated(corners * np.float32(scale), turned) + np.asarray(at, np.float32)
            self.parts.append((moved, rotated(normals, turned), *rest))
        return self

    def arrays(self) -> tuple[np.ndarray, ...]:
        """All parts as one: corners, normals, texture coordinates, materials, tints."""
        return tuple(np.ascontiguousarray(np.concatenate(column)) for column in zip(*self.parts, strict=True))

    def bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """The lowest and the highest x, y, z."""
        corners = np.concatenate([part[0].reshape(-1, 3) for part in self.parts])
        return corners.min(0), corners.max(0)


def _box_mapping(corners: np.ndarray) -> np.ndarray:
    """Texture coordinates (F, 3, 2): each triangle seen along the axis that it faces most, upright on walls."""
    axis = np.abs(_face_normals(corners)).argmax(1)
    across = np.where(axis == 0, 1, 0)
    up = np.where(axis == 2, 1, 2)
    index = np.broadcast_to(np.stack([across, up], 1)[:, None], (len(corners), 3, 2))
    return np.take_along_axis(corners, index, axis=2)
