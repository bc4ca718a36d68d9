"""DIODE (I. Vasiljevic et al., 2019; github diode-dataset/diode-devkit): views cut from laser scans, 1024x768."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from training.data.depth_files import decode_npy
from training.data.readers.base import Item, Reader, camera_matrix, check_known
from training.data.sample import Sample

_PLACES = ('indoors', 'outdoor')


class Diode(Reader):
    """Depth in metres, NaN where its mask says that the scanner got no return.

    split: `val` (771 images) or `train`; '' for both.
    """

    name = 'diode'
    layout = '{train,val}/{indoors,outdoor}/scene_*/scan_*/*.png, *_depth.npy and *_depth_mask.npy'
    splits = ('', 'train', 'val')

    @dataclass(frozen=True)
    class Options:
        """where: `indoors` (325 images of val), `outdoor` (446), or both."""

        where: tuple[str, ...] = _PLACES

        def __post_init__(self) -> None:
            check_known('diode: where', self.where, _PLACES)

    def find(self) -> Iterable[Item]:
        """Images; the other names follow."""
        for name in self.folder.names(f'{self.split or "*"}/*/scene_*/scan_*/*.png'):
            if name.split('/')[1] in self.options.where:
                stem = name.removesuffix('.png')
                yield Item(name, f'{stem}_depth.npy', f'{stem}_depth_mask.npy')

    def read(self, item: Item) -> Sample:
        """Metres, 1 where valid."""
        image = self.image(item)
        depth = decode_npy(*self.depth_file(item))
        depth = self.masked(depth, decode_npy(item.more, self.folder.read(item.more)) == 1, item.more)
        matrix = camera_matrix(886.81, 927.06, 512.0, 384.0, image.shape[1] / 1024)
        return self.sample(item, image, depth, K=matrix, scene='/'.join(item.image.split('/')[1:4]))
