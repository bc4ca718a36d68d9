"""What rays have hit: where, which way it faces, and what it is made of."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from training.synthesis.atlas import Atlas
from training.synthesis.raycast import Hits
from training.synthesis.world import Scene


@dataclass(frozen=True)
class Points:
    """Points on surfaces, seen along rays; all float32.

    Attributes:
        place: (N, 3) metres.
        normal: (N, 3) unit, towards the viewer.
        ray: (N, 3) unit, from the viewer.
        distance: (N,) metres along it.
        albedo: (N, 3) linear RGB.
        specular, gloss, emission: (N,) of the material, see Palette.
    """

    place: np.ndarray
    normal: np.ndarray
    ray: np.ndarray
    distance: np.ndarray
    albedo: np.ndarray
    specular: np.ndarray
    gloss: np.ndarray
    emission: np.ndarray


class Surfaces:
    """The surfaces of a scene."""

    def __init__(self, scene: Scene) -> None:
        self.corners, self._normals, self._texture, self._material, self._tint = scene.model.arrays()
        palette = scene.palette
        self._atlas = Atlas(palette.textures)
        self._tile = np.asarray(palette.tile, np.float32)
        self._finish = np.array([palette.specular, palette.gloss, palette.emission], np.float32)

    def at(self, hits: Hits, origin: np.ndarray, directions: np.ndarray, focal: float) -> Points:
        """The points that rays have hit.

        Args:
            hits: of N rays, each of which has hit something.
            origin: (3,) of all rays.
            directions: (N, 3) unit.
            focal: pixels, for how much of a texture one pixel covers.
        """
        triangle = hits.triangle
        normal = unit(_blend(self._normals[triangle], hits.weights))
        facing = dot(normal, directions)
        normal *= -np.sign(facing)[:, None]
        material = self._material[triangle]
        tile = self._tile[material]
        where = _blend(self._texture[triangle], hits.weights) / tile[:, None]
        # The mean of the footprint's long and short side: neither blurred nor aliased.
        footprint = hits.distance / (focal * tile * np.sqrt(np.maximum(np.abs(facing), 0.05)))
        albedo = self._atlas.sample(material, where, footprint) * self._tint[triangle]
        place = origin.astype(np.float32) + directions * hits.distance[:, None]
        return Points(place, normal, directions, hits.distance, albedo, *self._finish[:, material])


def dot(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(N,) scalar products of rows."""
    return np.einsum('ij,ij->i', a, b)


def unit(vectors: np.ndarray) -> np.ndarray:
    """Rows (N, 3) made 1 long; in place."""
    vectors /= np.sqrt(np.maximum(dot(vectors, vectors), np.float32(1e-18)))[:, None]
    return vectors


def _blend(corners: np.ndarray, weights: np.ndarray) -> np.ndarray:
    return np.einsum('nij,ni->nj', corners, weights)
