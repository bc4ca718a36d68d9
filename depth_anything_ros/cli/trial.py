"""A source of metres on trial: frame by frame, how far its depth is from evidence that it never saw."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from math import nan, sqrt

import numpy as np

from depth_anything_ros.alignment import AlignedFrame, Aligner, AlignmentSource, AlignmentState, View
from depth_anything_ros.cli.held_out import COLLECTED, KeptSource, TruthSource, kept_of
from depth_anything_ros.cli.scores import NO_SCORE, Score, Truth, hindsight, relative_error
from depth_anything_ros.cli.sources import Choice

# Metres at which error is counted apart: 1, 1.5, 2, 3, 5 and 7 of each decade from centimetres to kilometres.
BIN_EDGES_M = np.outer(10.0 ** np.arange(-2, 4), [1.0, 1.5, 2.0, 3.0, 5.0, 7.0]).ravel()
# Truth that is logged late still finds its frame among so many.
_REMEMBERED_FRAMES = 8
_NO_TRUTH = 'no truth of this moment'


@dataclass(frozen=True)
class Row:
    """What became of one frame.

    state: 'aligned' (by evidence of its moment, or a constant), 'kept' (the alignment of before holds), 'gated' and
    'refused' (as kept, since the evidence was left out), 'metric' (the model's own metres), 'aged' (the alignment is
    too old: no metres), 'none' (no metres yet). reason: what was wrong, empty when nothing was.
    scale, shift (1/m) and their standard deviations, scale_sigma as a fraction; age_s: NaN where there is none.
    score: of the depth in force. best: of the best scale and shift in hindsight, which are best_scale, best_shift.
    truth_problem: why there is no truth.
    """

    stamp_ns: int
    state: str
    reason: str = ''
    metres: bool = False
    scale: float = nan
    scale_sigma: float = nan
    shift: float = nan
    shift_sigma: float = nan
    age_s: float = nan
    score: Score = NO_SCORE
    best: Score = NO_SCORE
    best_scale: float = nan
    best_shift: float = nan
    truth_problem: str = ''

    @property
    def judged(self) -> bool:
        """Whether there are both metres and truth."""
        return self.metres and self.score.samples > 0


class Distances:
    """Errors by distance, over frames; an entry for each bin between BIN_EDGES_M."""

    def __init__(self) -> None:
        self._counts = np.zeros((5, len(BIN_EDGES_M) - 1))

    def add(self, depth: np.ndarray, best: np.ndarray, truth: np.ndarray, sigma: np.ndarray | None) -> None:
        """Count one frame: depth, the best depth in hindsight, the truth, and the depth's deviation, (N,) in metres."""
        error, best_error = relative_error(depth, truth), relative_error(best, truth)
        seen = np.isfinite(error) & np.isfinite(best_error)
        within = [np.full(truth.size, nan) if sigma is None else np.abs(depth - truth) <= k * sigma for k in (1.0, 2.0)]
        values = np.stack([np.ones(truth.size), error, best_error, *within])[:, seen]
        bins = np.digitize(truth[seen], BIN_EDGES_M) - 1
        known = (bins >= 0) & (bins < self._counts.shape[1])
        for totals, value in zip(self._counts, values, strict=True):
            np.add.at(totals, bins[known], value[known])

    @property
    def samples(self) -> np.ndarray:
        """How many there were."""
        return self._counts[0]

    def means(self) -> np.ndarray:
        """(4, bins): AbsRel, that of hindsight, share within one sigma, within two; NaN where nothing is known."""
        with np.errstate(invalid='ignore'):
            return self._counts[1:] / self._counts[0]


