"""Which alignment holds for a frame: evidence and predictions matched in time, fitted, and tracked."""

from __future__ import annotations

import logging
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from math import hypot, inf, sqrt
from threading import Lock, RLock
from time import monotonic
from typing import Any

import numpy as np

from depth_anything_ros.alignment.alignment import (
    Alignment,
    AlignmentError,
    DegenerateEvidenceError,
    InvertedDisparityError,
    UninformativeDisparityError,
)
from depth_anything_ros.alignment.field import MAX_ORDER, fit_field
from depth_anything_ros.alignment.fit import MAX_SCALE_SIGMA, fit_scale_shift, noise_at
from depth_anything_ros.alignment.hook import AlignmentSource, EvidenceError, Prior, Samples, View
from depth_anything_ros.alignment.sources import CameraSource, NoSource
from depth_anything_ros.alignment.stabilizer import Stabilizer
from depth_anything_ros.alignment.tracker import Tracker
from depth_anything_ros.geometry.transforms import TransformError
from depth_anything_ros.messages import InvalidMessageError, stamp_ns

RESTART_NS = 1_000_000_000
"""A step back in time larger than this is a restarted bag or simulation, not a late message."""

# Evidence later than its frame finds it among these: as many as fit into the bytes, two at least.
_REMEMBERED_BYTES = 64 << 20
# At 1 kHz four seconds; of clouds as many as fit into the bytes, since nobody may take a frame for hours.
_REMEMBERED_EVIDENCE = 4096
# Evidence that is so much before its frame, by stamp or by arrival, need not have been the quicker on its way.
_EARLY_S = 1.0
# A network errs alike at neighbouring pixels: all samples in a cell of this grid count as one.
_INDEPENDENT_CELLS = (6, 8)
# Pixels looked at to tell what an image's disparity spans.
_SPAN_PIXELS = 4000
# Relative standard deviation of depth at the nearest pixels of the image beyond which no fit reaches them; and what
# samples at one depth scatter less than.
_MAX_NEAR_SIGMA = 0.3

# What a source says of its evidence; anything else is a fault in the source.
_EVIDENCE_ERRORS = (AlignmentError, EvidenceError, InvalidMessageError, TransformError)

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class AlignerSettings:
    """What may be changed while an aligner runs.

    max_age_s: an alignment without evidence for longer than this is dropped, and metres stop.
    max_time_difference_s: how far apart in stamp evidence and frame may be.
    min_samples, min_explained: what a fit needs to be believed (Alignment.explained).
    max_scale_sigma: a fit that leaves the scale less certain, relative, is refused.
    field_order: 0: one scale for the image; 1, 2: one that varies over it (field.py), if the evidence covers it.
    drift: how much the scale may wander within a second, relative (tracker.py).
    stabilizer_s: time constant of the flicker's removal (stabilizer.py), 0: off.
    correct_metric_model: align a metric model like a relative one, rather than believe it.
    """

    max_age_s: float = 2.0
    max_time_difference_s: float = 0.05
    min_samples: int = 50
    min_explained: float = 0.3
    max_scale_sigma: float = MAX_SCALE_SIGMA
    field_order: int = 0
    drift: float = 0.1
    stabilizer_s: float = 0.0
    correct_metric_model: bool = False

    def __post_init__(self) -> None:
        """Raises ValueError for what cannot be."""
        if self.field_order not in range(MAX_ORDER + 1):
            raise ValueError(f'field_order must be 0 to {MAX_ORDER}, got {self.field_order}')
        for name in ('max_age_s', 'max_time_difference_s', 'min_samples', 'drift', 'stabilizer_s'):
            if not getattr(self, name) >= 0:
                raise ValueError(f'{name} must not be negative, got {getattr(self, name)}')


@dataclass(frozen=True)
class AlignmentState:
    """What diagnostics show.

    current: the alignment in force for the last frame, or None: then there are no metres.
    problem: why there is none, or what was wrong with the last evidence; empty when all is well.
    age_s: of the evidence behind it when the last frame was taken; None for what does not age.
    fits, refused, unmatched, gated: counts since the start: of what was used, of what could not be, of evidence of no
    frame's moment, and of fits held back since they disagree with the alignment. held: by hold().
    """

    current: Alignment | None
    problem: str = ''
    age_s: float | None = None
    fits: int = 0
    refused: int = 0
    unmatched: int = 0
    gated: int = 0
    held: bool = False


