"""BlendedMVS and BlendedMVG (Y. Yao et al., CVPR 2020): photos blended with renderings of their reconstruction."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from training.data.depth_files import decode_pfm
from training.data.readers.base import Item, Reader
from training.data.sample import Sample
from training.errors import BadSampleError
from training.recipe import free


class BlendedMvs(Reader):
    """Depth in a unit of each scene's own (`meta['scale']` is `arbitrary`); NaN in the holes of the mesh."""

    name = 'blendedmvs'
    layout = '<project>/blended_images/*.jpg, rendered_depth_maps/*.pfm and cams/*_cam.txt'

    @dataclass(frozen=True)
    class Options:
        """scenes: a list of the scenes to take, one a line, such as `BlendedMVG_training.txt`; '' for all there are."""

        scenes: str = free('')

    def find(self) -> Iterable[Item]:
        """Images without the background masked out."""
        wanted = {words[0] for words in self.lines(self.options.scenes)} if self.options.scenes else None
        for name in self.folder.names('*/blended_images/*.jpg'):
            scene, _, image = name.split('/')
            number = image.removesuffix('.jpg')
            if not number.endswith('_masked') and (wanted is None or scene in wanted):
                yield Item(name, f'{scene}/rendered_depth_maps/{number}.pfm', f'{scene}/cams/{number}_cam.txt')

    def read(self, item: Item) -> Sample:
        """Any unit; 0 is a hole."""
        image = self.image(item)
        depth = decode_pfm(*self.depth_file(item))
        matrix = self._intrinsics(item.more)
        return self.sample(item, image, depth, K=matrix, scene=item.image.split('/')[0], scale='arbitrary')

    def _intrinsics(self, name: str) -> list[list[float]]:
        """MVSNet's camera file: `extrinsic`, 16 numbers, `intrinsic`, 9 numbers, the range of depth."""
        try:
            values = [float(word) for word in self.text(name).partition('intrinsic')[2].split()[:9]]
            return np.reshape(values, (3, 3)).tolist()
        except ValueError as error:
            raise BadSampleError(f'{name}: no intrinsic matrix: {error}') from error