class Trial:
    """Runs one source as the node would. rows: of all frames so far. distances: their errors by distance."""

    def __init__(
        self, choice: Choice, truth: AlignmentSource | None, held_out: float, limits_m: tuple[float, float]
    ) -> None:
        """truth: reads the evidence to compare with; None: held_out, a share, of the source's own samples.

        limits_m: nearer and farther truth is not looked at.
        """
        self.label = choice.label
        self.rows: list[Row] = []
        self.distances = Distances()
        self._limits_m = limits_m
        self._has_own_truth = truth is None
        if truth is None:
            # In the node a fit has the samples that are held out too.
            min_samples = kept_of(choice.settings.min_samples, held_out)
            self.aligner = Aligner(
                KeptSource(choice.source, held_out), replace(choice.settings, min_samples=min_samples)
            )
            self._truth = TruthSource(choice.source, held_out)
        else:
            self.aligner = Aligner(choice.source, choice.settings)
            self._truth = TruthSource(truth)
        # Truth is matched to frames as evidence is; of a metric model too.
        self._matcher = Aligner(self._truth, replace(choice.settings, stabilizer_s=0.0, correct_metric_model=True))
        self._state = self.aligner.state
        self._recent: deque[tuple[int, AlignedFrame]] = deque(maxlen=_REMEMBERED_FRAMES)

    def listeners(self, evidence: Mapping[str, str], truth: str | None) -> Iterator[tuple[str, tuple[Aligner, str]]]:
        """Who wants which topic of the bag. evidence: its topics by the source's names. truth: that of the truth."""
        for name, topic in evidence.items():
            yield topic, (self.aligner, name)
            if self._has_own_truth:
                yield topic, (self._matcher, name)
        if truth is not None:
            for name in self._truth.topics:
                yield truth, (self._matcher, name)

    def __call__(self, view: View, truth_view: View) -> None:
        """Take the next frame; truth_view: the same, with the transforms of the truth.

        Raises NoTruthError if the source's own evidence is none to judge it by.
        """
        frame = self.aligner.align(view)
        before, self._state = self._state, self.aligner.state
        self._matcher.align(truth_view)
        if self._truth.fault is not None:
            raise self._truth.fault
        self.rows.append(_row(view, frame, before, self._state))
        self._recent.append((len(self.rows) - 1, frame))
        for stamp_ns, samples in self._truth.take():
            for index, recent in self._recent:
                if self.rows[index].stamp_ns == stamp_ns:
                    truth = Truth.from_samples(samples, recent.disparity.shape, *self._limits_m)
                    self._judge(index, recent, truth)
        if not self.rows[-1].score.samples:
            problem = self._matcher.state.problem
            self.rows[-1] = replace(self.rows[-1], truth_problem=_NO_TRUTH if problem == COLLECTED else problem)

    def _judge(self, index: int, frame: AlignedFrame, truth: Truth) -> None:
        disparity = truth.at(frame.disparity)
        usable = np.isfinite(disparity)
        if not usable.any():
            return
        disparity, known = disparity[usable], truth.depth_m[usable]
        scale, shift = hindsight(disparity, known)
        with np.errstate(divide='ignore'):
            best = 1.0 / np.maximum(scale * disparity + shift, 0.0)
        row = replace(self.rows[index], best=Score.of(best, known), best_scale=scale, best_shift=shift)
        if frame.depth is None:
            self.rows[index] = replace(row, score=Score(samples=known.size), truth_problem='')
            return
        depth, sigma = truth.at(frame.depth)[usable], frame.sigma()
        deviation = None if sigma is None else truth.at(sigma)[usable]
        self.rows[index] = replace(row, score=Score.of(depth, known, deviation), truth_problem='')
        self.distances.add(depth, best, known, deviation)


def _row(view: View, frame: AlignedFrame, before: AlignmentState, after: AlignmentState) -> Row:
    state = _name_state(frame, before, after)
    row = Row(view.stamp_ns, state, after.problem if state != 'metric' else '', frame.depth is not None)
    row = replace(row, age_s=nan if after.age_s is None else after.age_s)
    alignment = frame.alignment
    if alignment is None:
        return row
    log_scale, _, shift = (nan,) * 3 if alignment.covariance is None else alignment.covariance
    return replace(
        row, scale=alignment.scale, scale_sigma=sqrt(log_scale), shift=alignment.shift, shift_sigma=sqrt(shift)
    )


def _name_state(frame: AlignedFrame, before: AlignmentState, after: AlignmentState) -> str:
    if frame.depth is None:
        if after.age_s is not None:
            return 'aged'
        return 'refused' if after.refused > before.refused else 'none'
    if frame.alignment is None:
        return 'metric'
    if after.gated > before.gated:
        return 'gated'
    if after.refused > before.refused:
        return 'refused'
    return 'aligned' if after.fits > before.fits or after.age_s is None else 'kept'