@dataclass(frozen=True)
class AlignedFrame:
    """A frame with what is known of its metres.

    disparity: float32 (H, W), stabilised; what the alignment refers to. alignment: None without metres, and for a
    metric model that is believed. believed: what that predicts, float32 (H, W) metres. Where the view's values are no
    array but serve as one, so do these. least_disparity: as in View.
    """

    disparity: np.ndarray
    alignment: Alignment | None
    believed: np.ndarray | None = None
    least_disparity: float = -inf

    @property
    def is_metric(self) -> bool:
        """Whether anything gives metres."""
        return self.alignment is not None or self.believed is not None

    @property
    def knows_sigma(self) -> bool:
        """Whether anything tells how uncertain the metres are."""
        return self.alignment is not None and self.alignment.covariance is not None

    @cached_property
    def depth(self) -> np.ndarray | None:
        """float32 (H, W) metres, +Inf where the model is saturated; None if nothing gives metres."""
        depth = self.alignment.depth(self.disparity) if self.alignment else self.believed
        if depth is None or self.least_disparity == -inf:
            return depth
        return np.where(self.disparity <= np.float32(self.least_disparity), np.float32(inf), depth)

    def sigma(self) -> np.ndarray | None:
        """Standard deviation of depth, float32 (H, W) metres; None if nobody knows it."""
        return self.alignment.sigma(self.disparity) if self.alignment else None


