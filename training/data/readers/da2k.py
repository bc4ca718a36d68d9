"""DA-2K (Depth Anything V2 paper, section 6): 1K photos with pairs of points, of which one is nearer."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable
from dataclasses import dataclass

from training.data.readers.base import Item, Reader
from training.data.sample import Sample
from training.errors import BadSampleError, DataError
from training.recipe import free


class Da2k(Reader):
    """Images with `meta['pairs']`: [[row1, column1, row2, column2], ...], the nearer point first; there is no depth.

    `meta['category']` is one of its eight: the name of the image's folder.
    """

    name = 'da2k'
    layout = 'annotations.json and the images that it names'

    @dataclass(frozen=True)
    class Options:
        """annotations: the file of pairs."""

        annotations: str = free('annotations.json')

    def find(self) -> Iterable[Item]:
        """The images that are annotated."""
        for name, pairs in self.folder.read_json(self.options.annotations).items():
            try:
                yield Item(posixpath.normpath(name), '', [_nearer_first(pair) for pair in pairs])
            except (KeyError, TypeError, ValueError) as error:
                raise DataError(f'{self.options.annotations}: {name}: a pair cannot be read: {error!r}') from error

    def read(self, item: Item) -> Sample:
        """Check that the points lie in the image."""
        image = self.image(item, upright=True)
        height, width = image.shape[:2]
        for pair in item.more:
            if not (min(pair) >= 0 and max(pair[0::2]) < height and max(pair[1::2]) < width):
                raise BadSampleError(f'the points {pair} (row, column twice) are not in the image {width}x{height}')
        return self.sample(item, image, pairs=item.more, category=posixpath.basename(posixpath.dirname(item.image)))


def _nearer_first(pair: dict) -> list[int]:
    points = [pair['point1'], pair['point2']]
    if pair['closer_point'] not in ('point1', 'point2'):
        raise ValueError(f'closer_point is {pair["closer_point"]!r}')
    (row1, column1), (row2, column2) = points if pair['closer_point'] == 'point1' else points[::-1]
    return [row1, column1, row2, column2]
