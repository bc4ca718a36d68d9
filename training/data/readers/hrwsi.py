"""HR-WSI (K. Xian et al., CVPR 2020): stereo photos from the web with disparity from optical flow."""

from __future__ import annotations

from collections.abc import Iterable

from training.data.depth_files import decode_png
from training.data.readers.base import Item, Reader
from training.data.sample import Sample


class Hrwsi(Reader):
    """Disparity without unit, larger is nearer; NaN outside of the mask of valid pixels.

    split: `train` (20,378 images) or `val` (400); '' for both.
    """

    name = 'hrwsi'
    layout = '{train,val}/imgs/*.jpg, gts/*.png and valid_masks/*.png'
    splits = ('', 'train', 'val')

    def find(self) -> Iterable[Item]:
        """Images; the other names follow."""
        for name in self.folder.names(f'{self.split or "*"}/imgs/*.jpg'):
            folder, _, image = name.rsplit('/', 2)
            file = image.removesuffix('.jpg') + '.png'
            yield Item(name, f'{folder}/gts/{file}', f'{folder}/valid_masks/{file}')

    def read(self, item: Item) -> Sample:
        """8-bit levels, 8-bit mask."""
        disparity = decode_png(*self.depth_file(item))
        mask = decode_png(item.more, self.folder.read(item.more)) > 0
        return self.sample(item, self.image(item), disparity=self.masked(disparity, mask, item.more))