class Aligner:
    """Keeps the alignment that holds now.

    A frame goes through expect, when its work begins, and align, when its prediction is there; a slow network has
    seconds between the two, in which the evidence of that moment is kept. Evidence may come before or after its
    frame. Evidence of another moment than any frame is not used: a moving robot would get wrong metres.

    add_message, is_waiting_for, realign and hold may be called from other threads than the rest.
    """

    def __init__(self, source: AlignmentSource, settings: AlignerSettings | None = None) -> None:
        self._source = source
        self.settings = settings or AlignerSettings()
        self._tracker = Tracker(self.settings.drift)
        self._stabilizer = Stabilizer(self.settings.stabilizer_s)
        # Of evidence and counts; never held for long.
        self._lock = Lock()
        self._evidence: list[_Evidence] = []
        self._evidence_bytes = 0
        self._forgotten_ns = -inf  # the latest evidence for which there was no room
        self._counts = Counter()
        self._expected_ns: int | None = None
        self._expected_s = 0.0
        # Of all the rest.
        self._working = RLock()
        self._frames: deque[_Remembered] = deque()
        self._newest_ns: int | None = None
        self._advances = False
        self._advanced_s = self._interval_s = 0.0
        # The disparity of the nearest pixels when the last fit had to hold the shift; None if that measured it.
        self._unmeasured_near: float | None = None
        self._constant: Alignment | None = None
        self._refusal = self._mismatch = ''
        self._held = False
        self._state = AlignmentState(None)

    @property
    def topics(self) -> Mapping[str, str]:
        """What to subscribe to: message type by topic name."""
        return self._source.topics

    @property
    def state(self) -> AlignmentState:
        """The state after the last frame, with the counts of now."""
        with self._lock:
            return replace(self._state, held=self._held, **self._counts)

    def add_message(self, topic: str, message: Any) -> str | None:
        """Keep a stamped message until the frame of its moment has been predicted; returns why not, if so."""
        try:
            evidence, stamp = self._source.read(topic, message), stamp_ns(message)
        except Exception as error:  # a foreign source must not end the node
            reason = f'{topic}: {_reason(error)}'
            self.refuse_evidence(reason)
            return reason
        with self._lock:
            self._evidence.append(_Evidence(stamp, evidence, _nbytes(evidence), monotonic()))
            self._evidence_bytes += self._evidence[-1].nbytes
            while len(self._evidence) > _REMEMBERED_EVIDENCE or (
                len(self._evidence) > 2 and self._evidence_bytes > _REMEMBERED_BYTES
            ):
                # The oldest goes, but not what the frame in work waits for.
                spare = (i for i, item in enumerate(self._evidence) if not self._is_expected(item.stamp_ns))
                gone = self._evidence.pop(next(spare, 0))
                self._evidence_bytes -= gone.nbytes
                self._forgotten_ns = max(self._forgotten_ns, gone.stamp_ns)
                self._counts['unmatched'] += 1
        return None

    def refuse_evidence(self, reason: str) -> None:
        """Count evidence that could not be used."""
        self._refusal = reason
        self._count('refused')

    def expect(self, stamp_ns: int, arrived_s: float | None = None) -> None:
        """Say that the frame with this stamp is in work: its evidence must wait for it.

        arrived_s: when it came, by monotonic(); None: now.
        """
        with self._lock:
            self._expected_ns, self._expected_s = stamp_ns, monotonic() if arrived_s is None else arrived_s

    def is_waiting_for(self, stamp_ns: int) -> bool:
        """Whether evidence of this moment waits while the alignment grows old: better take that frame than a newer."""
        last_ns = self._tracker.stamp_ns
        if self._held or (last_ns is not None and stamp_ns - last_ns < self.settings.max_age_s * 0.5e9):
            return False
        with self._lock:
            return any(self._is_near(item.stamp_ns, stamp_ns) for item in self._evidence)

    def align(self, view: View) -> AlignedFrame:
        """Take a predicted frame, and give its metres, if anything does."""
        with self._working:
            settings = self.settings
            if view.kind == 'depth' and not (settings.correct_metric_model or isinstance(self._source, CameraSource)):
                self._state, self._held = AlignmentState(None), False
                view = self._stabilized(view)
                return AlignedFrame(view.disparity, None, view.values, view.least_disparity)
            self._tracker.drift = settings.drift
            # Not than the last frame: stamps that creep back would never be far behind that.
            if self._newest_ns is not None and view.stamp_ns < self._newest_ns - RESTART_NS:
                self._forget('time went back: the alignment of before is forgotten')
                self._newest_ns = None
            self._advances = self._newest_ns is None or view.stamp_ns > self._newest_ns
            if self._advances:
                now_s = monotonic()
                self._interval_s = 0.0 if self._newest_ns is None else now_s - self._advanced_s
                self._advanced_s, self._newest_ns = now_s, view.stamp_ns
            view = self._stabilized(view)
            if self._source.topics:
                self._take_messages(view)
            elif not self._held:
                self._measure(None, view, view.stamp_ns)
            return AlignedFrame(view.disparity, self._judge(view.stamp_ns), least_disparity=view.least_disparity)

    def realign(self) -> None:
        """Forget the alignment, and start anew with the next evidence."""
        with self._working:
            self._held = False
            self._forget('realigned: no evidence since')
            self._state = AlignmentState(None, self._refusal)

    def hold(self, on: bool) -> str:
        """Freeze the alignment, which then neither follows evidence nor ages, or let go; returns why not, if so."""
        with self._working:
            if on and not self._held:
                if self._state.current is None:
                    return 'there is no alignment to hold'
                if stillness := self.stillness():
                    return f'there is no alignment to hold: {stillness}'
            self._held = on
            return ''

    def stillness(self) -> str:
        """That no frame came for longer than metres last, if the alignment in force ages; else ''.

        `state` is as of the last frame: where frames have ceased, none has told since how old the alignment is.
        """
        if self._held or self._state.current is None or self._state.age_s is None:
            return ''
        still_s = monotonic() - self._advanced_s
        # A slow network's frames are rare.
        if still_s <= max(self.settings.max_age_s, 2.0 * self._interval_s):
            return ''
        return f'no frame has been worked on for {still_s:.1f} s'

    def _stabilized(self, view: View) -> View:
        self._stabilizer.time_constant_s = self.settings.stabilizer_s
        disparity = self._stabilizer(view.stamp_ns, view.disparity, view.image)
        if self._stabilizer.given_up is not None:
            self._go_through(*self._stabilizer.given_up)
        if disparity is view.disparity:
            return view
        if view.kind == 'disparity':
            return replace(view, values=disparity)
        with np.errstate(divide='ignore'):
            return replace(view, values=np.float32(1.0) / disparity, stabilised_by=self._stabilizer.map)

    def _go_through(self, gain: float, offset: float) -> None:
        """What was learnt of stabilised disparity holds for that from now on, which that map is not applied to."""
        self._frames.clear()
        self._tracker.go_through(gain, offset)
        self._constant = self._constant and self._constant.through(gain, offset)
        current = self._state.current and self._state.current.through(gain, offset)
        self._state = replace(self._state, current=current)
        if self._unmeasured_near is not None:
            self._unmeasured_near = (self._unmeasured_near - offset) / gain

    def _is_near(self, evidence_ns: int, stamp_ns: int) -> bool:
        return abs(evidence_ns - stamp_ns) <= self.settings.max_time_difference_s * 1e9

    def _is_expected(self, evidence_ns: int) -> bool:
        return self._expected_ns is not None and self._is_near(evidence_ns, self._expected_ns)

    def _forget(self, reason: str) -> None:
        self._frames.clear()
        with self._lock:
            self._keep_evidence([])
            self._forgotten_ns = -inf
        self._tracker.forget()
        self._constant = None
        self._refusal, self._mismatch = reason, ''

    def _take_messages(self, view: View) -> None:
        with self._lock:
            # Frames that nobody has announced come from a file.
            arrived_s = self._expected_s if self._expected_ns == view.stamp_ns else -inf
        self._frames.append(_Remembered(replace(view, image=None), arrived_s))
        while len(self._frames) > 2 and sum(item.view.values.nbytes for item in self._frames) > _REMEMBERED_BYTES:
            self._frames.popleft()
        for evidence_ns, evidence, frame in self._ripe_evidence(view.stamp_ns):
            last_ns = self._tracker.stamp_ns
            # What comes later than what we have learnt since is of no use.
            if self._held or (last_ns is not None and evidence_ns < last_ns):
                continue
            if self._measure(evidence, frame.view, evidence_ns):
                frame.apart_ns = frame.apart_from(evidence_ns)

    def _ripe_evidence(self, now_ns: int) -> list[tuple[int, Any, _Remembered]]:
        """The evidence whose moment has come, of this frame or an earlier one: for each the nearest only, in order."""
        # What is later than this frame may be of the next one's moment, and waits for that unless this one is nearer.
        horizon_ns = now_ns + int(self.settings.max_time_difference_s * 1e9)
        if len(self._frames) > 1:
            horizon_ns = min(horizon_ns, now_ns + max(now_ns - self._frames[-2].view.stamp_ns, 0) // 2)
        with self._lock:
            ripe = [item for item in self._evidence if item.stamp_ns <= horizon_ns]
            self._keep_evidence([item for item in self._evidence if item.stamp_ns > horizon_ns])
        nearest: dict[int, tuple[int, _Evidence]] = {}
        done: set[int] = set()
        for item in ripe:
            evidence_ns = item.stamp_ns
            index = min(range(len(self._frames)), key=lambda i: self._frames[i].apart_from(evidence_ns))
            apart = self._frames[index].apart_from(evidence_ns)
            if not self._is_near(evidence_ns, self._frames[index].view.stamp_ns):
                self._count('unmatched')
                self._mismatch = (
                    f'the last evidence is {apart / 1e9:.3f} s from the nearest frame in work, more than '
                    f'alignment.max_time_difference_s = {self.settings.max_time_difference_s:g}'
                )
            elif (early_s := self._frames[index].arrived_s - item.arrived_s) > max(self.settings.max_age_s, _EARLY_S):
                done.add(evidence_ns)
                self._count('unmatched')
                self._mismatch = (
                    f'the last evidence came {early_s:.0f} s before the frame of its stamp, more than '
                    'alignment.max_age_s: synchronise the clocks, unless images are so late'
                )
            # Measured twice, what the network errs in a frame would count as seen twice.
            elif apart < (nearest[index][0] if index in nearest else self._frames[index].apart_ns):
                nearest[index] = apart, item
        done |= {item.stamp_ns for _, item in nearest.values()}
        with self._lock:
            waiting = [item for item in ripe if item.stamp_ns > now_ns and item.stamp_ns not in done]
            self._keep_evidence(self._evidence + waiting)
        chosen = sorted(nearest.items(), key=lambda pair: pair[0])
        return [(item.stamp_ns, item.content, self._frames[i]) for i, (_, item) in chosen]

    def _keep_evidence(self, evidence: list[_Evidence]) -> None:
        self._evidence, self._evidence_bytes = evidence, sum(item.nbytes for item in evidence)

    def _measure(self, evidence: Any, view: View, evidence_ns: int) -> bool:
        """Let the source say what the evidence tells of the frame, and learn from it; returns whether it told any."""
        self._constant = None
        try:
            measured = self._source.measure(evidence, view)
            if isinstance(measured, Alignment):
                # What rests on a message ages like a fit.
                self._constant = replace(measured, stamp_ns=evidence_ns) if self._source.topics else measured
                self._refusal = self._mismatch = ''
                return True
            problem = self._track(measured, view, evidence_ns)
        except Exception as error:  # as above
            self._refusal = _reason(error)
            if not isinstance(self._source, NoSource):
                self._count('refused')
            return False
        self._refusal, self._mismatch = problem, ''
        return True

    def _track(self, measured: Samples | Prior, view: View, evidence_ns: int) -> str:
        """Update the tracker; returns what should be known of it. Raises AlignmentError."""
        span = _span(view.disparity)
        last_ns = self._tracker.stamp_ns
        if last_ns is not None and evidence_ns - last_ns > self.settings.max_age_s * 1e9:
            self._tracker.forget()
        slope, remark = None, ''
        if isinstance(measured, Prior):
            fitted = _from_prior(measured, evidence_ns)
        else:
            fitted, slope, remark = self._fit(measured, view, span, evidence_ns)
            # Not to the covariance, which the tracker averages.
            noise = hypot(fitted.noise[0], measured.shift_sigma), hypot(fitted.noise[1], measured.scale_sigma)
            fitted = replace(fitted, noise=noise)
        held_back = self._tracker.update(fitted, fitted.scale * (span[1] - span[0]), held_at_slope=slope)
        if not held_back:
            self._unmeasured_near = None if slope is None else span[1]
        self._count('gated' if held_back else 'fits')
        return held_back or remark

    def _fit(
        self, samples: Samples, view: View, span: tuple[float, float], evidence_ns: int
    ) -> tuple[Alignment, float | None, str]:
        """The fit, the mean of scale * disparity if its shift had to be held, and a remark in that case."""
        pixels, disparity, depth_m, weights = _matched(samples, view)
        # What the model does not see, or the sensor, has no part in the fit.
        usable = np.isfinite(disparity) & np.isfinite(depth_m) & (depth_m > 0.0)
        if weights is not None:
            usable &= weights > 0.0
        independent = _independent(pixels[usable], view.disparity.shape)
        common = {
            'weights': weights,
            'min_samples': self.settings.min_samples,
            'max_scale_sigma': self.settings.max_scale_sigma,
            'independent': independent,
            'stamp_ns': evidence_ns,
        }
        try:
            fitted = fit_scale_shift(disparity, depth_m, **common)
            bias = _near_bias(fitted, disparity[usable], span[1])
            _check_near(fitted, span, bias)
        except InvertedDisparityError:  # no held shift makes that right
            raise
        except DegenerateEvidenceError as error:
            tracked = self._tracker.at(evidence_ns)
            if tracked is None:
                raise
            fitted = fit_scale_shift(disparity, depth_m, shift=tracked.shift, **common)
            slope = fitted.scale * float(np.median(disparity[usable]))
            if not slope > 0.0:
                raise
            # Samples at one depth scatter by their noise. These are at several, and the disparity does not tell them
            # apart: glare, dirt on the lens.
            if fitted.relative_rmse > _MAX_NEAR_SIGMA and fitted.explained < self.settings.min_explained:
                raise UninformativeDisparityError(
                    f'model and evidence see different scenes: with the shift held the measured depths are '
                    f'{100.0 * fitted.relative_rmse:.0f} % off ({error})'
                ) from error
            return fitted, slope, f'the scale is followed at one depth only, the shift held: {error}'
        if fitted.explained < self.settings.min_explained:
            raise UninformativeDisparityError(
                f'the fit explains {fitted.explained:.2f} of the spread of inverse depth, less than '
                f'alignment.min_explained = {self.settings.min_explained:g}: model and evidence see different scenes'
            )
        if self.settings.field_order:
            fitted = _with_field(fitted, pixels, disparity, depth_m, view.disparity.shape, self.settings.field_order)
        # Not to the covariance, which the tracker averages.
        return replace(fitted, noise=(fitted.noise[0], hypot(fitted.noise[1], bias))), None, ''

    def _count(self, what: str) -> None:
        with self._lock:
            self._counts[what] += 1

    def _judge(self, stamp_ns: int) -> Alignment | None:
        """The alignment in force for a frame, and the state that follows."""
        if self._held:
            current = self._state.current
            # After time went back nobody can say how old it is.
            is_of_another_time = current.stamp_ns is None or stamp_ns < current.stamp_ns - RESTART_NS
            age_s = None if is_of_another_time else (stamp_ns - current.stamp_ns) / 1e9
            self._state = AlignmentState(current, 'held by ~/hold: evidence is not followed', age_s)
            return current
        current, age_s, problem = self._constant or self._tracker.at(stamp_ns), None, self._refusal
        if current is None:
            problem = problem or self._why_no_evidence(stamp_ns) or 'no evidence yet'
        elif current.stamp_ns is not None:
            age_s = (stamp_ns - current.stamp_ns) / 1e9
            if age_s > self.settings.max_age_s:
                stale = f'the last good fit is {age_s:.1f} s old, more than alignment.max_age_s'
                cause = problem or self._why_no_evidence(stamp_ns)
                problem = f'{stale}; {cause}' if cause else stale
                current = None
            elif doubt := self._doubt(current):
                problem = f'{doubt}; {problem}' if problem else doubt
                current = None
        self._state = AlignmentState(current, problem, age_s)
        return current

    def _why_no_evidence(self, stamp_ns: int) -> str:
        """What is known of why there is no evidence of a frame's moment; else empty."""
        with self._lock:
            forgotten = self._forgotten_ns >= stamp_ns - self.settings.max_time_difference_s * 1e9
        if forgotten:
            return (
                'the evidence of this frame had to be forgotten before its image came: no more than '
                f'{_REMEMBERED_EVIDENCE} messages and {_REMEMBERED_BYTES >> 20} MiB wait'
            )
        return self._mismatch or self._early_evidence(stamp_ns)

    def _early_evidence(self, stamp_ns: int) -> str:
        """What is wrong where evidence was there before its frame by more than transport can explain; else empty."""
        with self._lock:
            # While a slow network works, evidence of later frames comes rightly.
            until_s = self._expected_s if self._expected_ns == stamp_ns else inf
            stamps = [item.stamp_ns for item in self._evidence if item.arrived_s <= until_s]
        early_s = (max(stamps, default=stamp_ns) - stamp_ns) / 1e9
        if early_s < _EARLY_S:
            return ''
        return f'evidence waits that is stamped {early_s:.0f} s later than this frame: synchronise the clocks'

    def _doubt(self, current: Alignment) -> str:
        """Why an alignment that is not old cannot be believed any more; empty if it can."""
        still_s = 0.0 if self._advances else monotonic() - self._advanced_s
        if still_s > self.settings.max_age_s:
            return f"the images' stamps have not advanced for {still_s:.1f} s: how old the evidence is cannot be told"
        if self._unmeasured_near is None or current is self._constant:
            return ''
        # While only one depth is seen the shift drifts away, and with it what is nearer.
        sigma = _near_sigma(replace(current, field=()), self._unmeasured_near)
        if sigma <= _MAX_NEAR_SIGMA:
            return ''
        return (
            f'only one depth has been measured for long, and by now the near end of the image is uncertain by '
            f'{100.0 * sigma:.0f} %: give evidence at several depths'
        )


@dataclass(frozen=True)
class _Evidence:
    """What a source keeps of a message until its frame is there. nbytes: of its arrays. arrived_s: when, monotonic."""

    stamp_ns: int
    content: Any
    nbytes: int
    arrived_s: float


@dataclass
class _Remembered:
    """A frame whose evidence may still come.

    arrived_s: when, monotonic; -inf if unknown. apart_ns: how far off in time that was from which it was learnt.
    """

    view: View
    arrived_s: float
    apart_ns: float = inf

    def apart_from(self, evidence_ns: int) -> int:
        """How far off in time evidence is, ns."""
        return abs(evidence_ns - self.view.stamp_ns)


def _nbytes(evidence: Any) -> int:
    parts = (evidence, *getattr(evidence, '__dict__', {}).values())
    return sum(part.nbytes for part in parts if isinstance(part, np.ndarray))


def _reason(error: Exception) -> str:
    """What a source says of its evidence as it is; a fault of the source itself with its kind, and logged in full."""
    if isinstance(error, _EVIDENCE_ERRORS):
        return str(error)
    _logger.debug('the alignment source failed', exc_info=error)
    return f'the alignment source failed: {type(error).__name__}: {error}'


def _matched(samples: Samples, view: View) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray | None]:
    """The samples inside the image: pixels (N, 2), disparity, NaN where the model is saturated, depth, and weights."""
    rows, columns, inside = samples.in_image(view.disparity.shape)
    weights = None if samples.weights is None else np.asarray(samples.weights)[inside]
    pixels = np.asarray(samples.pixels, np.float64)[inside]
    disparity = view.disparity[rows, columns]
    disparity = np.where(disparity <= view.least_disparity, np.nan, disparity)
    return pixels, disparity, np.asarray(samples.depth_m)[inside], weights


