"""NYU Depth v2, the labelled part (N. Silberman et al., ECCV 2012): 1,449 images of rooms by a Kinect, 640x480."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from training.data.readers.base import Item, Reader, camera_matrix
from training.data.sample import Sample
from training.errors import BadSampleError, DataError, RecipeError, TrainingError
from training.recipe import free

_SPLITS = {'train': 'trainNdxs', 'test': 'testNdxs'}


class Nyu(Reader):
    """The images of `nyu_depth_v2_labeled.mat` with depth in metres, NaN where the sensor saw none.

    Crop and cap are the protocol's matter.

    split: `test` (654 images, the split of Eigen et al. too) or `train` (795) of the official `splits.mat`, which
        lies beside it; '' for all, or for all of a list of one's own.
    """

    name = 'nyu'
    layout = 'nyu_depth_v2_labeled.mat and, for a split, splits.mat'
    splits = ('', *_SPLITS)

    @dataclass(frozen=True)
    class Options:
        """depth: `rawDepths`, as measured, or `depths`, holes filled by colour; published numbers differ in which.

        splits_file: like `splits.mat` (MATLAB 5, needs scipy), which '' stands for; or a text of the numbers of the
            images to take, from 1, with or without a split.
        """

        depth: str = 'rawDepths'
        file: str = free('nyu_depth_v2_labeled.mat')
        splits_file: str = free('')

    def find(self) -> Iterable[Item]:
        """Numbers, from 1 as in the official list."""
        with self._open() as file:
            count = len(file['images'])
            if self.options.depth not in file:
                raise DataError(f'{self.options.file} has no {self.options.depth!r}: use rawDepths or depths')
        listed = self.split or self.options.splits_file
        numbers = self._of_split() if listed else range(1, count + 1)
        for number in numbers:
            if not 1 <= number <= count:
                raise DataError(f'{self._splits_file}: image {number} of {count}; they are counted from 1')
            yield Item(f'{number:04d}')

    def read(self, item: Item) -> Sample:
        """MATLAB's arrays have their axes in the opposite order in HDF5."""
        index = int(item.image) - 1
        with self._open() as file:
            try:
                image = file['images'][index].transpose(2, 1, 0).copy()
                depth = file[self.options.depth][index].T
                scene = ''.join(map(chr, file[file['scenes'][0, index]][:].ravel())) if 'scenes' in file else None
            except Exception as error:
                # h5py raises what the library's parsers happen to raise.
                raise BadSampleError(f'{self.options.file}: {type(error).__name__}: {error}') from error
        # Of the colour camera, from camera_params.m of the data set's toolbox.
        matrix = camera_matrix(518.857901, 519.469611, 325.582449, 253.736166, image.shape[1] / 640)
        return self.sample(item, image, depth, K=matrix, scene=scene)

    @contextmanager
    def _open(self) -> Iterator[Any]:
        # Opened for each sample: an HDF5 file that is open does not survive being sent to another process.
        try:
            import h5py  # noqa: PLC0415 - optional
        except ImportError as error:
            raise TrainingError('reading NYU needs h5py: pip install h5py') from error
        name = self.options.file
        with self.folder.open(name) as content:
            try:
                file = h5py.File(content, 'r')
            except OSError as error:
                raise DataError(f'{self.folder.url}/{name} is no whole HDF5 file: {error}') from error
            with file:
                if 'images' not in file:
                    raise DataError(f'{self.folder.url}/{name}: no `images` in it, expected {self.layout}')
                yield file

    @property
    def _splits_file(self) -> str:
        return self.options.splits_file or 'splits.mat'

    def _of_split(self) -> list[int]:
        name = self._splits_file
        if name.endswith('.mat'):
            return self._matlab_numbers(name)
        try:
            return [int(word) for words in self.lines(name) for word in words]
        except ValueError as error:
            raise DataError(f'{name} is no list of images: {error!r}') from error

    def _matlab_numbers(self, name: str) -> list[int]:
        if not self.split:
            raise RecipeError(f'nyu: {name} has several splits: give the split, {" or ".join(_SPLITS)}')
        try:
            from scipy.io import loadmat  # noqa: PLC0415 - optional
        except ImportError as error:
            raise TrainingError(
                f'reading {name} needs scipy: pip install scipy, or write the numbers into a text file and give '
                'splits_file=FILE.txt'
            ) from error
        content = self.content(name)
        try:
            return loadmat(io.BytesIO(content))[_SPLITS[self.split]].ravel().tolist()
        except Exception as error:
            # As scipy's parser happens to.
            raise DataError(
                f'{name} is no list of images, as a file of MATLAB 5: {type(error).__name__}: {error}'
            ) from error
