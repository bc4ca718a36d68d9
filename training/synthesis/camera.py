"""The camera: where it is, where it looks, and which ray goes through which pixel."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from training.synthesis.mesh import rotated
from training.synthesis.raycast import Caster
from training.synthesis.world import Box, Scene

_TRIES = 24
_COARSE = (12, 16)
_MOST_SKY = 0.6
_HIGHEST = 0.35  # radians above the horizon


@dataclass(frozen=True)
class Camera:
    """A pinhole camera.

    Attributes:
        K: (3, 3) in pixels; (0, 0) is the centre of the first pixel.
        rotation: (3, 3) from camera (x right, y down, z forward) to world axes.
        position: (3,) in the world, metres.
        size: height and width of the picture.
    """

    K: np.ndarray
    rotation: np.ndarray
    position: np.ndarray
    size: tuple[int, int]

    def pixels(self) -> np.ndarray:
        """(H W, 2) float64: column and row of each pixel's centre."""
        rows, columns = np.mgrid[0 : self.size[0], 0 : self.size[1]]
        return np.stack([columns.ravel(), rows.ravel()], 1).astype(np.float64)

    def rays(self, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Unit directions (N, 3) in the world through pixels (N, 2), and their cosines (N,) to the optical axis."""
        x = (pixels[:, 0] - self.K[0, 2]) / self.K[0, 0]
        y = (pixels[:, 1] - self.K[1, 2]) / self.K[1, 1]
        cosine = 1 / np.sqrt(x**2 + y**2 + 1)
        return rotated(np.stack([x, y, np.ones_like(x)], 1) * cosine[:, None], self.rotation), cosine

    def at_size(self, size: tuple[int, int]) -> Camera:
        """The same view in another number of pixels."""
        scale = np.array([size[1] / self.size[1], size[0] / self.size[0]])
        K = self.K.copy()
        K[[0, 1], [0, 1]] *= scale
        K[:2, 2] = (K[:2, 2] + 0.5) * scale - 0.5
        return Camera(K, self.rotation, self.position, size)


def look(position: np.ndarray, yaw: float, pitch: float, roll: float) -> np.ndarray:
    """(3, 3) rotation of a camera that looks along yaw (about z, from x), up by pitch, tilted by roll, radians."""
    forward = np.array([np.cos(yaw) * np.cos(pitch), np.sin(yaw) * np.cos(pitch), np.sin(pitch)])
    right = np.array([np.sin(yaw), -np.cos(yaw), 0.0])
    down = np.cross(forward, right)
    turned_right = np.cos(roll) * right + np.sin(roll) * down
    return np.stack([turned_right, np.cross(forward, turned_right), forward], 1)


def intrinsics(rng: np.random.Generator, size: tuple[int, int], field_of_view: tuple[float, float]) -> np.ndarray:
    """(3, 3): within field_of_view, degrees across, drawn evenly; the principal point near the middle."""
    height, width = size
    focal = width / 2 / np.tan(np.radians(rng.uniform(*field_of_view)) / 2)
    centre = np.array([width - 1, height - 1]) / 2 + rng.normal(0, 0.015, 2) * [width, height]
    return np.array([[focal, 0, centre[0]], [0, focal, centre[1]], [0, 0, 1]])


def _point(rng: np.random.Generator, boxes: list[Box]) -> np.ndarray:
    low, high = boxes[int(rng.integers(len(boxes)))]
    return rng.uniform(low, high)


def choose_view(
    rng: np.random.Generator, scene: Scene, caster: Caster, size: tuple[int, int], field_of_view: tuple[float, float]
) -> Camera:
    """A view of the scene that is not blocked: the first good one of some tries, else the best of them."""
    best, best_score = None, -np.inf
    for _ in range(_TRIES):
        eye, target = _point(rng, scene.eyes), _point(rng, scene.targets)
        ahead = target - eye
        yaw = np.arctan2(ahead[1], ahead[0]) + rng.normal(0, 0.1)
        pitch = np.clip(np.arctan2(ahead[2], np.hypot(*ahead[:2])) + rng.normal(0, 0.06), -1.3, _HIGHEST)
        camera = Camera(intrinsics(rng, size, field_of_view), look(eye, yaw, pitch, rng.normal(0, 0.05)), eye, size)
        coarse = camera.at_size(_COARSE)
        directions, _ = coarse.rays(coarse.pixels())
        distance = caster.first(np.broadcast_to(eye, directions.shape), directions).distance
        near = np.quantile(np.minimum(distance, 1e3), [0.0, 0.35])
        score = min(1.0, near[0] / scene.clearance, near[1] / (3 * scene.clearance))
        score -= float(np.isinf(distance).mean() > _MOST_SKY)
        if score > best_score:
            best, best_score = camera, score
        if score >= 1:
            break
    return best
