"""Neighbours in time, and how still the depth is from one to the next."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from depth_anything_ros.estimation import Prediction
from training.data.sample import Sample
from training.evaluation.protocol import Protocol
from training.evaluation.scoring import Scored, ToMetres
from training.metrics import flicker


def sequence_of(sample: Sample) -> str:
    """What a sample shares with its neighbours in time: bag and topic, else the scene, else ''."""
    meta = sample.meta
    if 'stamp_ns' in meta:
        return f'{meta.get("bag", "")}:{meta.get("topic", "")}'
    return str(meta.get('scene', ''))


def stamp_of(sample: Sample) -> int | None:
    """Its time in nanoseconds, if known."""
    stamp = sample.meta.get('stamp_ns')
    return None if stamp is None else int(stamp)


@dataclass(frozen=True)
class _Frame:
    index: int
    sequence: str
    stamp_ns: int | None
    to_metres: ToMetres
    log_error: np.ndarray


class FlickerMeter:
    """Compares each frame with the one before of its sequence; see metrics.flicker. Frames come in the data's order."""

    def __init__(self, protocol: Protocol) -> None:
        self._protocol = protocol
        # The last frame of each sequence: cameras of one bag come in turns.
        self._last: dict[str, _Frame] = {}

    def __call__(self, index: int, sample: Sample, prediction: Prediction, scored: Scored) -> dict[str, float]:
        """The flicker of this frame against the last one, or {} if they are no neighbours or one was not aligned."""
        if self._protocol.sequence == 'none' or scored.truth is None or scored.to_metres is None:
            return {}
        sequence = sequence_of(sample)
        before = self._last.pop(sequence, None)
        if self._protocol.sequence == 'scene':
            self._last.clear()  # there, neighbours follow each other
        if not scored.to_metres.usable:
            return {}
        frame = _Frame(
            index,
            sequence,
            stamp_of(sample),
            scored.to_metres,
            _log_error(prediction, scored, scored.to_metres),
        )
        self._last[sequence] = frame
        if before is None or not self._neighbours(before, frame):
            return {}
        return flicker(before.log_error, _log_error(prediction, scored, before.to_metres))

    def _neighbours(self, before: _Frame, after: _Frame) -> bool:
        if self._protocol.sequence == 'scene':
            return after.index == before.index + 1 and bool(after.sequence)
        if before.stamp_ns is None or after.stamp_ns is None:
            return False
        return 0 < after.stamp_ns - before.stamp_ns <= self._protocol.max_gap_s * 1e9


def _log_error(prediction: Prediction, scored: Scored, to_metres: ToMetres) -> np.ndarray:
    truth = scored.truth
    depth = to_metres(truth.at(prediction.values), prediction.kind)
    return truth.spread(np.log(depth) - np.log(truth.depth))
