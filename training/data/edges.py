"""Measured depth without its outlines, which sensors put some pixels beside those of the image."""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np

from training.data.sample import Dataset, Derived, Sample
from training.errors import BadSampleError
from training.files import fingerprint

# Depth jumps where the farthest of this many pixels square is so many times as far as the nearest. Not of neighbours
# alone: sensors leave gaps where depth jumps.
_WINDOW, _JUMP = 7, 1.15


class WithoutEdges(Derived):
    """A data set whose depth is unknown around its jumps.

    A network that is shown outlines in the wrong place learns that they may be anywhere near, and blurs its own.
    """

    def __init__(self, dataset: Dataset, margin: int) -> None:
        """Wrap a data set; margin: see without_edges."""
        super().__init__(dataset)
        self._margin = margin

    @property
    def fingerprint(self) -> str:
        """Of the data set and the margin."""
        return fingerprint([self._dataset.fingerprint, 'edge_margin', self._margin])

    def __getitem__(self, index: int) -> Sample:
        """Read one sample; raises BadSampleError if it has no depth, or none that is left."""
        return without_edges(self._dataset[index], self._margin)


def without_edges(sample: Sample, margin: int) -> Sample:
    """The sample with its depth NaN within `margin` pixels of where it jumps by 15 % within 7 pixels.

    Raises:
        BadSampleError: it has no depth, or all of it is at a jump.
    """
    if sample.depth is None:
        raise BadSampleError(f'{sample.key}: edge_margin is for depth by pixel, which is not known here')
    known = ~np.isnan(sample.depth)
    # Inverse, so that the sky is a number, 0; what is unknown is neither the farthest nor the nearest.
    inverse = 1 / sample.depth.astype(np.float32)
    window = np.ones((_WINDOW, _WINDOW), np.uint8)
    nearest = cv2.dilate(np.where(known, inverse, np.float32(-1)), window)
    farthest = cv2.erode(np.where(known, inverse, np.float32(1e30)), window)
    jumps = (nearest > _JUMP * farthest).astype(np.uint8)
    left = known & (cv2.dilate(jumps, np.ones((2 * margin + 1, 2 * margin + 1), np.uint8)) == 0)
    if not left.any():
        raise BadSampleError(f'{sample.key}: its depth is nowhere more than {margin} pixels from a jump')
    return dataclasses.replace(sample, depth=np.where(left, sample.depth, np.float32(np.nan)))
