"""KITTI (A. Geiger et al., 2013) with the depth of J. Uhrig et al. (3DV 2017): LiDAR gathered over 11 sweeps."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from training.data.depth_files import decode_png
from training.data.readers.base import Item, Reader, check_known
from training.data.sample import Sample
from training.errors import BadSampleError, DataError
from training.files import Folder
from training.recipe import free

_SUBSETS = ('train', 'val')
_DRIVE = re.compile(r'(\d{4}_\d\d_\d\d)_drive_\d{4}_sync')
_SIDES = {'l': 'image_02', 'r': 'image_03'}


class Kitti(Reader):
    """Images of the raw drives with sparse depth in metres, NaN between the measurements.

    split: `train` or `val` of `data_depth_annotated`; '' for both, which the split of Eigen et al. needs.

    The list of Eigen et al. for testing has 697 images. 45 of them have no annotated depth: where the list says `None`
    they are left out, else they count as bad samples, and 652 remain.
    """

    name = 'kitti'
    layout = (
        'raw/<date>/<drive>_sync/image_02/data/*.png and '
        'data_depth_annotated/{train,val}/<drive>_sync/proj_depth/groundtruth/image_02/*.png'
    )
    splits = ('', *_SUBSETS)

    @dataclass(frozen=True)
    class Options:
        """list: the images to take, a line each: `<date>/<drive>/image_02/data/<frame>.png ...`, whatever folders lie
        above and whatever follows, or `<date>/<drive> <frame> l`; '' for all depth that is there.

        cameras: without a list, `image_02` (left) and `image_03` (right).
        raw_dir, depth_dir: where below the path the two parts lie.
        suffix: of the images.
        """

        cameras: tuple[str, ...] = ('image_02',)
        list: str = free('')
        raw_dir: str = free('raw')
        depth_dir: str = free('data_depth_annotated')
        suffix: str = free('png')

        def __post_init__(self) -> None:
            check_known('kitti: cameras', self.cameras, _SIDES.values())

    def find(self) -> Iterable[Item]:
        """From the list, or from the depth that is there."""
        if self.options.list:
            for words in self.lines(self.options.list):
                if 'None' not in words:
                    yield self._listed(' '.join(words))
            return
        pattern = f'{self.options.depth_dir}/{self.split or "*"}/*/proj_depth/groundtruth/image_0[23]/*.png'
        for name in self.folder.names(pattern):
            drive, _, _, camera, frame = name.split('/')[-5:]
            if camera in self.options.cameras:
                yield self._item(drive, camera, frame.removesuffix('.png'))

    def read(self, item: Item) -> Sample:
        """16 bits, 1/256 m."""
        subsets = [self.split] if self.split else _SUBSETS
        names = [f'{self.options.depth_dir}/{subset}/{item.depth}' for subset in subsets]
        name = next((name for name in names if self.folder.exists(name)), None)
        if name is None:
            raise BadSampleError(f'no depth of this image: {" and ".join(names)} are not there')
        depth = decode_png(name, self.folder.read(name), bits=16) / 256
        date, drive, camera = item.more
        matrix = _intrinsics(self.folder.url, f'{self.options.raw_dir}/{date}/calib_cam_to_cam.txt', camera[-2:])
        return self.sample(item, self.image(item), depth, K=matrix, scene=f'{drive}/{camera}')

    def _listed(self, line: str) -> Item:
        drive = _DRIVE.search(line)
        path = re.search(r'(image_0[23])/data/(\d{10})\.', line)
        short = re.search(r'\s(\d+)\s+([lr])\b', line)
        if drive and path:
            return self._item(drive[0], path[1], path[2])
        if drive and short:
            return self._item(drive[0], _SIDES[short[2]], short[1].zfill(10))
        raise DataError(f'{self.options.list}: a line names no image of KITTI: {line!r}')

    def _item(self, drive: str, camera: str, frame: str) -> Item:
        date = drive[:10]
        image = f'{self.options.raw_dir}/{date}/{drive}/{camera}/data/{frame}.{self.options.suffix}'
        return Item(image, f'{drive}/proj_depth/groundtruth/{camera}/{frame}.png', [date, drive, camera])


@lru_cache(maxsize=64)
def _intrinsics(url: str, name: str, camera: str) -> list[list[float]] | None:
    """The first three columns of P_rect of a rectified camera; None where the calibration was not unpacked."""
    folder = Folder(url)
    if not folder.exists(name):
        return None
    found = re.search(rf'^P_rect_{camera}:(.*)$', folder.read(name).decode(errors='replace'), re.MULTILINE)
    try:
        return np.array(found[1].split() if found else [], np.float64).reshape(3, 4)[:, :3].tolist()
    except ValueError as error:
        raise DataError(f'{name}: no P_rect_{camera} of 12 numbers in it') from error
