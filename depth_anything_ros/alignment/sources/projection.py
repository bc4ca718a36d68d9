"""Points that a range sensor measured, as samples of an image: transformed, projected, and only what is seen."""

from __future__ import annotations

from dataclasses import dataclass
from math import pi, sqrt

import cv2
import numpy as np

from depth_anything_ros.alignment.hook import EvidenceError, Samples, View, parameter
from depth_anything_ros.geometry import CameraModel
from depth_anything_ros.geometry.transforms import transform_points

# A camera's image holds fewer; a map is thinned to this many before it is transformed.
_MAX_POINTS = 1_000_000
# No range sensor measures less, and the inverse must not overflow.
_MIN_DEPTH_M = 1e-3
# What hides a point is looked for up to so many cells away, each half the mean distance of two points wide, and in
# sectors of this half-angle, radians. On KITTI this finds 60 % of the hidden points and takes 0.7 % of the others;
# wider ones find more, but take far ground.
_REACH = 3
_HALF_ANGLE = 0.6
# How many cells a sector spreads across its direction: 3 * sin(0.6), and the cells' own width.
_SPREAD = 2.0
# A sparse cloud (SLAM landmarks, one scan line) would ask for wider cells, a dense one for many; as fractions of the
# image's longer side.
_MIN_CELL, _MAX_CELL = 0.002, 0.01


@dataclass(frozen=True)
class SensedPoints:
    """What is kept of a cloud or a scan. points: (N, 3) metres in frame_id, finite, as they were at stamp_ns."""

    points: np.ndarray
    frame_id: str
    stamp_ns: int


def sensed_points(points: np.ndarray, frame_id: str, stamp_ns: int) -> SensedPoints:
    """Keep the finite points, evenly thinned if there are more than a million; raises EvidenceError if none is left.

    Points at the sensor's own origin are how drivers of organised clouds write that nothing came back.
    """
    # By columns, and compress instead of a mask: for rows of three values NumPy is five times faster so.
    with np.errstate(over='ignore', invalid='ignore'):
        size = np.abs(points.T).sum(axis=0)
        measured = points.compress((size > 0.0) & (size < np.inf), axis=0)
    if not len(measured):
        raise EvidenceError(f"none of the {len(points)} points of '{frame_id}' is a measurement")
    return SensedPoints(measured[thinned(len(measured), _MAX_POINTS)], frame_id, stamp_ns)


@dataclass(frozen=True)
class ProjectedSource:
    """Base of sources whose evidence is points in space."""

    max_samples: int = parameter(5000, 'Of the points in the image about this many are used.', between=(3, 10**7))
    occlusion: float = parameter(
        0.1,
        'A point is left out as hidden if points on two sides of it are nearer by more than this fraction of their '
        'inverse depth; 0: none is.',
        between=(0.0, 1.0),
    )

    def measure(self, evidence: SensedPoints, view: View) -> Samples:
        """Those that the camera sees; raises EvidenceError, TransformError."""
        return project(evidence, view, self.max_samples, self.occlusion)


def project(sensed: SensedPoints, view: View, max_samples: int, occlusion: float) -> Samples:
    """The points that the camera sees, evenly thinned to max_samples.

    Raises EvidenceError if none falls into the image, TransformError if nothing says where they are.
    """
    camera = view.calibrated.scaled(*view.values.shape)
    matrix = view.transforms.lookup(view.frame_id, view.stamp_ns, sensed.frame_id, sensed.stamp_ns)
    pixels, depth = _in_image(transform_points(matrix, sensed.points), camera)
    if not depth.size:
        raise EvidenceError(_why_none(sensed, matrix, view.frame_id))
    if occlusion > 0.0:
        seen = visible(pixels, depth, camera.height, camera.width, occlusion)
        pixels, depth = pixels[seen], depth[seen]
    kept = thinned(depth.size, max_samples)
    return Samples(pixels[kept], depth[kept])


def thinned(count: int, most: int) -> np.ndarray | slice:
    """Indices of at most `most` of `count` things, evenly spread; not a fixed stride, which would pick whole rings."""
    if count <= most:
        return slice(None)
    return np.linspace(0, count - 1, most).astype(np.intp)


