"""Truth for an alignment: evidence that the fit never sees."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from depth_anything_ros.alignment import AlignmentSource, EvidenceError, Samples, View
from depth_anything_ros.cli.errors import UsageError

COLLECTED = 'kept as truth'
"""Why the samples of a TruthSource are not fitted."""

# Multiples of it, modulo 1, are as even as can be and have no period that rows or scan lines could share.
_GOLDEN_RATIO = 0.6180339887498949


class NoTruthError(UsageError):
    """The source cannot be judged by its own evidence."""


class _SplitSource:
    """A source whose samples are split in two."""

    def __init__(self, source: AlignmentSource, held_out: float) -> None:
        """held_out: the share of every frame's samples, 0 to 1."""
        self._source = source
        self._held_out = held_out

    @property
    def topics(self) -> Mapping[str, str]:
        """Those of the source."""
        return self._source.topics

    def read(self, topic: str, message: Any) -> Any:
        """As the source does."""
        return self._source.read(topic, message)

    def _split(self, evidence: Any, view: View) -> tuple[Samples, Samples]:
        return split(_samples(self._source, evidence, view), self._held_out)


class KeptSource(_SplitSource):
    """A source without the part of its samples that is held out."""

    def measure(self, evidence: Any, view: View) -> Samples:
        """The samples that are not held out."""
        return self._split(evidence, view)[0]


class TruthSource(_SplitSource):
    """Collects what is held out, and gives nothing to fit.

    fault: raised once the source turns out to be none that can be judged so; an aligner keeps what measure raises.
    """

    def __init__(self, source: AlignmentSource, held_out: float = 1.0) -> None:
        """held_out: as for KeptSource; 1 takes all."""
        super().__init__(source, held_out)
        self._collected: list[tuple[int, Samples]] = []
        self.fault: NoTruthError | None = None

    def measure(self, evidence: Any, view: View) -> Samples:
        """Keep the held-out samples for `take`, and raise EvidenceError(COLLECTED): they are not for a fit."""
        try:
            _, held = self._split(evidence, view)
        except NoTruthError as error:
            self.fault = error
            raise
        self._collected.append((view.stamp_ns, held))
        raise EvidenceError(COLLECTED)

    def take(self) -> list[tuple[int, Samples]]:
        """What was collected since the last call: the stamp of the frame in nanoseconds, and its samples."""
        taken, self._collected = self._collected, []
        return taken


def split(samples: Samples, held_out: float) -> tuple[Samples, Samples]:
    """The samples that are kept and those that are held out, evenly mixed, always in the same way."""
    held = _held(len(samples.depth_m), held_out)
    return _part(samples, ~held), _part(samples, held)


def kept_of(count: int, held_out: float) -> int:
    """How many of so many samples are kept."""
    return int(np.count_nonzero(~_held(count, held_out)))


def _held(count: int, held_out: float) -> np.ndarray:
    return np.arange(count) * _GOLDEN_RATIO % 1.0 < held_out


def _part(samples: Samples, chosen: np.ndarray) -> Samples:
    weights = None if samples.weights is None else np.asarray(samples.weights)[chosen]
    pixels, depth_m = np.asarray(samples.pixels)[chosen], np.asarray(samples.depth_m)[chosen]
    return replace(samples, pixels=pixels, depth_m=depth_m, weights=weights)


def _samples(source: AlignmentSource, evidence: Any, view: View) -> Samples:
    measured = source.measure(evidence, view)
    if isinstance(measured, Samples):
        return measured
    raise NoTruthError(
        f'{type(source).__name__} gives a {type(measured).__name__} and no samples that could be held out: '
        'name the truth with --truth TOPIC'
    )
