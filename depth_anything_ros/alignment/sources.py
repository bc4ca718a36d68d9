"""Where metres come from: each source turns its evidence into samples of disparity against depth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np

from depth_anything_ros.alignment.fit import Alignment

# The width-to-height ratio of a registered depth image may differ from the camera's by rounding only.
_ASPECT_TOLERANCE = 0.02


class EvidenceError(ValueError):
    """The evidence cannot belong to this camera; the message says why."""


@dataclass(frozen=True)
class Samples:
    """Matched samples, each (N,): disparity (no unit), depth_m (metres), weights (relative, positive)."""

    disparity: np.ndarray
    depth_m: np.ndarray
    weights: np.ndarray | None = None


@dataclass(frozen=True)
class SparseDepth:
    """What is kept of a (height, width) depth image: some of its known pixels; rows, columns, depth_m are (N,)."""

    height: int
    width: int
    rows: np.ndarray
    columns: np.ndarray
    depth_m: np.ndarray


class AlignmentSource(Protocol):
    """What the aligner asks of a source.

    constant: an Alignment that holds at all times, or None if the source needs evidence.
    wants_evidence: whether anything is to be subscribed to.
    """

    constant: Alignment | None
    wants_evidence: bool

    def condense(self, evidence: Any) -> Any:
        """Make evidence as it comes into the little that must be kept until its frame is there."""

    def samples(self, condensed: Any, disparity: np.ndarray) -> Samples:
        """Match with a (H, W) disparity image of the same moment; raises EvidenceError where they cannot belong."""


class NoSource:
    """No metres: a relative model stays relative."""

    constant: ClassVar[Alignment | None] = None
    wants_evidence: ClassVar[bool] = False

    def condense(self, evidence: np.ndarray) -> np.ndarray:
        """There is never evidence."""
        raise EvidenceError('this source takes no evidence')

    def samples(self, condensed: np.ndarray, disparity: np.ndarray) -> Samples:
        """There is never evidence."""
        raise EvidenceError('this source takes no evidence')


class FixedSource(NoSource):
    """A scale (1/m per unit of disparity) and shift (1/m) that the user measured."""

    def __init__(self, scale: float, shift: float) -> None:
        self.constant = Alignment(scale=scale, shift=shift)


class DepthSource:
    """A registered depth image, sparse or dense, of the same camera, of any size with the same field of view.

    max_samples: a denser image is thinned evenly to about this many.
    """

    constant: ClassVar[Alignment | None] = None
    wants_evidence: ClassVar[bool] = True

    def __init__(self, max_samples: int = 5000) -> None:
        if max_samples < 1:
            raise ValueError(f'max_samples must be positive, got {max_samples}')
        self._max_samples = max_samples

    def condense(self, evidence: np.ndarray) -> SparseDepth:
        """evidence: (h, w) metres, not finite or not positive where unknown."""
        with np.errstate(invalid='ignore'):
            known = np.flatnonzero((evidence > 0.0) & (evidence < np.inf))
        known = known[:: max(1, -(-known.size // self._max_samples))]
        rows, columns = np.divmod(known, evidence.shape[1])
        return SparseDepth(*evidence.shape, rows, columns, evidence.ravel()[known])

    def samples(self, condensed: SparseDepth, disparity: np.ndarray) -> Samples:
        """disparity: (H, W)."""
        (h, w), (height, width) = (condensed.height, condensed.width), disparity.shape
        if abs(w * height / (h * width) - 1.0) > _ASPECT_TOLERANCE:
            raise EvidenceError(
                f'the depth image is {w}x{h}, the camera image {width}x{height}: other proportions, so the depth is '
                'not registered to this camera. Register it first (depth_image_proc RegisterNode)'
            )
        # Pixel centres correspond, whatever the two sizes.
        v = ((condensed.rows + 0.5) * (height / h)).astype(np.intp)
        u = ((condensed.columns + 0.5) * (width / w)).astype(np.intp)
        return Samples(disparity[v, u], condensed.depth_m)


SOURCES = ('none', 'fixed', 'depth')
