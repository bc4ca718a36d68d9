"""Where metres come from: each source turns its evidence into samples of disparity against depth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Protocol

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


class AlignmentSource(Protocol):
    """What the aligner asks of a source.

    constant: an Alignment that holds at all times, or None if the source needs evidence.
    wants_evidence: whether anything is to be subscribed to.
    samples(evidence, disparity): the evidence matched with a (H, W) disparity image of the same moment.
    """

    constant: Alignment | None
    wants_evidence: bool

    def samples(self, evidence: np.ndarray, disparity: np.ndarray) -> Samples:
        """Match; raises EvidenceError where evidence and image cannot belong together."""


class NoSource:
    """No metres: a relative model stays relative."""

    constant: ClassVar[Alignment | None] = None
    wants_evidence: ClassVar[bool] = False

    def samples(self, evidence: np.ndarray, disparity: np.ndarray) -> Samples:
        """There is never evidence."""
        raise EvidenceError('alignment.source is none: evidence is not used')


class FixedSource(NoSource):
    """A scale (1/m per unit of disparity) and shift (1/m) that the user measured."""

    def __init__(self, scale: float, shift: float) -> None:
        self.constant = Alignment(scale=scale, shift=shift)


class DepthSource:
    """A registered depth image, sparse or dense, seen from the same camera, of any size with the same field of view.

    max_samples: a denser image is thinned evenly to about this many.
    """

    constant: ClassVar[Alignment | None] = None
    wants_evidence: ClassVar[bool] = True

    def __init__(self, max_samples: int = 5000) -> None:
        if max_samples < 1:
            raise ValueError(f'max_samples must be positive, got {max_samples}')
        self._max_samples = max_samples

    def samples(self, evidence: np.ndarray, disparity: np.ndarray) -> Samples:
        """evidence: (h, w) metres, not finite or not positive where unknown; disparity: (H, W)."""
        (h, w), (height, width) = evidence.shape, disparity.shape
        if abs(w * height / (h * width) - 1.0) > _ASPECT_TOLERANCE:
            raise EvidenceError(
                f'the depth image is {w}x{h}, the camera image {width}x{height}: other proportions, so the depth is '
                'not registered to this camera. Register it first (depth_image_proc RegisterNode)'
            )
        with np.errstate(invalid='ignore'):
            rows, columns = np.nonzero(np.isfinite(evidence) & (evidence > 0.0))
        step = -(-rows.size // self._max_samples)
        if step > 1:
            rows, columns = rows[::step], columns[::step]
        # Pixel centres correspond, whatever the two sizes.
        v = ((rows + 0.5) * (height / h)).astype(np.intp)
        u = ((columns + 0.5) * (width / w)).astype(np.intp)
        return Samples(disparity[v, u], evidence[rows, columns])


SOURCES = ('none', 'fixed', 'depth')
