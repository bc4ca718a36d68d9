"""DDAD (V. Guizilini et al., CVPR 2020; github TRI-ML/DDAD): drives with six cameras, 1936x1216, and LiDAR."""

from __future__ import annotations

import io
import posixpath
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.lib.npyio import NpzFile

from depth_anything_ros.geometry.transforms import rigid_matrix, transform_points
from training.data.depth_files import decode_npy
from training.data.points import rasterise
from training.data.readers.base import Item, Reader, camera_matrix
from training.data.sample import Sample
from training.errors import BadSampleError, DataError
from training.recipe import free

_SPLITS = {'train': '0', 'val': '1', 'test': '2'}


class Ddad(Reader):
    """Images with sparse depth in metres, NaN between the measurements.

    Either the original layout (DGP: a file names the scenes, a file a scene names its images and sweeps), where the
    points of the sweep of the same sample are projected into the image, the nearest in each pixel; or a list.

    split: `train`, `val` or `test` of the original; '' for all.
    """

    name = 'ddad'
    layout = 'ddad.json with the scenes that it names (DGP), or list=FILE with lines `image depth.npy`'
    splits = ('', *_SPLITS)

    @dataclass(frozen=True)
    class Options:
        """list: lines of `image depth.npy`, in the folder, instead of the original layout.

        dataset: the file that names the scenes.
        cameras: which.
        """

        cameras: tuple[str, ...] = ('CAMERA_01',)
        list: str = free('')
        dataset: str = free('ddad.json')

    def find(self) -> Iterable[Item]:
        """From the list, or from the scenes."""
        if not self.options.list:
            yield from self._scenes()
            return
        for words in self.lines(self.options.list):
            if len(words) != 2:
                raise DataError(f'{self.options.list}: expected `image depth.npy`, found {" ".join(words)!r}')
            yield Item(words[0], words[1])

    def read(self, item: Item) -> Sample:
        """A depth map, or a sweep to project."""
        image = self.image(item)
        if item.more is None:
            return self.sample(item, image, decode_npy(*self.depth_file(item)))
        points = transform_points(np.array(item.more['camera_from_lidar']), _decode_sweep(*self.depth_file(item)))
        depth = project_nearest(points, np.array(item.more['K']), image.shape[:2])
        return self.sample(item, image, depth, K=item.more['K'], scene=item.more['scene'])

    def _scenes(self) -> Iterator[Item]:
        content = self.folder.read_json(self.options.dataset)
        try:
            parts = content['scene_splits']
            wanted = [_SPLITS[self.split]] if self.split else list(parts)
            # A scene may be in two splits.
            names = sorted({name for part in wanted if part in parts for name in parts[part]['filenames']})
        except (KeyError, TypeError) as error:
            raise DataError(f'{self.options.dataset} is no data set of DGP: {error!r} is missing') from error
        missing = {*self.options.cameras}
        for name in names:
            try:
                items = list(self._scene(name))
            except (AttributeError, KeyError, TypeError, ValueError) as error:
                raise DataError(f'{name} is no scene of DGP: {error!r}') from error
            missing -= {posixpath.basename(item.more['scene']) for item in items}
            yield from items
        if names and missing:
            raise DataError(f'{self.folder.url}: no scene has a camera {min(missing)!r}')

    def _scene(self, name: str) -> Iterator[Item]:
        folder = name.rpartition('/')[0]
        scene = self.folder.read_json(name)
        data = {entry['key']: entry for entry in scene['data']}
        calibrations: dict[str, Any] = {}
        for sample in scene['samples']:
            entries = {data[key]['id']['name'].upper(): data[key]['datum'] for key in sample['datum_keys']}
            key = sample['calibration_key']
            if key not in calibrations:
                calibrations[key] = self.folder.read_json(f'{folder}/calibration/{key}.json')
            lidar = entries['LIDAR']['point_cloud']
            for camera in self.options.cameras:
                if camera in entries:
                    image = entries[camera]['image']
                    more = {
                        'K': _intrinsics(calibrations[key], camera),
                        'camera_from_lidar': (np.linalg.inv(_pose(image)) @ _pose(lidar)).tolist(),
                        'scene': f'{folder}/{camera}',
                    }
                    yield Item(f'{folder}/{image["filename"]}', f'{folder}/{lidar["filename"]}', more)


def project_nearest(points: np.ndarray, matrix: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Points as a sparse depth map.

    Args:
        points: (N, 3) in metres, in the camera's axes (x right, y down, z forward).
        matrix: (3, 3) intrinsics; the centre of the first pixel is 0.
        size: height and width.

    Returns:
        (H, W) float32, in each pixel the nearest depth, NaN where there is none.
    """
    points = points[points[:, 2] > 0]
    depth = points[:, 2:]
    return rasterise(np.concatenate([(points @ matrix.T)[:, :2] / depth, depth], axis=1), size)


def _decode_sweep(name: str, content: bytes) -> np.ndarray:
    """The first three columns of the one array in an .npz: x, y, z in metres."""
    try:
        with NpzFile(io.BytesIO(content), allow_pickle=False) as file:
            points = file['data'][:, :3].astype(np.float64)
    except Exception as error:
        # NumPy and zipfile raise what their parsers happen to raise.
        raise BadSampleError(f'{name}: no whole sweep of points: {type(error).__name__}: {error}') from error
    return points[np.isfinite(points).all(axis=1)]


def _intrinsics(calibration: Mapping[str, Any], camera: str) -> list[list[float]]:
    values = calibration['intrinsics'][calibration['names'].index(camera)]
    return camera_matrix(values['fx'], values['fy'], values['cx'], values['cy'])


def _pose(datum: Mapping[str, Any]) -> np.ndarray:
    translation, rotation = datum['pose']['translation'], datum['pose']['rotation']
    return rigid_matrix([translation[axis] for axis in 'xyz'], [rotation[f'q{axis}'] for axis in 'xyzw'])
