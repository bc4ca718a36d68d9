"""First hits of rays in triangles, with Embree."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from embreex.mesh_construction import TriangleMesh
from embreex.rtcore_scene import EmbreeScene


@dataclass(frozen=True)
class Hits:
    """What N rays hit first.

    Attributes:
        triangle: (N,) its index, -1 for nothing.
        distance: (N,) float32 along the ray, +Inf for nothing.
        weights: (N, 3) barycentric: of the triangle's corners at the point.
    """

    triangle: np.ndarray
    distance: np.ndarray
    weights: np.ndarray

    def only(self, rays: np.ndarray) -> Hits:
        """Those of some rays, by index."""
        return Hits(self.triangle[rays], self.distance[rays], self.weights[rays])


class Caster:
    """Casts rays into triangles (F, 3, 3)."""

    def __init__(self, corners: np.ndarray) -> None:
        self._scene = EmbreeScene()
        TriangleMesh(self._scene, np.ascontiguousarray(corners, np.float32))

    def first(self, origins: np.ndarray, directions: np.ndarray) -> Hits:
        """The first hit of each ray: origins and directions (N, 3), the latter of length 1."""
        found = self._scene.run(_rays(origins), _rays(directions), output=1)
        missed = found['primID'] < 0
        u, v = found['u'], found['v']
        distance = np.where(missed, np.float32(np.inf), found['tfar'])
        return Hits(found['primID'], distance, np.stack([1 - u - v, u, v], 1))

    def blocked(self, origins: np.ndarray, directions: np.ndarray, reach: np.ndarray) -> np.ndarray:
        """(N,) bool: whether there is anything on each ray up to its reach."""
        if not len(origins):
            return np.zeros(0, bool)
        return self._scene.run(_rays(origins), _rays(directions), np.asarray(reach, np.float32), query='OCCLUDED') >= 0


def _rays(vectors: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(vectors, np.float32)
