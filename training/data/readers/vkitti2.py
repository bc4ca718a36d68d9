"""Virtual KITTI 2 (Y. Cabon et al., 2020): rendered drives in ten variants, 1242x375."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from training.data.depth_files import decode_png
from training.data.readers.base import Item, Reader, camera_matrix
from training.data.sample import Sample

# Whatever lies at or beyond the far plane of 655.35 m is the sky.
_SKY = 65535


class VirtualKitti2(Reader):
    """Depth in metres, +Inf for the sky."""

    name = 'vkitti2'
    layout = (
        'Scene*/<variant>/frames/rgb/Camera_*/rgb_*.jpg and Scene*/<variant>/frames/depth/Camera_*/depth_*.png '
        '(both archives of the data set, unpacked into one folder)'
    )

    @dataclass(frozen=True)
    class Options:
        """cameras: `Camera_0` (the left one, as in Depth Anything) and `Camera_1`."""

        cameras: tuple[str, ...] = ('Camera_0',)

    def find(self) -> Iterable[Item]:
        """Images; the name of the depth follows."""
        for name in self.folder.names('Scene*/*/frames/rgb/Camera_*/rgb_*.jpg'):
            scene, variant, frames, _, camera, image = name.split('/')
            if camera in self.options.cameras:
                number = image.removeprefix('rgb_').removesuffix('.jpg')
                depth = f'{scene}/{variant}/{frames}/depth/{camera}/depth_{number}.png'
                yield Item(name, depth, [scene, variant, camera])

    def read(self, item: Item) -> Sample:
        """16-bit centimetres."""
        image = self.image(item)
        levels = decode_png(*self.depth_file(item))
        depth = np.where(levels >= _SKY, np.inf, levels / 100)
        matrix = camera_matrix(725.0087, 725.0087, 620.5, 187.0, image.shape[1] / 1242)
        return self.sample(item, image, depth, K=matrix, scene='/'.join(item.more))
