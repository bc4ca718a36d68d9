"""The depth image of a raw camera, turned into that of the rectified one that camera_info's P describes."""

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from depth_anything_ros.geometry.camera import CameraModel, pixel_blocks
from depth_anything_ros.geometry.camera_info import CameraInfoError, read_calibration
from depth_anything_ros.geometry.depth import as_depth_image


@dataclass(frozen=True)
class DepthRectifier:
    """Resamples depth along a raw camera's axis to depth along the rectified axis; equal by value.

    `rotation` is CameraInfo's R, from the raw to the rectified frame, row by row.
    """

    raw: CameraModel
    rectified: CameraModel
    rotation: tuple[float, ...]

    @classmethod
    def from_camera_info(cls, info) -> 'DepthRectifier':
        """Make the rectifier of the camera that `info` (as for `CameraModel.from_camera_info`) describes.

        An R or, without distortion, a P of zeros was never filled and stands for the identity and K. Raises
        CameraInfoError if K or D is not usable, R is no rotation, or P is not usable though the lens
        distorts.
        """
        calibration = read_calibration(info)
        raw = CameraModel.from_calibration(calibration, rectified=False)
        if calibration.p.any() or raw.distortion is not None:
            rectified = CameraModel.from_calibration(calibration, rectified=True)
        else:
            rectified = raw
        rotation = calibration.r if calibration.r.any() else np.eye(3)
        # Calibration files keep few digits: 1e-3 tells a rounded rotation from none.
        if not np.allclose(rotation @ rotation.T, np.eye(3), atol=1e-3) or np.linalg.det(rotation) < 0:
            raise CameraInfoError(
                f'CameraInfo has R = {rotation.tolist()}, expected a rotation matrix; calibrate the '
                'camera, or set R to the identity if it is no part of a stereo pair'
            )
        return cls(raw, rectified, tuple(rotation.ravel().tolist()))

    @property
    def needed(self) -> bool:
        """Whether the rectified image differs from the raw one: by distortion, R, or P unlike K."""
        is_turned = not np.allclose(self.rotation, np.eye(3).ravel(), rtol=0.0, atol=1e-9)
        return is_turned or self.raw != self.rectified

    def __call__(self, depth: np.ndarray) -> np.ndarray:
        """Return the rectified depth image, float32 (H, W), for a raw one, (H, W), both in metres.

        Each rectified pixel takes the depth of the nearest raw pixel: interpolation would invent surfaces
        across depth edges. NaN where the raw image does not reach; NaN and infinities go with their pixels.
        An image of another size than the camera's is taken as resized. `depth` itself comes back where
        nothing is needed.

        Raises ValueError if `depth` is not 2-D or empty.
        """
        depth = as_depth_image(depth)
        if not self.needed:
            return depth
        sources, scale = self.maps(*depth.shape)
        nearest = cv2.remap(depth, sources, None, cv2.INTER_NEAREST, borderMode=cv2.BORDER_CONSTANT, borderValue=np.nan)
        return nearest * scale

    def maps(self, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
        """Return each rectified pixel's raw pixel (u, v), int16 (H, W, 2), and rectified over raw Z, float32 (H, W).

        The raw pixel is (-1, -1) where the raw image does not reach. Cached.
        """
        return _maps(self, int(height), int(width))


# More cameras than a robot has; at 1280x720 each takes 7 MB.
@lru_cache(maxsize=16)
def _maps(rectifier: DepthRectifier, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    raw, rectified = rectifier.raw.scaled(height, width), rectifier.rectified.scaled(height, width)
    rotation = np.reshape(rectifier.rotation, (3, 3))
    sources = np.empty((height, width, 2), dtype=np.int16)
    scale = np.empty((height, width), dtype=np.float32)
    for rows, pixels in pixel_blocks(height, width):
        # Row vectors: ray @ R is R^T times the ray, from the rectified to the raw frame.
        raw_rays = rectified.unproject(pixels) @ rotation
        raw_pixels = np.rint(raw.project(raw_rays))
        inside = ((raw_pixels >= 0) & (raw_pixels < (width, height))).all(axis=1)
        sources[rows] = np.where(inside[:, None], raw_pixels, -1).reshape(-1, width, 2)
        # The rectified ray has z = 1, so its z in the raw frame is raw Z over rectified Z.
        ratio = np.divide(1.0, raw_rays[:, 2], out=np.ones(len(raw_rays)), where=inside)
        scale[rows] = ratio.reshape(-1, width)
    return sources, scale
