"""MPI Sintel (D. Butler et al., ECCV 2012) with its depth: a rendered film, 1024x436."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from training.data.depth_files import decode_dpt, decode_sintel_camera
from training.data.readers.base import Item, Reader
from training.data.sample import Sample


class Sintel(Reader):
    """Frames with depth in metres, +Inf for the sky.

    split: the rendering, `final` (with blur and mist) or `clean`; '' is `final`.
    """

    name = 'sintel'
    layout = 'training/{final,clean}/<scene>/frame_*.png, training/depth/<scene>/*.dpt and training/camdata_left'
    splits = ('', 'final', 'clean')

    @dataclass(frozen=True)
    class Options:
        """sky_threshold: depth in metres from which it is the sky."""

        sky_threshold: float = 10000.0

    def find(self) -> Iterable[Item]:
        """Frames; the other names follow."""
        for name in self.folder.names(f'training/{self.split or "final"}/*/frame_*.png'):
            scene, frame = name.removesuffix('.png').split('/')[-2:]
            yield Item(name, f'training/depth/{scene}/{frame}.dpt', f'training/camdata_left/{scene}/{frame}.cam')

    def read(self, item: Item) -> Sample:
        """Metres."""
        depth = decode_dpt(*self.depth_file(item))
        depth = np.where(depth >= self.options.sky_threshold, np.inf, depth)
        matrix = decode_sintel_camera(item.more, self.folder.read(item.more)).tolist()
        return self.sample(item, self.image(item), depth, K=matrix, scene=item.image.split('/')[-2])
