"""IRS (Q. Wang et al., 2021; github HKBU-HPML/IRS): rendered stereo of rooms, 960x540."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from training.data.depth_files import decode_exr
from training.data.readers.base import Item, Reader, camera_matrix
from training.data.sample import Sample
from training.errors import BadSampleError, DataError
from training.recipe import free


class Irs(Reader):
    """Left images with their disparity in pixels, NaN where it is not above 0.

    The disparity is larger where it is nearer: depth is 480 px * 0.1 m / disparity (disp2pcd.py of the authors), so
    it needs no inversion. It is refused where it cannot be one in pixels: negative, or more than the image is wide.
    """

    name = 'irs'
    layout = '{Home,Office,Restaurant,Store}/**/l_*.png and d_*.exr'

    @dataclass(frozen=True)
    class Options:
        """list: of the authors (`left right disparity normal`, a line each); '' for all that is there."""

        list: str = free('')

    def find(self) -> Iterable[Item]:
        """Pairs from the list, or by name."""
        if not self.options.list:
            for name in self.folder.names('**/l_*.png'):
                folder, _, image = name.rpartition('/')
                yield Item(name, f'{folder}/d_{image.removeprefix("l_").removesuffix(".png")}.exr'.lstrip('/'))
            return
        for words in self.lines(self.options.list):
            if len(words) < 3:
                raise DataError(
                    f'{self.options.list}: expected `left right disparity normal`, found {" ".join(words)!r}'
                )
            yield Item(words[0], words[2])

    def read(self, item: Item) -> Sample:
        """Pixels."""
        image = self.image(item)
        disparity = decode_exr(*self.depth_file(item))
        width = image.shape[1]
        known = disparity[np.isfinite(disparity)]
        if known.size and (known.min() < 0 or known.max() > width):
            raise BadSampleError(
                f'{item.depth}: expected a disparity of 0 to {width} pixels, found {known.min():g} to {known.max():g}'
            )
        disparity = np.where(disparity > 0, disparity, np.nan)
        matrix = camera_matrix(480.0, 480.0, 479.5, 269.5, width / 960)
        return self.sample(item, image, disparity=disparity, K=matrix, scene=item.image.rpartition('/')[0])