def _independent(pixels: np.ndarray, size: tuple[int, int]) -> int:
    rows, columns = _INDEPENDENT_CELLS
    column = np.clip(pixels[:, 0] * (columns / size[1]), 0, columns - 1).astype(np.intp)
    row = np.clip(pixels[:, 1] * (rows / size[0]), 0, rows - 1).astype(np.intp)
    return np.unique(row * columns + column).size


def _span(disparity: np.ndarray) -> tuple[float, float]:
    """5 and 95 % of an image's disparity."""
    stride = max(1, int(np.sqrt(disparity.size / _SPAN_PIXELS)))
    some = disparity[::stride, ::stride]
    low, high = np.percentile(some[np.isfinite(some)], [5, 95]) if np.isfinite(some).any() else (0.0, 0.0)
    return float(low), float(high)


def _near_sigma(alignment: Alignment, nearest: float) -> float:
    """Relative standard deviation of depth at a disparity, without a pixel's own noise: that is not the fit's fault."""
    at = np.float32(nearest)
    sigma = float(alignment.sigma(at) / alignment.depth(at))
    own = float(np.hypot(alignment.noise[0] * alignment.depth(at), alignment.noise[1]))
    return sqrt(max(sigma**2 - own**2, 0.0))


def _near_bias(fitted: Alignment, disparity: np.ndarray, nearest: float) -> float:
    """By how much too far depth may be at a disparity that is nearer than the samples', as a fraction of it.

    Where the network errs and not the samples, a regression on its disparity has too small a slope, by the variance of
    the errors over that of the truth (Fuller, Measurement Error Models, 1987, section 1.1). Among the samples it gives
    their mean nevertheless; of what is nearer than they are it says too little.
    """
    slope = fitted.scale * disparity.astype(np.float64)
    variance = float(slope.var())
    beyond = fitted.scale * nearest - float(np.percentile(slope, 95))
    inverse = fitted.scale * nearest + fitted.shift
    if beyond <= 0.0 or inverse <= 0.0:
        return 0.0
    return fitted.rmse**2 / variance * beyond / inverse


