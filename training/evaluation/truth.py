"""The truth of one sample, as a protocol wants it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from training.data.points import lies_in
from training.data.sample import Sample
from training.errors import BadSampleError
from training.evaluation.protocol import Protocol


class NoTruthError(BadSampleError):
    """A sample cannot be scored.

    reason: in the words under which it is counted.
    """

    def __init__(self, key: str, reason: str, detail: str = '') -> None:
        super().__init__(f'{key}: {reason}{detail and f" ({detail})"}')
        self.reason = reason


@dataclass(frozen=True)
class Truth:
    """True depths at pixels of an image.

    where: what picks them out of an image (H, W): a mask, bool (H, W), of dense truth; rows and columns of sparse.
    depth: metres there, (N,) float64, finite and positive.
    """

    where: np.ndarray | tuple[np.ndarray, np.ndarray]
    depth: np.ndarray

    @property
    def dense(self) -> bool:
        """Whether neighbouring pixels have truth."""
        return isinstance(self.where, np.ndarray)

    def at(self, image: np.ndarray) -> np.ndarray:
        """The values of an image (H, W) at these pixels, (N,) float64."""
        return image[self.where].astype(np.float64)

    def spread(self, values: np.ndarray) -> np.ndarray:
        """Values (N,) back in their places, (H, W) with NaN elsewhere, of dense truth; of sparse as they are."""
        if not self.dense:
            return values
        image = np.full(self.where.shape, np.nan, np.float32)
        image[self.where] = values
        return image


def true_depth(sample: Sample, protocol: Protocol) -> Truth:
    """What a prediction for the sample is compared with.

    Raises:
        NoTruthError: it has none, or too little that counts.
        BadSampleError: the protocol's crop does not fit the image.
    """
    if protocol.alignment != 'disparity' and sample.meta.get('scale') == 'arbitrary':
        raise NoTruthError(sample.key, 'truth without a scale', 'its depth is not in metres')
    try:
        window = protocol.crop_window(*sample.image.shape[:2])
    except BadSampleError as error:
        raise BadSampleError(f'{sample.key}: {error}') from error
    counts = np.zeros(sample.image.shape[:2], bool)
    counts[window] = True
    if sample.valid is not None:
        counts &= sample.valid
    truth = _dense(sample, protocol, counts) if protocol.truth == 'depth' else _sparse(sample, protocol, counts)
    if truth.depth.size < protocol.min_pixels:
        detail = f'{truth.depth.size}, at least {protocol.min_pixels} needed'
        raise NoTruthError(sample.key, 'too few valid pixels', detail)
    return truth


def _dense(sample: Sample, protocol: Protocol, counts: np.ndarray) -> Truth:
    if sample.depth is None:
        raise NoTruthError(sample.key, 'no truth', 'it has no depth')
    mask = counts & protocol.valid(sample.depth)
    return Truth(mask, sample.depth[mask].astype(np.float64))


def _sparse(sample: Sample, protocol: Protocol, counts: np.ndarray) -> Truth:
    if sample.points is None:
        raise NoTruthError(sample.key, 'no truth', 'it has no points')
    points = sample.points[np.isfinite(sample.points).all(axis=1) & protocol.valid(sample.points[:, 2])]
    points = points[lies_in(points, counts)]
    columns, rows = np.rint(points[:, :2]).astype(np.int64).T
    return Truth((rows, columns), points[:, 2].astype(np.float64))


def true_pairs(sample: Sample) -> np.ndarray:
    """(N, 4) pairs of points, row and column of the nearer, row and column of the farther.

    Raises:
        NoTruthError: it has none.
    """
    pairs = np.asarray(sample.meta.get('pairs', ()))
    if pairs.ndim != 2 or pairs.shape[1] != 4 or not len(pairs):
        raise NoTruthError(sample.key, 'no truth', "no pairs [row, column, row, column] in its meta['pairs']")
    return pairs
