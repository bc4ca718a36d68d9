"""Hypersim (M. Roberts et al., ICCV 2021; github apple/ml-hypersim): rendered rooms, 1024x768."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from training.data.depth_files import decode_hdf5
from training.data.readers.base import Item, Reader, camera_matrix
from training.data.sample import Sample
from training.errors import DataError
from training.recipe import free

# The field of view is 60 degrees: 512 / tan(30 deg) pixels at a width of 1024.
_FOCAL, _WIDTH = 886.81, 1024
_SPLIT_FILE = 'metadata_images_split_scene_v1.csv'


class Hypersim(Reader):
    """Tone-mapped previews with depth along the optical axis, in metres; NaN where the renderer saw no surface.

    The files hold the distance along the ray, despite their name `depth_meters`. The camera is taken to be the same
    in all scenes, as the authors of Depth Anything do; a few scenes have a shifted one.

    split: `train`, `val` or `test` of the official list `metadata_images_split_scene_v1.csv`, which also says which
    images are in the public release; '' takes what is there and needs no list.
    """

    name = 'hypersim'
    layout = (
        'ai_*/images/scene_cam_*_final_preview/frame.*.tonemap.jpg '
        'and beside it scene_cam_*_geometry_hdf5/frame.*.depth_meters.hdf5'
    )
    splits = ('', 'train', 'val', 'test')

    @dataclass(frozen=True)
    class Options:
        """split_file: of a split, the list, from ml-hypersim/evermotion_dataset/analysis; '': under its name there."""

        split_file: str = free('')

    def find(self) -> Iterable[Item]:
        """Previews; the name of the geometry follows."""
        names = self.folder.names(f'*/images/scene_cam_*_final_preview/frame.{"[0-9]" * 4}.tonemap.jpg')
        if self.options.split_file and not self.split:
            raise DataError(f'split_file is of a split of hypersim ({", ".join(self.splits[1:])}), and none is given')
        wanted = self._of_split() if self.split else None
        for name in names:
            scene, images, camera, frame = name.split('/')
            camera = camera.removesuffix('_final_preview')
            if wanted is None or (scene, camera.removeprefix('scene_'), int(frame.split('.')[1])) in wanted:
                depth = (
                    f'{scene}/{images}/{camera}_geometry_hdf5/{frame.removesuffix(".tonemap.jpg")}.depth_meters.hdf5'
                )
                yield Item(name, depth, [scene, camera])

    def read(self, item: Item) -> Sample:
        """Distance to planar depth."""
        image = self.image(item)
        distance = decode_hdf5(*self.depth_file(item), 'dataset')
        depth = planar_depth(np.where(np.isfinite(distance), distance, np.nan))
        scale = image.shape[1] / _WIDTH
        matrix = camera_matrix(_FOCAL, _FOCAL, 511.5, 383.5, scale)
        return self.sample(item, image, depth, K=matrix, scene='/'.join(item.more))

    def _of_split(self) -> set[tuple[str, str, int]]:
        name = self.options.split_file or _SPLIT_FILE
        try:
            return {
                (row['scene_name'], row['camera_name'], int(row['frame_id']))
                for row in csv.DictReader(self.text(name).splitlines())
                if row['included_in_public_release'] == 'True' and row['split_partition_name'] == self.split
            }
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f'{name} is not the official list of Hypersim: {error!r}') from error


def planar_depth(distance: np.ndarray) -> np.ndarray:
    """Distance along the ray to depth along the optical axis: z = d f / |(x, y, f)| (ml-hypersim, issue 9).

    Args:
        distance: (H, W) of the whole image, whose centre is the principal point.

    Returns:
        (H, W) float32.
    """
    height, width = distance.shape
    focal = _FOCAL * width / _WIDTH
    x = np.arange(width) - (width - 1) / 2
    y = np.arange(height)[:, None] - (height - 1) / 2
    return (distance * focal / np.sqrt(x**2 + y**2 + focal**2)).astype(np.float32)
