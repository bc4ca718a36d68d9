"""Which alignment holds for a frame: evidence and predictions matched in time."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, replace
from threading import Lock
from typing import Any

import numpy as np

from depth_anything_ros.alignment.fit import (
    Alignment,
    AlignmentError,
    UninformativeDisparityError,
    fit_scale_shift,
)
from depth_anything_ros.alignment.sources import AlignmentSource, EvidenceError

_REMEMBERED_PREDICTIONS = 8
# At 100 Hz more than two seconds; each piece is condensed to a few thousand samples.
_REMEMBERED_EVIDENCE = 256
# A step back in time larger than this is a restarted bag or simulation, not a late message.
_RESTART_NS = 1_000_000_000


@dataclass(frozen=True)
class AlignmentState:
    """What diagnostics show.

    current: the alignment in force for the last frame, or None: then there are no metres.
    problem: why there is none, or why the last evidence was refused; empty when all is well.
    age_s: of the evidence behind it when the last frame was taken; None for a constant.
    fits, refused, unmatched: counts since the start, unmatched being evidence of no frame's moment.
    """

    current: Alignment | None
    problem: str = ''
    age_s: float | None = None
    fits: int = 0
    refused: int = 0
    unmatched: int = 0


class Aligner:
    """Keeps the alignment that holds now.

    A frame goes through expect, when its work begins, and update, when its disparity is there; a slow network has
    seconds between the two, in which the evidence of that moment is kept. Evidence may come before or after its
    frame. Evidence of another moment than any frame is not used: a moving robot would get wrong metres.

    max_age_s: an alignment older than this is dropped, and metres stop.
    max_time_difference_s: how far apart in stamp evidence and frame may be.
    min_samples, min_explained: what a fit needs to be believed (Alignment.explained).

    add_evidence may be called from another thread than the rest.
    """

    def __init__(
        self,
        source: AlignmentSource,
        *,
        max_age_s: float = 2.0,
        max_time_difference_s: float = 0.05,
        min_samples: int = 50,
        min_explained: float = 0.3,
    ) -> None:
        self._source = source
        self._max_age_ns = int(max_age_s * 1e9)
        self._max_difference_ns = int(max_time_difference_s * 1e9)
        self._min_samples = min_samples
        self._min_explained = min_explained
        self._lock = Lock()
        self._evidence: list[tuple[int, Any]] = []
        self._expected_ns: int | None = None
        self._predictions: deque[tuple[int, np.ndarray]] = deque(maxlen=_REMEMBERED_PREDICTIONS)
        self._fitted: Alignment | None = None
        self._refusal = self._mismatch = ''
        self._state = AlignmentState(source.constant)
        self._counts = Counter()

    @property
    def state(self) -> AlignmentState:
        """The state after the last update, with the counts of now."""
        with self._lock:
            return replace(self._state, **self._counts)

    def add_evidence(self, stamp_ns: int, evidence: Any) -> None:
        """Keep evidence until the frame of its moment has been predicted."""
        condensed = self._source.condense(evidence)
        with self._lock:
            self._evidence.append((stamp_ns, condensed))
            if len(self._evidence) > _REMEMBERED_EVIDENCE:
                # The oldest goes, but not what the frame in work waits for.
                spare = (i for i, (stamp, _) in enumerate(self._evidence) if not self._is_expected(stamp))
                del self._evidence[next(spare, 0)]
                self._counts['unmatched'] += 1

    def refuse_evidence(self, reason: str) -> None:
        """Count evidence that could not even be read."""
        self._refuse(reason)

    def expect(self, stamp_ns: int) -> None:
        """Say that the frame with this stamp is in work: its evidence must wait for it."""
        with self._lock:
            self._expected_ns = stamp_ns

    def update(self, stamp_ns: int, disparity: np.ndarray) -> Alignment | None:
        """Take a frame's (H, W) disparity, and say which alignment holds for it, if any."""
        if self._source.constant is not None:
            return self._source.constant
        if not self._source.wants_evidence:
            self._state = AlignmentState(None, 'alignment.source is none')
            return None
        if self._predictions and stamp_ns < self._predictions[-1][0] - _RESTART_NS:
            self._forget('time went back: the alignment of before is forgotten')
        self._predictions.append((stamp_ns, disparity))
        self._fit_ripe_evidence(stamp_ns)
        return self._judge(stamp_ns)

    def _is_expected(self, stamp_ns: int) -> bool:
        return self._expected_ns is not None and abs(stamp_ns - self._expected_ns) <= self._max_difference_ns

    def _forget(self, reason: str) -> None:
        self._predictions.clear()
        with self._lock:
            self._evidence.clear()
        self._fitted = None
        self._refusal = reason

    def _fit_ripe_evidence(self, stamp_ns: int) -> None:
        """Fit the evidence whose moment has come, of this frame or an earlier one: for each the nearest only."""
        with self._lock:
            ripe = [item for item in self._evidence if item[0] <= stamp_ns + self._max_difference_ns]
            self._evidence = [item for item in self._evidence if item[0] > stamp_ns + self._max_difference_ns]
        nearest: dict[int, tuple[int, int, Any]] = {}
        for evidence_ns, evidence in ripe:
            index = min(range(len(self._predictions)), key=lambda i: abs(self._predictions[i][0] - evidence_ns))
            apart = abs(self._predictions[index][0] - evidence_ns)
            if apart > self._max_difference_ns:
                self._count('unmatched')
                self._mismatch = (
                    f'the last evidence is {apart / 1e9:.3f} s from the nearest frame in work, more than '
                    f'alignment.max_time_difference_s = {self._max_difference_ns / 1e9:g}'
                )
            elif index not in nearest or apart < nearest[index][0]:
                nearest[index] = apart, evidence_ns, evidence
        for index, (_, evidence_ns, evidence) in sorted(nearest.items()):
            self._fit(evidence_ns, evidence, self._predictions[index][1])

    def _fit(self, evidence_ns: int, evidence: Any, disparity: np.ndarray) -> None:
        if self._fitted is not None and evidence_ns < (self._fitted.stamp_ns or 0):
            return  # it comes later than what we have learnt since
        try:
            samples = self._source.samples(evidence, disparity)
            fitted = fit_scale_shift(
                samples.disparity,
                samples.depth_m,
                samples.weights,
                min_samples=self._min_samples,
                stamp_ns=evidence_ns,
            )
            if fitted.explained < self._min_explained:
                raise UninformativeDisparityError(
                    f'the fit explains {fitted.explained:.2f} of the spread of inverse depth, less than '
                    f'alignment.min_explained = {self._min_explained:g}: model and evidence see different scenes'
                )
        except (AlignmentError, EvidenceError) as error:
            self._refuse(str(error))
            return
        self._fitted = fitted
        self._refusal = self._mismatch = ''
        self._count('fits')

    def _refuse(self, reason: str) -> None:
        self._refusal = reason
        self._count('refused')

    def _count(self, what: str) -> None:
        with self._lock:
            self._counts[what] += 1

    def _judge(self, stamp_ns: int) -> Alignment | None:
        current, age_s, problem = self._fitted, None, self._refusal
        if current is None:
            problem = problem or self._mismatch or 'no evidence yet'
        elif current.stamp_ns is not None:
            age_s = (stamp_ns - current.stamp_ns) / 1e9
            if stamp_ns - current.stamp_ns > self._max_age_ns:
                stale = f'the last good fit is {age_s:.1f} s old, more than alignment.max_age_s'
                cause = problem or self._mismatch
                problem = f'{stale}; {cause}' if cause else stale
                current = None
        self._state = AlignmentState(current, problem, age_s)
        return current
