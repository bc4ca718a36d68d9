"""DIML/CVL RGB-D (J. Cho et al., 2021): rooms seen by a Kinect v2, streets by a stereo camera."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from training.data.depth_files import decode_png
from training.data.readers.base import Item, Reader
from training.data.sample import Sample
from training.errors import BadSampleError, DataError


class _Release(NamedTuple):
    """Names of the folders of one release: they lie side by side, and their files differ in their last words."""

    images: str
    depth: str
    confidence: str
    place: str


_RELEASES = (
    _Release('col', 'up_png', '', 'indoor'),
    _Release('color', 'depth_filled', '', 'indoor'),
    _Release('left', 'depth', 'conf', 'outdoor'),
    _Release('outleft', 'depthmap', 'confidencemap', 'outdoor'),
)


class Diml(Reader):
    """Depth in metres; NaN where it is unknown, and outdoors where the stereo matching is not sure of it.

    The full release and the samples of it have other names; both are found, at any depth of folders. The names are
    those that public readers of it use; no official description of them could be checked.

    split: `indoor` or `outdoor`; '' for both.
    """

    name = 'diml'
    layout = (
        '**/col/*_c.png with up_png/*.png (or color/ with depth_filled/) indoors, '
        '**/left/*_left.png with depth/ and conf/ (or outleft/, depthmap/ and confidencemap/) outdoors'
    )
    splits = ('', 'indoor', 'outdoor')

    @dataclass(frozen=True)
    class Options:
        """confidence: outdoors, from 0 to 1, below which depth is unknown; the default is one of public code."""

        confidence: float = 0.6

    def find(self) -> Iterable[Item]:
        """Match the files of neighbouring folders by what they have in common."""
        folders: dict[str, list[str]] = {}
        for name in self.folder.names('**/*.png'):
            folders.setdefault(name.rpartition('/')[0], []).append(name)
        for folder, images in folders.items():
            parent, _, last = folder.rpartition('/')
            release = next((each for each in _RELEASES if each.images == last), None)
            if release is None or self.split not in ('', release.place):
                continue
            beside = parent + '/' if parent else ''
            depths = _by_frame(folders.get(beside + release.depth, []))
            confidences = _by_frame(folders.get(beside + release.confidence, []) if release.confidence else [])
            for frame, name in _by_frame(images).items():
                confidence = confidences.get(frame, '') if release.confidence else None
                yield Item(name, depths.get(frame, ''), confidence)

    def read(self, item: Item) -> Sample:
        """16-bit millimetres, 8-bit confidence."""
        image = self.image(item)
        depth = decode_png(*self.depth_file(item), bits=16) / 1000
        if item.more == '':
            raise BadSampleError('there is no confidence of this depth')
        if item.more is not None:
            confidence = decode_png(item.more, self.folder.read(item.more)) / 255
            depth = self.masked(depth, confidence >= self.options.confidence, item.more)
        return self.sample(item, image, depth, scene=item.image.rsplit('/', 2)[0])


def _by_frame(names: Iterable[str]) -> dict[str, str]:
    """Names by what they share with those of the other folders: without folder, suffix and the last words.

    `in_00_160325_000001_c.png` and `in_00_160325_000001_depth_filled.png` are of one frame.
    """
    found: dict[str, str] = {}
    for name in names:
        frame = re.sub(r'(_[A-Za-z]+)*\.png$', '', name.rpartition('/')[2])
        if frame in found:
            raise DataError(f'{found[frame]} and {name} are both of frame {frame}: one folder holds one kind of file')
        found[frame] = name
    return found
