"""From a scene and a camera to a picture in linear light and its exact depth."""

from __future__ import annotations

import numpy as np

from training.synthesis.camera import Camera
from training.synthesis.lighting import Lightmap, make_lightmap, shade, shared_light
from training.synthesis.raycast import Caster, Hits
from training.synthesis.sky import sky_colour
from training.synthesis.surface import Points, Surfaces
from training.synthesis.world import Scene

# Neighbouring pixels that differ by this much (of white, in gamma 2) are cast again with more rays.
_CONTRAST = 0.12
# Depth changes by this share from one pixel to the next only at an edge.
_STEP = 0.08


class Renderer:
    """Casts rays into one scene; built once for all its views."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self._surfaces = Surfaces(scene)
        self.caster = Caster(self._surfaces.corners)

    def render(self, camera: Camera, rng: np.random.Generator, supersampling: int = 2) -> tuple[np.ndarray, np.ndarray]:
        """A picture.

        Args:
            camera: the view.
            rng: for the directions of shadow rays.
            supersampling: n: pixels that differ from a neighbour get the mean of n x n rays instead of one ray.

        Returns:
            (H, W, 3) float32 linear RGB, and (H, W) float32 depth: metres along the optical axis at each pixel's
            centre, +Inf where nothing is hit. No supersampling touches it, so that edges do not mix.
        """
        pixels = camera.pixels()
        directions, cosine = camera.rays(pixels)
        hits = self._cast(camera, directions)
        depth = (hits.distance * cosine).astype(np.float32).reshape(camera.size)
        colour, found, points = self._look(camera, directions, hits)
        lightmap = make_lightmap(self.scene, self.caster, points, found, camera.size, rng)
        colour[found] = shade(self.scene, points, lightmap.light)
        if supersampling > 1:
            again = np.flatnonzero(_contrasted(colour.reshape(*camera.size, 3), depth))
            finer = self._finer(camera, pixels[again], lightmap, rng, supersampling)
            # Lamps and highlights far above white would swallow the edge of what is in front of them.
            colour[again] = np.minimum(finer, 4 * np.median(colour) + 4).mean(1)
        return colour.reshape(*camera.size, 3), depth

    def _cast(self, camera: Camera, directions: np.ndarray) -> Hits:
        return self.caster.first(np.broadcast_to(camera.position, directions.shape), directions)

    def _look(self, camera: Camera, directions: np.ndarray, hits: Hits) -> tuple[np.ndarray, np.ndarray, Points]:
        """The colour (N, 3) of rays that end in the sky, which rays (M,) do not, and the points that those hit."""
        colour = np.zeros(directions.shape, np.float32)
        missed = np.flatnonzero(hits.triangle < 0)
        colour[missed] = sky_colour(self.scene.sky, directions[missed])
        found = np.flatnonzero(hits.triangle >= 0)
        rays = directions[found].astype(np.float32)
        points = self._surfaces.at(hits.only(found), camera.position, rays, camera.K[0, 0])
        return colour, found, points

    def _finer(
        self, camera: Camera, pixels: np.ndarray, lightmap: Lightmap, rng: np.random.Generator, supersampling: int
    ) -> np.ndarray:
        """(N, n n, 3): the colours of n x n rays through each of some pixels (N, 2)."""
        offsets = (np.arange(supersampling) + 0.5) / supersampling - 0.5
        shifts = np.stack(np.meshgrid(offsets, offsets), -1).reshape(-1, 2)
        places = (pixels[:, None] + shifts).reshape(-1, 2)
        directions, _ = camera.rays(places)
        hits = self._cast(camera, directions)
        colour, found, points = self._look(camera, directions, hits)
        around = _around(places[found], camera.size)
        light = shared_light(lightmap, self.scene, self.caster, points, around, rng)
        colour[found] = shade(self.scene, points, light)
        return colour.reshape(len(pixels), len(shifts), 3)


def _around(places: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(4, N): the indices of the four pixels around places (N, 2) of column and row, the nearest first."""
    nearest = np.rint(places)
    step = np.where(places >= nearest, 1, -1)
    limits = np.array([size[1] - 1, size[0] - 1])
    corners = [nearest + step * turn for turn in ((0, 0), (1, 0), (0, 1), (1, 1))]
    columns, rows = np.clip(corners, 0, limits).astype(np.int64).transpose(2, 0, 1)
    return rows * size[1] + columns


def _contrasted(colour: np.ndarray, depth: np.ndarray) -> np.ndarray:
    """(H, W) bool: pixels that differ from the one beside or below them, in colour or in depth."""
    white = 2.5 * colour.mean() + 1e-6
    values = np.sqrt(np.clip(colour / white, 0, 1.2))
    far = np.log(np.minimum(depth, 1e4))
    marked = np.zeros(depth.shape, bool)
    for axis in (0, 1):
        edge = (np.abs(np.diff(values, axis=axis)) > _CONTRAST).any(2) | (np.abs(np.diff(far, axis=axis)) > _STEP)
        for part in (slice(1, None), slice(None, -1)):
            marked[(part, slice(None)) if axis == 0 else (slice(None), part)] |= edge
    return marked
