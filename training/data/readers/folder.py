"""Plain folders: images, and depth under the same names, for data of one's own."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from training.data.depth_files import DECODERS
from training.data.readers.base import IMAGE_FILES, Item, Reader
from training.data.sample import Sample
from training.errors import DataError, RecipeError
from training.recipe import free


class FolderReader(Reader):
    """Images below one folder, their depth below another under the same relative name but for the suffix.

    Depth is PNG of 8 or 16 bits, .npy, EXR, PFM or .dpt. An image without depth is a bad sample. The images
    of one folder are of one `scene`: they may be a video's frames, so comparisons of networks take them for neighbours.

    split: a folder below the path that holds the two folders; '' if they are in the path itself.
    """

    name = 'folder'
    layout = 'images/**/*.png (or jpg, jpeg, webp) and depth/**/*.png (or npy, exr, pfm, dpt)'
    splits = None

    @dataclass(frozen=True)
    class Options:
        """image_dir, depth_dir: the two folders.

        kind: `depth` or `disparity` (relative inverse depth, larger is nearer).
        scale: what a number in the file is multiplied by: 0.001 for millimetres.
        invalid: the number in the file that stands for unknown, besides NaN.
        """

        kind: str = 'depth'
        scale: float = 1.0
        invalid: float = 0.0
        image_dir: str = free('images')
        depth_dir: str = free('depth')

    def find(self) -> Iterable[Item]:
        """Match by name."""
        options = self.options
        if options.kind not in ('depth', 'disparity'):
            raise RecipeError(f'folder: kind must be depth or disparity, not {options.kind!r}')
        if not options.scale > 0:
            raise RecipeError(f'folder: scale must be above 0, not {options.scale}')
        if options.image_dir == options.depth_dir:
            raise RecipeError('folder: image_dir and depth_dir must be two folders')
        images = self._by_stem(options.image_dir, IMAGE_FILES)
        depths = self._by_stem(options.depth_dir, DECODERS)
        if images and not dict(images).keys() & dict(depths).keys():
            raise DataError(
                f'{self.folder.url}: {len(images)} images in {options.image_dir} and {len(depths)} files of depth in '
                f'{options.depth_dir}, but no name that is in both'
            )
        depth_of: dict[str, str] = {}
        for stem, name in depths:
            if stem in depth_of:
                raise DataError(
                    f'{self.folder.url}: {depth_of[stem]} and {name} are both the depth of {stem}: keep one'
                )
            depth_of[stem] = name
        for stem, name in images:
            yield Item(name, depth_of.get(stem, ''))

    def read(self, item: Item) -> Sample:
        """The file's numbers times the scale."""
        name, content = self.depth_file(item)
        values = DECODERS[_suffix(name)](name, content)
        values = np.where(values == self.options.invalid, np.nan, values * self.options.scale)
        return self.sample(item, self.image(item), **{self.options.kind: values}, scene=os.path.dirname(item.image))

    def _by_stem(self, folder: str, suffixes: Iterable[str]) -> list[tuple[str, str]]:
        top = '/'.join(part for part in (self.split, folder.strip('/')) if part)
        names = [name for name in self.folder.names(f'{top}/**') if _suffix(name) in suffixes]
        return [(os.path.splitext(name[len(top) + 1 :])[0], name) for name in names]


def _suffix(name: str) -> str:
    return os.path.splitext(name)[1].lower().lstrip('.')