def _check_near(fitted: Alignment, span: tuple[float, float], bias: float) -> None:
    """Raise DegenerateEvidenceError if the fit does not reach the nearest pixels: those that a robot may hit."""
    sigma = hypot(_near_sigma(fitted, span[1]), bias)
    if not sigma <= _MAX_NEAR_SIGMA:
        raise DegenerateEvidenceError(
            f'the samples are all far away, too few, or too scattered: at the near end of the image depth would be '
            f'uncertain by {100.0 * sigma:.0f} %; give evidence at several depths'
        )


def _from_prior(prior: Prior, evidence_ns: int) -> Alignment:
    covariance = (prior.scale_sigma**2, 0.0, prior.shift_sigma**2)
    return Alignment(prior.scale, prior.shift, covariance, (prior.common_shift_sigma, 0.0), stamp_ns=evidence_ns)


def _with_field(
    fitted: Alignment,
    pixels: np.ndarray,
    disparity: np.ndarray,
    depth_m: np.ndarray,
    size: tuple[int, int],
    order: int,
) -> Alignment:
    with np.errstate(divide='ignore', invalid='ignore'):
        measured = 1.0 / depth_m.astype(np.float64)
    slope = fitted.scale * disparity.astype(np.float64)
    usable = np.isfinite(measured) & np.isfinite(slope) & (measured > 0.0)
    predicted = slope[usable] + fitted.shift
    noise = noise_at(fitted.noise, predicted)
    field = fit_field(pixels[usable], size, slope[usable], measured[usable] - predicted, noise, order)
    return replace(fitted, field=field)
