"""Images with LiDAR sweeps and what calibrates them, as in the samples of SensorsCalibration (G. Yan et al., 2022)."""

from __future__ import annotations

import dataclasses
import io
import os
from collections.abc import Iterable

import numpy as np
from pypcd4 import PointCloud

from depth_anything_ros.geometry import CameraInfoError, CameraModel
from depth_anything_ros.geometry.transforms import transform_points
from training.data.points import lies_in
from training.data.readers.base import IMAGE_FILES, Item, Reader, camera_matrix
from training.data.sample import Sample
from training.errors import BadSampleError, DataError

# How many coefficients OpenCV's distortion may have, and none.
_DISTORTIONS = (0, 4, 5, 8, 12, 14)


class LidarImages(Reader):
    """Files of one name: an image, a sweep in PCD (PCL's format, metres) and a text, anywhere below the folder.

    The text has lines `K:` (9 numbers, intrinsics in pixels, row by row, the centre of the first pixel 0), `D:` (4 or
    more, OpenCV's distortion; none for a rectified image) and `T:` (12, rotation and translation in metres from the
    LiDAR's axes to the camera's, row by row). Points are projected into the image as it is, with its distortion.
    Those of one folder are of one `scene`, as of FolderReader.
    """

    name = 'lidar'
    layout = '**/NAME.jpg (or jpeg, png, webp), NAME.pcd and NAME.txt with K:, D: and T:'

    def find(self) -> Iterable[Item]:
        """Every sweep that has an image and a text."""
        images: dict[str, list[str]] = {}
        for name in self.folder.names('**'):
            stem, suffix = os.path.splitext(name)
            if suffix.lower().lstrip('.') in IMAGE_FILES:
                images.setdefault(stem, []).append(name)
        for sweep in self.folder.names('**/*.pcd'):
            stem = os.path.splitext(sweep)[0]
            if self.folder.exists(f'{stem}.txt'):
                for image in images.get(stem, []):
                    yield Item(image, sweep, f'{stem}.txt')

    def read(self, item: Item) -> Sample:
        """Its `points`, those that are in the image."""
        image = self.image(item)
        camera, camera_from_lidar = self._calibration(item.more, image.shape[:2])
        points = transform_points(camera_from_lidar, _decode(*self.depth_file(item)))
        seen = np.column_stack([camera.project(points), points[:, 2]])
        seen = seen[lies_in(seen, np.ones(image.shape[:2], bool))]
        if not len(seen):
            raise BadSampleError('no point of the sweep is in the image')
        # The matrix alone is not true of an image with distortion.
        matrix = None if camera.distortion else camera_matrix(camera.fx, camera.fy, camera.cx, camera.cy)
        sample = self.sample(item, image, K=matrix, scene=os.path.dirname(item.image) or '.')
        return dataclasses.replace(sample, points=seen.astype(np.float32))

    def _calibration(self, name: str, size: tuple[int, int]) -> tuple[CameraModel, np.ndarray]:
        values = {}
        for label, *numbers in self.lines(name):
            try:
                values[label.rstrip(':')] = np.array(numbers, float)
            except ValueError as error:
                raise DataError(f'{name}: {label} holds no numbers: {error}') from error
        sizes = {label: values[label].size if label in values else 0 for label in 'KT'}
        distortion = values.get('D', np.empty(0))
        if sizes != {'K': 9, 'T': 12} or distortion.size not in _DISTORTIONS:
            raise DataError(f'{name}: expected K: with 9 numbers, T: with 12 and D: with one of {_DISTORTIONS}')
        info = {
            'height': size[0],
            'width': size[1],
            'distortion_model': 'rational_polynomial' if distortion.size > 5 else 'plumb_bob',
            'D': distortion,
            'K': values['K'],
            'R': np.eye(3).ravel(),
            'P': np.hstack([values['K'].reshape(3, 3), np.zeros((3, 1))]).ravel(),
        }
        try:
            camera = CameraModel.from_camera_info(info, rectified=False)
        except CameraInfoError as error:
            raise DataError(f'{name}: {error}') from error
        return camera, np.vstack([values['T'].reshape(3, 4), [0, 0, 0, 1]])


def _decode(name: str, content: bytes) -> np.ndarray:
    """(N, 3) float64, x, y, z of the finite points."""
    try:
        points = PointCloud.from_fileobj(io.BytesIO(content)).numpy(('x', 'y', 'z')).astype(np.float64)
    except Exception as error:
        # pypcd4 raises what numpy, lzf and its own parser happen to raise.
        raise BadSampleError(f'{name}: no whole PCD file with x, y and z: {type(error).__name__}: {error}') from error
    return points[np.isfinite(points).all(axis=1)]
