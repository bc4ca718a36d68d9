"""Masks of the sky, as the stage `sky` writes them, over a data set (V1 paper, section 3.1)."""

from __future__ import annotations

import dataclasses
import os

import numpy as np

from training.data.sample import Dataset, Derived, Sample
from training.data.shards import decode_grey, parts_by_key
from training.errors import BadSampleError, DataError, MismatchError
from training.files import Folder, fingerprint
from training.run import MANIFEST, finished_manifest

# The part of a sample in the shards of masks: uint8 (H, W), 255 where there is sky.
SKY_PART = 'sky.png'


def shard_name(number: int) -> str:
    """Of the masks of the samples number * shard_size and after."""
    return f'sky-{number:06d}'


class WithSky(Derived):
    """A data set whose samples know where the sky is: infinitely far.

    There, depth is +Inf, so that its disparity is 0 and valid, as V1 and MiDaS have it. Disparity is 0 too; where a
    data set's disparity has an offset so that it gets below 0, the sky gets the image's smallest value instead.
    """

    def __init__(self, dataset: Dataset, masks: str | os.PathLike[str]) -> None:
        """Open the masks.

        Args:
            dataset: what they are of.
            masks: output folder or URL of the stage `sky`.

        Raises:
            DataError: there are no masks.
            MismatchError: they are of other samples, or not finished.
        """
        super().__init__(dataset)
        self._masks = Folder(masks)
        if not self._masks.exists(MANIFEST):
            raise DataError(
                f'{self._masks.url}: no masks of the sky of {dataset.name} here: make them with the stage sky, '
                'or leave out sky beside the data'
            )
        manifest = finished_manifest(masks, 'sky')
        if manifest['inputs']['data'] != dataset.fingerprint:
            raise MismatchError(
                f'{self._masks.url}: these masks are of another data set than {dataset.name}, or of another split or '
                'other options of it: run sky over what is trained on'
            )
        self._shard_size = manifest['recipe']['shard_size']
        self._fingerprint = fingerprint([dataset.fingerprint, manifest['masks']])

    @property
    def fingerprint(self) -> str:
        """Of the data set and of the masks' content."""
        return self._fingerprint

    def __getitem__(self, index: int) -> Sample:
        """Read one sample; raises BadSampleError if it has no mask, or neither depth nor disparity."""
        sample = self._dataset[index]
        return with_sky(sample, self._mask(index, sample))

    def _mask(self, index: int, sample: Sample) -> np.ndarray:
        shard = shard_name(index // self._shard_size)
        place = parts_by_key(self._masks.url, shard).get(sample.key, {}).get(SKY_PART)
        if place is None:
            raise BadSampleError(f'{sample.key}: no mask of its sky in {self._masks.url}')
        start, size = place
        return decode_grey(sample.key, self._masks.read(f'{shard}.tar', start, start + size)) > 127


def with_sky(sample: Sample, sky: np.ndarray) -> Sample:
    """The sample with its sky infinitely far.

    Args:
        sample: it is left as it is.
        sky: (H, W) bool.

    Raises:
        BadSampleError: the mask is of another size, or there is neither depth nor disparity.
    """
    if sky.shape != sample.image.shape[:2]:
        raise BadSampleError(f'{sample.key}: the mask of its sky is {sky.shape}, the image {sample.image.shape[:2]}')
    if sample.depth is None and sample.disparity is None:
        raise BadSampleError(f'{sample.key}: neither depth nor disparity, so there is no sky to be set')
    depth, disparity = sample.depth, sample.disparity
    if depth is not None:
        depth = np.where(sky, np.float32(np.inf), depth)
    if disparity is not None:
        known = disparity[np.isfinite(disparity) & ~sky]
        disparity = np.where(sky, known.min(initial=np.float32(0)), disparity)
    return dataclasses.replace(sample, depth=depth, disparity=disparity)
