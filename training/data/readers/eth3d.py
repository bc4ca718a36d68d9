"""ETH3D, high-resolution multi-view, training part (T. Schoeps et al., CVPR 2017): photos and a laser scanner."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from training.data.depth_files import decode_raw
from training.data.readers.base import Item, Reader
from training.data.sample import Sample


class Eth3d(Reader):
    """The distorted photos, 6048x4032, with depth in metres; NaN where the scanner measured none."""

    name = 'eth3d'
    layout = '<scene>/images/dslr_images/*.JPG and <scene>/ground_truth_depth/dslr_images/*.JPG (bare float32)'

    def find(self) -> Iterable[Item]:
        """Photos; the depth has the same name in another folder."""
        for name in self.folder.names('*/images/dslr_images/*.JPG'):
            scene, _, _, image = name.split('/')
            yield Item(name, f'{scene}/ground_truth_depth/dslr_images/{image}', scene)

    def read(self, item: Item) -> Sample:
        """Metres, +Inf where there is none: here that is not the sky."""
        image = self.image(item)
        depth = decode_raw(*self.depth_file(item), image.shape[:2])
        return self.sample(item, image, np.where(np.isfinite(depth), depth, np.nan), scene=item.more)
