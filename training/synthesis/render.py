"""From a scene and a camera to a picture in linear light and its exact depth."""

from __future__ import annotations

import numpy as np

from training.synthesis.atlas import Atlas
from training.synthesis.camera import Camera
from training.synthesis.raycast import Caster, Hits
from training.synthesis.sky import sky_colour
from training.synthesis.smoothing import smooth_over_surfaces
from training.synthesis.world import Light, Scene

_AMBIENT_RAYS = 2
# Neighbouring pixels that differ by this much (of white, in gamma 2) are cast again with more rays.
_CONTRAST = 0.05


class Renderer:
    """Casts rays into one scene; built once for all its views."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        corners, normals, texture, material, tint = scene.model.arrays()
        self._corners, self._normals, self._texture, self._tint = corners, normals, texture, tint
        self._material = material
        self.caster = Caster(corners)
        self._atlas = Atlas(scene.palette.textures)
        palette = scene.palette
        self._tile, self._specular, self._gloss, self._emission = (
            np.asarray(column, np.float32)
            for column in (palette.tile, palette.specular, palette.gloss, palette.emission)
        )

    def depth(self, camera: Camera) -> np.ndarray:
        """(H, W) float32: metres along the optical axis at each pixel's centre, +Inf where nothing is hit."""
        directions, cosine = camera.rays(camera.pixels())
        hits = self.caster.first(np.broadcast_to(camera.position, directions.shape), directions)
        return (hits.distance * cosine).astype(np.float32).reshape(camera.size)

    def render(self, camera: Camera, rng: np.random.Generator, supersampling: int = 2) -> tuple[np.ndarray, np.ndarray]:
        """A picture.

        Args:
            camera: the view.
            rng: for the directions of shadow rays.
            supersampling: n: pixels that differ from a neighbour get n x n rays instead of one.

        Returns:
            (H, W, 3) float32 linear RGB, and `depth` of the same view, which no supersampling touches.
        """
        pixels = camera.pixels()
        directions, cosine = camera.rays(pixels)
        hits = self.caster.first(np.broadcast_to(camera.position, directions.shape), directions)
        depth = (hits.distance * cosine).astype(np.float32).reshape(camera.size)
        colour = self._shade(camera, directions, hits, rng, grid=camera.size).reshape(*camera.size, 3)
        if supersampling > 1:
            again = np.flatnonzero(_contrasted(colour, depth))
            offsets = (np.arange(supersampling) + 0.5) / supersampling - 0.5
            shifts = np.stack(np.meshgrid(offsets, offsets), -1).reshape(-1, 2)
            if len(again):
                finer, _ = camera.rays((pixels[again][:, None] + shifts).reshape(-1, 2))
                hits = self.caster.first(np.broadcast_to(camera.position, finer.shape), finer)
                shaded = self._shade(camera, finer, hits, rng).reshape(len(again), -1, 3)
                # Highlights and lamps far above white would swallow the edge of what is in front of them.
                colour.reshape(-1, 3)[again] = np.minimum(shaded, 4 * np.median(colour) + 4).mean(1)
        return colour, depth

    def _shade(
        self,
        camera: Camera,
        directions: np.ndarray,
        hits: Hits,
        rng: np.random.Generator,
        grid: tuple[int, int] | None = None,
    ) -> np.ndarray:
        """(N, 3) linear RGB that comes back along rays; grid: the rays are those of a picture, and may share light."""
        scene = self.scene
        colour = sky_colour(scene.sky, directions)
        found = np.flatnonzero(hits.triangle >= 0)
        triangle, weights = hits.triangle[found], hits.weights[found, :, None]
        distance, ray = hits.distance[found, None], directions[found].astype(np.float32)
        points = camera.position.astype(np.float32) + ray * distance
        normals = (self._normals[triangle] * weights).sum(1)
        normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-9)
        facing = (normals * ray).sum(1, keepdims=True)
        normals = np.where(facing > 0, -normals, normals)
        material = self._material[triangle]
        where = (self._texture[triangle] * weights).sum(1) / self._tile[material, None]
        footprint = (
            distance[:, 0] / camera.K[0, 0] / self._tile[material] / np.sqrt(np.maximum(np.abs(facing[:, 0]), 0.05))
        )
        albedo = self._atlas.sample(material, where, footprint) * self._tint[triangle]

        light = self._visibility(points + normals * (1e-3 + 2e-4 * distance), normals, rng)
        if grid is not None:
            light = self._shared(light, found, grid, normals, distance)
        upward = 0.5 + 0.5 * normals[:, 2:]
        ambient = scene.ambient[0] * upward + scene.ambient[1] * (1 - upward)
        diffuse, shine = ambient * light[:, :1], np.zeros_like(albedo)
        for index, lamp in enumerate(scene.lights):
            towards, strength = _towards(lamp, points)
            lit = (light[:, index + 1] * strength)[:, None] * lamp.colour.astype(np.float32)
            diffuse += lit * np.maximum((normals * towards).sum(1, keepdims=True), 0)
            halfway = towards - ray
            halfway /= np.maximum(np.linalg.norm(halfway, axis=1, keepdims=True), 1e-6)
            cosine = np.maximum((normals * halfway).sum(1), 0) ** self._gloss[material]
            shine += lit * (self._specular[material] * cosine)[:, None]
        seen = albedo * (diffuse + self._emission[material, None]) + shine
        if np.isfinite(scene.visibility):
            share = np.exp(-distance / np.float32(scene.visibility))
            seen = seen * share + (1 - share) * scene.sky.horizon.astype(np.float32)
        colour[found] = seen
        return colour

    def _visibility(self, points: np.ndarray, normals: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """(N, 1 + lights): the share of ambient light, then of each light, that reaches points (N, 3)."""
        scene, count = self.scene, len(points)
        light = np.ones((count, 1 + len(scene.lights)), np.float32)
        blocked = np.zeros(count, np.float32)
        for _ in range(_AMBIENT_RAYS):
            # A unit vector added to the normal is distributed as the cosine.
            towards = normals + _unit(rng.normal(size=(count, 3)).astype(np.float32))
            towards = _unit(towards + 1e-3 * normals)
            reach = np.full(count, scene.reach, np.float32) * rng.uniform(0.3, 1, count).astype(np.float32)
            blocked += self.caster.blocked(points, towards, reach)
        light[:, 0] = 1 - 0.9 * blocked / _AMBIENT_RAYS
        for index, lamp in enumerate(scene.lights):
            towards, strength = _towards(lamp, points)
            matters = np.flatnonzero(((normals * towards).sum(1) > 0) & (strength > 1e-3))
            jitter = lamp.radius * _unit(rng.normal(size=(len(matters), 3)).astype(np.float32))
            if lamp.sun:
                aim, reach = towards[matters] + jitter, np.full(len(matters), 1e3, np.float32)
            else:
                aim = lamp.place.astype(np.float32) + jitter - points[matters]
                # Short of the lamp itself, which has a shape of its own.
                reach = np.linalg.norm(aim, axis=1) - 2 * lamp.radius
            visible = ~self.caster.blocked(points[matters], _unit(aim), np.maximum(reach, 1e-3))
            light[:, index + 1] = 0
            light[matters, index + 1] = visible
        return light

    @staticmethod
    def _shared(
        light: np.ndarray, found: np.ndarray, grid: tuple[int, int], normals: np.ndarray, distance: np.ndarray
    ) -> np.ndarray:
        """The light of points, averaged with that of their neighbours on the same surface: one ray each is noisy."""
        height, width = grid
        full = np.zeros((height * width, light.shape[1] + 4), np.float32)
        full[found] = np.concatenate([normals, 1 / distance, light], 1)
        full = full.reshape(height, width, -1)
        return smooth_over_surfaces(full[..., 4:], full[..., :3], full[..., 3]).reshape(height * width, -1)[found]


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)


