"""Virtual KITTI 2 (Y. Cabon et al., 2020): rendered drives in ten variants, 1242x375."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from training.data.depth_files import decode_png
from training.data.readers.base import Item, Reader, camera_matrix, check_known
from training.data.sample import Sample
from training.errors import DataError
from training.recipe import free

# Whatever lies at or beyond the far plane of 655.35 m is the sky.
_SKY = 65535
_IMAGE = re.compile(r'Scene\d+/[^/]+/frames/rgb/Camera_\d/rgb_\d+\.jpg$')


class VirtualKitti2(Reader):
    """Depth in metres, +Inf for the sky."""

    name = 'vkitti2'
    layout = (
        'Scene*/<variant>/frames/rgb/Camera_*/rgb_*.jpg and Scene*/<variant>/frames/depth/Camera_*/depth_*.png '
        '(both archives of the data set, unpacked into one folder)'
    )

    @dataclass(frozen=True)
    class Options:
        """list: the images to take, a line each: `Scene*/<variant>/frames/rgb/Camera_*/rgb_*.jpg ...`, whatever folders
        lie above and whatever follows, such as `metric_depth/dataset/splits/vkitti2/train.txt` of Depth Anything V2
        (19,559 images); '' for all that are there.

        cameras: without a list, `Camera_0` (the left one, as in Depth Anything) and `Camera_1`.
        """

        cameras: tuple[str, ...] = ('Camera_0',)
        list: str = free('')

        def __post_init__(self) -> None:
            check_known('vkitti2: cameras', self.cameras, ('Camera_0', 'Camera_1'))

    def find(self) -> Iterable[Item]:
        """Images, from the list or by name; the name of the depth follows."""
        if self.options.list:
            for image, *_ in self.lines(self.options.list):
                found = _IMAGE.search(image)
                if not found:
                    raise DataError(f'{self.options.list}: a line names no image of Virtual KITTI 2: {image!r}')
                yield _item(found[0])
            return
        items = map(_item, self.folder.names('Scene*/*/frames/rgb/Camera_*/rgb_*.jpg'))
        yield from (item for item in items if item.more[-1] in self.options.cameras)

    def read(self, item: Item) -> Sample:
        """16-bit centimetres."""
        image = self.image(item)
        levels = decode_png(*self.depth_file(item), bits=16)
        depth = np.where(levels >= _SKY, np.inf, levels / 100)
        matrix = camera_matrix(725.0087, 725.0087, 620.5, 187.0, image.shape[1] / 1242)
        return self.sample(item, image, depth, K=matrix, scene='/'.join(item.more))


def _item(name: str) -> Item:
    scene, variant, frames, _, camera, image = name.split('/')
    number = image.removeprefix('rgb_').removesuffix('.jpg')
    return Item(name, f'{scene}/{variant}/{frames}/depth/{camera}/depth_{number}.png', [scene, variant, camera])
