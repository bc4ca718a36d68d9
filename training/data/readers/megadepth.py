"""MegaDepth v1 (Z. Li and N. Snavely, CVPR 2018): photos of landmarks with depth from multi-view stereo."""

from __future__ import annotations

import os
from collections.abc import Iterable

from training.data.depth_files import decode_hdf5
from training.data.readers.base import IMAGE_FILES, Item, Reader
from training.data.sample import Sample
from training.errors import BadSampleError


class MegaDepth(Reader):
    """Depth in a unit of each reconstruction's own (`meta['scale']` is `arbitrary`); NaN where it is 0.

    Part of the files hold no depth but an order (foreground before background), in numbers below 0: such a sample is
    a bad one.
    """

    name = 'megadepth'
    layout = '**/<scene>/dense*/imgs/* and depths/*.h5 (as MegaDepth_v1/phoenix/S6/zl548/MegaDepth_v1/0000/dense0/...)'

    def find(self) -> Iterable[Item]:
        """Images; the name of the depth follows."""
        for name in self.folder.names('**/dense*/imgs/*'):
            folder, _, image = name.rsplit('/', 2)
            stem, suffix = os.path.splitext(image)
            if suffix.lower().lstrip('.') in IMAGE_FILES:
                yield Item(name, f'{folder}/depths/{stem}.h5')

    def read(self, item: Item) -> Sample:
        """Any unit, 0 is unknown."""
        depth = decode_hdf5(*self.depth_file(item), 'depth')
        if depth.min() < 0:
            raise BadSampleError(f'{item.depth}: holds an order (numbers below 0), no depth')
        return self.sample(item, self.image(item), depth, scene=item.image.rsplit('/', 2)[0], scale='arbitrary')