def visible(pixels: np.ndarray, depth: np.ndarray, height: int, width: int, threshold: float) -> np.ndarray:
    """Which points the camera sees, bool (N,); pixels (N, 2) inside the image, depth (N,) in metres.

    A point is hidden if there are nearer ones on two opposite sides of it in the image, by more than `threshold` of
    their inverse depth. On one side only they are what the edge of an object looks like, or ground or a wall: the
    inverse depth of a plane is linear in the image, so one of two opposite sides is farther, but for the width of
    the cells and sectors; therefore what cells that far apart usually differ by is allowed on top. After the
    screen-space operators of Pintus et al. 2011. Where the sensor is does not matter, because a cloud may come in
    any frame, and from several sensors.
    """
    longer = max(width, height)
    cell = min(max(0.5 * sqrt(width * height / depth.size), _MIN_CELL * longer), _MAX_CELL * longer)
    columns, rows = ((pixels.T + 0.5) / cell).astype(np.intp)
    inverse = (1.0 / depth).astype(np.float32)
    nearest = np.zeros((rows.max() + 1, columns.max() + 1), np.float32)
    order = np.argsort(inverse)
    nearest[rows[order], columns[order]] = inverse[order]  # the last one written, the nearest, stays
    front = np.zeros_like(nearest)
    for side, opposite in _SECTORS:
        np.maximum(front, np.minimum(_nearest_in(side, nearest), _nearest_in(opposite, nearest)), out=front)
    hiding = front[rows, columns]
    return hiding - inverse <= threshold * hiding + _SPREAD * _usual_step(nearest)


def _usual_step(nearest: np.ndarray) -> float:
    """By how much neighbouring cells differ: the median along the steeper axis, 0 if none has a neighbour."""
    steps = [0.0]
    for one, next_one in ((nearest[1:], nearest[:-1]), (nearest[:, 1:], nearest[:, :-1])):
        known = (one > 0.0) & (next_one > 0.0)
        if known.any():
            steps.append(float(np.median(np.abs(one[known] - next_one[known]))))
    return max(steps)


def _nearest_in(sector: np.ndarray, nearest: np.ndarray) -> np.ndarray:
    """The largest value in the sector around each cell, 0 beyond the border."""
    return cv2.dilate(nearest, sector, borderType=cv2.BORDER_CONSTANT, borderValue=0.0)


def _opposite_sectors() -> tuple[tuple[np.ndarray, np.ndarray], ...]:
    """Pairs of uint8 masks: left and right, above and below, and the diagonals."""
    y, x = np.mgrid[-_REACH : _REACH + 1, -_REACH : _REACH + 1]
    disc = (x * x + y * y <= (_REACH + 0.5) ** 2) & ((x != 0) | (y != 0))
    pairs = []
    for direction in np.arange(4) * pi / 4:
        along = x * np.cos(direction) + y * np.sin(direction)
        ahead = disc & (along >= np.hypot(x, y) * np.cos(_HALF_ANGLE))
        pairs.append((ahead.astype(np.uint8), ahead[::-1, ::-1].astype(np.uint8)))
    return tuple(pairs)


_SECTORS = _opposite_sectors()


def _in_image(points: np.ndarray, camera: CameraModel) -> tuple[np.ndarray, np.ndarray]:
    """Pixels (N, 2) and depths (N,) of the points (N, 3) that fall into the image."""
    points = points.compress(points[:, 2] > _MIN_DEPTH_M, axis=0)
    pixels = camera.project(points)
    u, v = pixels.T
    with np.errstate(invalid='ignore'):
        inside = (u >= -0.5) & (u < camera.width - 0.5) & (v >= -0.5) & (v < camera.height - 0.5)
    return pixels.compress(inside, axis=0), points[inside, 2]


def _why_none(sensed: SensedPoints, matrix: np.ndarray, camera_frame: str) -> str:
    behind = int((transform_points(matrix, sensed.points)[:, 2] <= 0.0).sum())
    return (
        f"none of the {len(sensed.points)} points of '{sensed.frame_id}' falls into the image: {behind} are behind the "
        f'camera, {len(sensed.points) - behind} beside the image. If the sensor looks where the camera does, the '
        f"transform to '{camera_frame}' is wrong; is that an optical frame, z forward (REP 103)?"
    )