def _towards(lamp: Light, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Unit vectors (N, 3) from points to a light, and its strength there (N,)."""
    if lamp.sun:
        return np.broadcast_to(lamp.place.astype(np.float32), points.shape), np.ones(len(points), np.float32)
    towards = lamp.place.astype(np.float32) - points
    distance = np.maximum(np.linalg.norm(towards, axis=1), 1e-3)
    # The radius keeps what touches the lamp from burning out.
    return towards / distance[:, None], 1 / (distance**2 + lamp.radius**2 + 0.05)


def _contrasted(colour: np.ndarray, depth: np.ndarray) -> np.ndarray:
    """(H, W) bool: pixels that differ from the one beside or below them, in colour or in depth."""
    white = 2.5 * colour.mean() + 1e-6
    values = np.concatenate([np.sqrt(np.clip(colour / white, 0, 1.2)), _CONTRAST * 20 / (1 + depth[..., None])], 2)
    marked = np.zeros(depth.shape, bool)
    beside = (np.abs(np.diff(values, axis=1)) > _CONTRAST).any(2)
    below = (np.abs(np.diff(values, axis=0)) > _CONTRAST).any(2)
    marked[:, 1:] |= beside
    marked[:, :-1] |= beside
    marked[1:] |= below
    marked[:-1] |= below
    return marked
