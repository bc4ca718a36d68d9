"""From a depth image to points in metres in the camera's optical frame (REP 103: x right, y down)."""

from dataclasses import dataclass

import cv2
import numpy as np

from depth_anything_ros.geometry.camera import CameraModel
from depth_anything_ros.geometry.depth import as_depth_image

# From this share of its pixels on a view is mostly free.
MOSTLY_FREE = 0.5
# Up to this share they may be nearer than a point: specks.
HARDLY_NEAR = 0.01


@dataclass(frozen=True, eq=False)
class PointCloud:
    """Points in metres and, if `colors` is not None, their colours.

    Organised: `points` float32 (H, W, 3), NaN where there is none, `colors` uint8 RGB (H, W, 3). Otherwise
    `points` (N, 3), all finite, `colors` (N, 3).
    """

    points: np.ndarray
    colors: np.ndarray | None = None

    @property
    def organized(self) -> bool:
        """Whether the points keep the order of the image."""
        return self.points.ndim == 3

    @property
    def is_empty(self) -> bool:
        """Whether there is no finite point."""
        return not np.isfinite(self.points[..., 2]).any()


def backproject(depth: np.ndarray, camera: CameraModel) -> np.ndarray:
    """Return each pixel's point, float32 (H, W, 3), for `depth` (H, W) in metres along the optical axis.

    NaN where the depth is not finite or not positive, or the pixel has no ray. An image of another size than
    the camera's is taken as resized, see `CameraModel.scaled`. Raises ValueError if `depth` is not 2-D or
    empty.
    """
    depth = as_depth_image(depth)
    return _points(depth, camera.rays(*depth.shape))


def point_cloud(
    depth: np.ndarray,
    camera: CameraModel,
    rgb: np.ndarray | None = None,
    stride: int = 1,
    voxel_m: float = 0.0,
    *,
    organized: bool = False,
) -> PointCloud:
    """Make the point cloud of a depth image (H, W) in metres, coloured by `rgb`, uint8 (H, W, 3).

    Every `stride`-th row and column is used, from the first. Organised, the cloud has the shape (ceil(H /
    stride), ceil(W / stride)); otherwise it holds the finite points, in the order of the image. `voxel_m` > 0
    then leaves one point in each cube of that side: the centroid with the mean colour, as PCL's VoxelGrid,
    because it averages noise and does not depend on the order of the points. The cubes are fixed to the
    optical frame and come ordered by x, then y, then z.

    Raises ValueError if a shape does not fit, `stride` < 1, `voxel_m` is negative, NaN or so small that the
    voxels cannot be numbered, or voxels are asked for in an organised cloud.
    """
    depth = as_depth_image(depth)
    if stride < 1:
        raise ValueError(f'expected stride >= 1, got {stride}')
    if not voxel_m >= 0:
        raise ValueError(f'expected voxel_m >= 0 (0 is off), got {voxel_m}')
    if organized and voxel_m > 0:
        raise ValueError('voxels have no place in an organised cloud: set voxel_m to 0 or organized to False')
    if rgb is not None and (rgb.shape != (*depth.shape, 3) or rgb.dtype != np.uint8):
        raise ValueError(f'expected rgb as uint8 {(*depth.shape, 3)}, got {rgb.dtype} {rgb.shape}')
    rays = camera.rays(*depth.shape)[::stride, ::stride]
    colors = None if rgb is None else rgb[::stride, ::stride]
    points = _points(depth[::stride, ::stride], rays)
    if organized:
        return PointCloud(points, colors)
    # np.take by index is four times faster than a boolean mask over rows.
    kept = np.flatnonzero(np.isfinite(points[..., 2]))
    points = np.take(points.reshape(-1, 3), kept, axis=0)
    if colors is not None:
        colors = np.take(colors.reshape(-1, 3), kept, axis=0)
    if voxel_m > 0:
        points, colors = voxel_centroids(points, colors, voxel_m)
    return PointCloud(points, colors)


def is_mostly_free(depth: np.ndarray, camera: CameraModel, stride: int = 1, certain: np.ndarray | None = None) -> bool:
    """Whether marked depth (H, W) is +Inf at most pixels that have a ray, of every `stride`-th row and column.

    `certain`, bool (H, W): where that is to be believed; None: everywhere. An empty cloud says that the way is free.
    Where that is known of a few pixels only, or some of the view is -Inf, nearer than a point may be, it would be a
    lie.
    """
    every = (slice(None, None, stride),) * 2
    seen = np.isfinite(camera.rays(*depth.shape)[(*every, 2)])
    depth = depth[every]
    free = np.isposinf(depth) if certain is None else np.isposinf(depth) & certain[every]
    return bool(seen.any() and free[seen].mean() >= MOSTLY_FREE and np.isneginf(depth)[seen].mean() <= HARDLY_NEAR)


def _points(depth: np.ndarray, rays: np.ndarray) -> np.ndarray:
    depth = np.where((depth > 0) & (depth < np.inf), depth, np.float32(np.nan))
    # Three times faster than NumPy's broadcasting over a last axis of 3.
    points = cv2.merge((depth, depth, depth))
    return cv2.multiply(points, np.ascontiguousarray(rays), dst=points)


def voxel_centroids(
    points: np.ndarray, colors: np.ndarray | None, voxel_m: float
) -> tuple[np.ndarray, np.ndarray | None]:
    """One point, and colour, of each cube, see `point_cloud`; of finite points (N, 3) and colours (N, 3) or None."""
    if len(points) == 0:
        return points, colors
    cells = np.floor(points.astype(np.float64) / voxel_m)
    cells -= cells.min(axis=0)
    extent = cells.max(axis=0) + 1.0
    if extent.prod() >= 2.0**53:  # beyond, a float64 no longer counts in ones
        raise ValueError(
            f'voxel_m = {voxel_m} m is too small for a cloud of {extent * voxel_m} m: use larger voxels or '
            'limit the range'
        )
    numbers = (cells[:, 0] * extent[1] + cells[:, 1]) * extent[2] + cells[:, 2]
    _, voxel, counts = np.unique(numbers.astype(np.int64), return_inverse=True, return_counts=True)

    def mean(values: np.ndarray) -> np.ndarray:
        sums = [np.bincount(voxel, weights=values[:, axis]) for axis in range(3)]
        return np.stack(sums, axis=1) / counts[:, None]

    if colors is not None:
        colors = np.rint(mean(colors)).astype(np.uint8)
    return mean(points).astype(np.float32), colors
