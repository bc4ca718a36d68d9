"""The camera that a CameraInfo describes: from pixels to rays and back."""

import math
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from depth_anything_ros.geometry.camera_info import Calibration, CameraInfoError, operational_matrices, read_calibration
from depth_anything_ros.geometry.distortion import Distortion, distortion_from_calibration

# Pixels worked on at once, few enough for the intermediate arrays to stay in the processor's cache.
_BLOCK_PIXELS = 1 << 14


@dataclass(frozen=True)
class CameraModel:
    """A central camera, equal by value: one made anew from each CameraInfo still finds its cached rays.

    Pixel centres have integer coordinates. `width`, `height`, `fx`, `fy`, `cx`, `cy` are in pixels of the
    image that comes with the CameraInfo, ROI and binning applied. `distortion` is None for a pinhole.
    """

    width: int
    height: int
    fx: float
    fy: float
    cx: float
    cy: float
    distortion: Distortion | None = None

    @classmethod
    def from_camera_info(cls, info, *, rectified: bool) -> 'CameraModel':
        """Make the model of a rectified image (pinhole, P) or of a raw one (K and D; REP 104).

        `info` is a sensor_msgs/CameraInfo, an object with its ROS 1 or ROS 2 field names, or a dict of them.
        P's Tx and Ty are left out, as depth_image_proc does: they place the first camera of a stereo pair in
        this one's pixels (fx * metres), and our depth is measured from this camera. image_geometry subtracts
        them from the pixel, which is right at a depth of 1 m only.

        Raises CameraInfoError if the CameraInfo is not usable for such an image.
        """
        return cls.from_calibration(read_calibration(info), rectified=rectified)

    @classmethod
    def from_calibration(cls, calibration: Calibration, *, rectified: bool) -> 'CameraModel':
        """As `from_camera_info`, from a CameraInfo that is already read."""
        k, p = operational_matrices(calibration)
        name, matrix = ('P', p) if rectified else ('K', k)
        _check_intrinsics(name, matrix)
        distortion = None
        if not rectified:
            distortion = distortion_from_calibration(calibration.distortion_model, calibration.d)
        return cls(
            width=calibration.width,
            height=calibration.height,
            fx=float(matrix[0, 0]),
            fy=float(matrix[1, 1]),
            cx=float(matrix[0, 2]),
            cy=float(matrix[1, 2]),
            distortion=distortion,
        )

    def check_image_size(self, height: int, width: int) -> None:
        """Raise CameraInfoError unless this model describes an image of `height` x `width` pixels."""
        if (height, width) != (self.height, self.width):
            raise CameraInfoError(
                f'the image is {width}x{height}, expected {self.width}x{self.height} from CameraInfo (size, '
                'roi, binning); pair the image with its own camera_info, or resize both with image_proc'
            )

    def scaled(self, height: int, width: int) -> 'CameraModel':
        """Return the model of this image resized to `height` x `width`.

        A plain scale without a half-pixel shift, columns and rows apart, as image_proc::ResizeNode scales a
        CameraInfo. Raises ValueError if the size is not positive.
        """
        if height <= 0 or width <= 0:
            raise ValueError(f'expected a positive image size, got {width}x{height}')
        scale_x, scale_y = width / self.width, height / self.height
        return replace(
            self,
            width=int(width),
            height=int(height),
            fx=self.fx * scale_x,
            fy=self.fy * scale_y,
            cx=self.cx * scale_x,
            cy=self.cy * scale_y,
        )

    def rays(self, height: int, width: int) -> np.ndarray:
        """Return each pixel's ray, scaled to z = 1: float32 (height, width, 3), read-only and cached.

        A pixel's point is its ray times its depth. NaN where the lens lets no ray reach the pixel: outside
        the invertible part of the distortion, or 89 degrees and more off the axis. A size other than the
        camera's own is that of the resized image, see `scaled`.
        """
        return _rays(self, int(height), int(width))

    def unproject(self, pixels: np.ndarray) -> np.ndarray:
        """Return the rays of pixels (N, 2) as float64 (N, 3) with z = 1; NaN where a pixel has no ray."""
        pixels = np.asarray(pixels, dtype=np.float64)
        x, y = (pixels[:, 0] - self.cx) / self.fx, (pixels[:, 1] - self.cy) / self.fy
        if self.distortion is not None:
            x, y = self.distortion.undistort(x, y)
        z = np.where(np.isnan(x), np.nan, 1.0)
        return np.stack((x, y, z), axis=1)

    def project(self, points: np.ndarray) -> np.ndarray:
        """Return the pixels, float64 (N, 2), of points (N, 3) in metres in the camera's optical frame.

        NaN for points behind the camera and for those the lens does not show, which OpenCV's projectPoints
        folds back into the picture. Pixels outside the image are returned as they are.
        """
        points = np.asarray(points, dtype=np.float64)
        z = np.where(points[:, 2] > 0, points[:, 2], np.nan)
        x, y = points[:, 0] / z, points[:, 1] / z
        if self.distortion is not None:
            x, y = self.distortion.distort(x, y)
        return np.stack((self.fx * x + self.cx, self.fy * y + self.cy), axis=1)


def pixel_blocks(height: int, width: int):
    """Yield (rows, pixels): a slice of an image's rows and their pixel coordinates (u, v), float64 (N, 2)."""
    step = max(1, _BLOCK_PIXELS // width)
    for top in range(0, height, step):
        rows = slice(top, min(top + step, height))
        v, u = np.mgrid[rows, :width]
        yield rows, np.stack((u.ravel(), v.ravel()), axis=1).astype(np.float64)


# More cameras than a robot has; at 1280x720 each takes 11 MB.
@lru_cache(maxsize=16)
def _rays(camera: CameraModel, height: int, width: int) -> np.ndarray:
    camera = camera.scaled(height, width)
    rays = np.empty((height, width, 3), dtype=np.float32)
    for rows, pixels in pixel_blocks(height, width):
        rays[rows] = camera.unproject(pixels).reshape(-1, width, 3)
    rays.flags.writeable = False
    return rays


def _check_intrinsics(name: str, matrix: np.ndarray) -> None:
    fx, fy, cx, cy = matrix[0, 0], matrix[1, 1], matrix[0, 2], matrix[1, 2]
    remedy = 'calibrate the camera'
    if name == 'P':
        remedy += ', or say that the image is raw (rectified = false) to use K and D'
    if not all(map(math.isfinite, (fx, fy, cx, cy))) or fx <= 0 or fy <= 0:
        raise CameraInfoError(
            f'CameraInfo has {name} with fx = {fx:g}, fy = {fy:g}, cx = {cx:g}, cy = {cy:g}, expected finite '
            f'numbers and fx, fy > 0; {remedy}'
        )
    others = matrix[[0, 1, 2, 2], [1, 0, 0, 1]]
    # Not "larger than", which NaN never is. Some drivers leave the last element 0.
    if not (np.abs(others).max() <= 1e-6 * fx and matrix[2, 2] in (0.0, 1.0)):
        raise CameraInfoError(
            f'CameraInfo has {name} = {matrix.tolist()}, expected [fx 0 cx, 0 fy cy, 0 0 1] row by row; '
            'check for skew or a transposed matrix'
        )
