"""TartanAir V1 (W. Wang et al., IROS 2020; github castacks/tartanair_tools): rendered flights, 640x480."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from training.data.depth_files import decode_npy
from training.data.readers.base import Item, Reader, camera_matrix
from training.data.sample import Sample
from training.errors import DataError


class TartanAir(Reader):
    """Left images with depth in metres, +Inf for the sky.

    split: `Easy` or `Hard`; '' for both.
    """

    name = 'tartanair'
    layout = (
        '<environment>/{Easy,Hard}/P*/image_left/*_left.png and depth_left/*_left_depth.npy '
        '(the environment once, or twice as its archives unpack)'
    )
    splits = ('', 'Easy', 'Hard')

    @dataclass(frozen=True)
    class Options:
        """sky_threshold: depth in metres from which it is the sky, which is rendered as a sphere of large radius.

        exclude: environments to leave out. `amusement` has a sky sphere that is too near (tartanair_tools, issue 46).
        """

        sky_threshold: float = 10000.0
        exclude: tuple[str, ...] = ()

    def find(self) -> Iterable[Item]:
        """Left images at any depth of folders; the name of the depth follows."""
        above, excluded = {posixpath.basename(self.folder.path)}, {*self.options.exclude}
        met = set()
        for name in self.folder.names('**/image_left/*_left.png'):
            folder, _, image = name.rpartition('image_left/')
            parts = folder.split('/')[:-1]
            met |= excluded & {*parts, *above}
            if self.split in ('', *parts[-2:-1]) and not excluded & {*parts, *above}:
                yield Item(name, f'{folder}depth_left/{image.removesuffix(".png")}_depth.npy', '/'.join(parts))
        if met < excluded:
            raise DataError(f'{self.folder.url}: there is no environment {min(excluded - met)!r} to exclude')

    def read(self, item: Item) -> Sample:
        """Metres."""
        image = self.image(item)
        depth = decode_npy(*self.depth_file(item))
        depth = np.where(depth >= self.options.sky_threshold, np.inf, depth)
        matrix = camera_matrix(320.0, 320.0, 320.0, 240.0, image.shape[1] / 640)
        return self.sample(item, image, depth, K=matrix, scene=item.more)
