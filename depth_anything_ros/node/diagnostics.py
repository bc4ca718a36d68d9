"""What the node knows of its own health, as diagnostic_msgs."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass
from threading import Lock
from time import monotonic
from typing import TYPE_CHECKING

import numpy as np
from diagnostic_msgs.msg import DiagnosticStatus, KeyValue

from depth_anything_ros.alignment import Alignment, AlignmentState

if TYPE_CHECKING:
    from depth_anything_ros.estimation import DepthEstimator

_WINDOW_S = 5.0
LOSS_ADVICE = 'let driver and node both use config/fastdds.xml (README, Troubleshooting)'
"""What to do where messages are lost in transport."""
_IDLE = 'idle: nobody subscribes'
# How long after its stamp an image may arrive, as diagnostic_updater's TimeStampStatus has it.
_LEAST_DELAY_S, _MOST_DELAY_S = -1.0, 5.0
_DISABLED = 'disabled by ~/enable'

COUNTS = (
    'received',
    'processed',
    'replaced by a newer frame',
    'lost in transport',
    'rejected',
    'failed',
    'skipped',
    'withheld',
)
_OK, _WARN, _ERROR = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR


class FrameStatistics:
    """Counts and latencies of the frames, over all time and over the last seconds. Safe across threads."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._counts = Counter()
        # (time of the output, latency from stamp, latency from arrival), in seconds.
        self._published: deque[tuple[float, float, float]] = deque()
        self._last_at: dict[str, float] = {}
        self._waiting_since: float | None = None  # since when frames come and none is done
        self._last_rejection = ''

    def restart(self) -> None:
        """Begin to listen: how long ago something was is forgotten, the counts are not."""
        with self._lock:
            self._published.clear()
            self._last_at.clear()
            self._waiting_since = None

    def note_input(self, *, replaced: bool) -> None:
        """A message arrived; replaced: it took the place of one that had not been looked at."""
        with self._lock:
            self._count('received')
            if self._waiting_since is None:
                self._waiting_since = monotonic()
            if replaced:
                self._count('replaced by a newer frame')

    def note_lost(self, count: int) -> None:
        """The middleware says that messages were lost before they reached us."""
        with self._lock:
            self._count('lost in transport', count)

    def note_skipped(self) -> None:
        """Nobody subscribes, or the node is disabled or was deactivated, so the frame was not worked on."""
        with self._lock:
            self._finish('skipped')

    def note_withheld(self) -> None:
        """What is subscribed to could not be had: no metres, or no calibration."""
        with self._lock:
            self._finish('withheld')

    def note_output(self, from_stamp_s: float, from_arrival_s: float) -> None:
        """A frame was published, this long after its stamp and after its arrival."""
        with self._lock:
            self._finish('processed')
            self._published.append((monotonic(), from_stamp_s, from_arrival_s))

    def note_rejection(self, reason: str, *, failed: bool = False) -> None:
        """A frame could not be used; failed: it was our fault, not the frame's."""
        with self._lock:
            self._finish('failed' if failed else 'rejected')
            self._last_rejection = reason

    def status(
        self, name: str, *, active: bool, enabled: bool, unheard: Sequence[str], hardware_id: str
    ) -> DiagnosticStatus:
        """Rate, latency, counts, and what is wrong, if anything. unheard: subscribers that get nothing, and why."""
        with self._lock:
            while self._published and monotonic() - self._published[0][0] > _WINDOW_S:
                self._published.popleft()
            if not active:
                level, message = _OK, 'not active'
            elif not enabled:
                level, message = _OK, _DISABLED
            else:
                level, message = self._verdict(unheard)
            return make_status(name, level, message, self._values(), hardware_id)

    def _count(self, what: str, by: int = 1) -> None:
        self._counts[what] += by
        self._last_at[what] = monotonic()

    def _finish(self, how: str) -> None:
        self._count(how)
        self._waiting_since = None

    def _age_s(self, *what: str) -> float:
        """Seconds since the last of these was counted; infinite if none was."""
        return monotonic() - max(self._last_at.get(name, -np.inf) for name in what)

    def _rate_hz(self) -> float:
        return len(self._published) / max(monotonic() - self._published[0][0], 1.0) if self._published else 0.0

    def _verdict(self, unheard: Sequence[str]) -> tuple[bytes, str]:
        losing = self._age_s('lost in transport') < _WINDOW_S
        input_age_s = self._age_s('received')
        hangs = self._waiting_since is not None and monotonic() - self._waiting_since > _WINDOW_S
        checks = (
            (losing and input_age_s > _WINDOW_S, _ERROR, f'every image is lost in transport: {LOSS_ADVICE}'),
            (input_age_s == np.inf, _WARN, 'no image has arrived yet'),
            (input_age_s > _WINDOW_S, _ERROR, f'no image for {input_age_s:.0f} s'),
            (self._age_s('rejected', 'failed') < _WINDOW_S, _ERROR, f'frames are rejected: {self._last_rejection}'),
            (losing, _WARN, f'{self._rate_hz():.1f} Hz; images are lost in transport: {LOSS_ADVICE}'),
            (hangs, _WARN, 'images arrive, but none has been finished for seconds'),
            (
                self._age_s('withheld') < _WINDOW_S,
                _WARN,
                'frames come and nothing goes out: see alignment and camera',
            ),
            (bool(unheard), _WARN, '; '.join(unheard)),
            (bool(skew := self._skew()), _WARN, f'{self._rate_hz():.1f} Hz; {skew}'),
            (not self._published and self._age_s('skipped') < self._age_s('processed'), _OK, _IDLE),
        )
        for applies, level, message in checks:
            if applies:
                return level, message
        return _OK, f'{self._rate_hz():.1f} Hz'

    def _skew(self) -> str:
        """What is wrong with the images' stamps, by this node's clock; empty if nothing is."""
        if not self._published:
            return ''
        _, from_stamp, from_arrival = np.array(self._published).T
        delay_s = float(np.median(from_stamp - from_arrival))
        if _LEAST_DELAY_S <= delay_s <= _MOST_DELAY_S:
            return ''
        how = f'{delay_s:.1f} s after' if delay_s > 0.0 else f'{-delay_s:.1f} s before'
        return (
            f'images arrive {how} the time of their stamps: synchronise the clocks; with use_sim_time, /clock must '
            'tick, and with a bag, use_sim_time be set'
        )

    def _values(self) -> dict[str, str]:
        values = {'rate_hz': f'{self._rate_hz():.2f}'}
        recent = np.array(self._published).reshape(-1, 3)
        for label, column in (('stamp', 1), ('arrival', 2)):
            for percent in (50, 95):
                value = f'{1e3 * np.percentile(recent[:, column], percent):.1f}' if len(recent) else 'none'
                values[f'latency from {label} p{percent} ms'] = value
        values |= {name: str(self._counts[name]) for name in COUNTS}
        values['last rejection'] = self._last_rejection or 'none'
        input_age_s = self._age_s('received')
        values['input age s'] = 'none' if input_age_s == np.inf else f'{input_age_s:.2f}'
        return values


def model_status(name: str, estimator: DepthEstimator | None, hardware_id: str) -> DiagnosticStatus:
    """Which network predicts what, and on what; None: not configured."""
    if estimator is None:
        return make_status(name, _WARN, 'no model: not configured', {}, hardware_id)
    source = estimator.source
    values = {
        'model': source.name,
        'checkpoint': str(source.checkpoint or 'none'),
        'licence': source.licence or 'none',
        'predicts': estimator.kind,
        'device': estimator.hardware,
        'backend': estimator.backend,
        'backend reason': estimator.backend_reason,
        'precision': estimator.precision,
        'input_size': str(estimator.input_size),
    }
    if estimator.gpu_memory_mib is not None:
        values['GPU MiB'] = f'{estimator.gpu_memory_mib:.0f}'
    if not source.trained:
        return make_status(name, _WARN, f'{source.name} is not trained: its depth means nothing', values, hardware_id)
    return make_status(name, _OK, source.name, values, hardware_id)


def camera_status(name: str, rectified: bool | None, problem: str, *, idle: bool, hardware_id: str) -> DiagnosticStatus:
    """How the image is projected, and what hinders a cloud, if so.

    rectified: None where the node does not listen. idle: nobody subscribes, so nothing is known.
    """
    if rectified is None:
        return make_status(name, _OK, 'not active', {}, hardware_id)
    values = {'projection': 'P, rectified' if rectified else 'K and D, raw'}
    if idle:
        return make_status(name, _OK, _IDLE, values, hardware_id)
    if problem:
        return make_status(name, _WARN, problem, values, hardware_id)
    return make_status(name, _OK, 'calibrated', values, hardware_id)


@dataclass(frozen=True)
class AlignmentReport:
    """What the node knows of its metres.

    source: its name. active: whether the node works. used: False where a metric model is believed. withheld: why
    topics that need the uncertainty of depth are not served, empty if they are or nobody wants them. idle: nobody
    subscribes, so nothing is known of now. enabled: whether frames are worked on.
    """

    source: str
    active: bool
    used: bool
    state: AlignmentState
    withheld: str = ''
    idle: bool = False
    enabled: bool = True

    @property
    def current(self) -> Alignment | None:
        """The alignment in force."""
        return self.state.current if self.active and self.enabled and self.used and not self.idle else None

    def verdict(self) -> tuple[bytes, str]:
        """Level and message: ERROR means no metres though a source is set, WARN that they deserve a look."""
        state = self.state
        problem = state.problem or ('held by ~/hold' if state.held else '')
        if not self.active:
            return DiagnosticStatus.STALE, 'not active'
        if not self.used:
            level, text = _OK, 'the model predicts metres: not used'
        elif not self.enabled:
            return _OK, _DISABLED
        elif self.idle:
            return _OK, _IDLE
        elif state.current is None:
            level = _OK if self.source == 'none' else _ERROR
            text = f'no metres: {problem or "no frame yet"}'
        else:
            level, text = (_WARN, problem) if problem else (_OK, 'aligned')
        return (max(level, _WARN), f'{text}; {self.withheld}') if self.withheld else (level, text)

    def status(self, name: str, hardware_id: str) -> DiagnosticStatus:
        """For /diagnostics: numbers as people read them."""
        level, message = self.verdict()
        state = self.state
        values = {
            'source': self.source,
            'fits': str(state.fits),
            'refused': str(state.refused),
            'gated': str(state.gated),
            'unmatched in time': str(state.unmatched),
            'last problem': state.problem or 'none',
        }
        if self.current is not None:
            values |= _readable(self.current)
            values['age s'] = 'constant' if state.age_s is None else f'{state.age_s:.3f}'
        return make_status(name, level, message, values, hardware_id)

    def exact_status(self, name: str) -> DiagnosticStatus:
        """For the topic `alignment`: numbers to compute with, as Python's repr writes them; none without metres."""
        level, message = self.verdict()
        state, values = self.state, {'source': self.source}
        if self.current is not None:
            values |= _exact(self.current)
            values['age_s'] = 'none' if state.age_s is None else repr(state.age_s)
            values['held'] = repr(state.held)
        return make_status(name, level, message, values, self.source)


def _readable(alignment: Alignment) -> dict[str, str]:
    return {
        'scale 1/m': f'{alignment.scale:.6g}',
        'shift 1/m': f'{alignment.shift:.6g}',
        'rmse 1/m': f'{alignment.rmse:.4g}',
        'relative rmse': f'{alignment.relative_rmse:.4f}',
        'explained': f'{alignment.explained:.3f}',
        'inliers': f'{alignment.inliers} of {alignment.samples}',
        'condition': f'{alignment.condition:.3g}',
    }


def _exact(alignment: Alignment) -> dict[str, str]:
    variances = ('none',) * 3 if alignment.covariance is None else [repr(float(x)) for x in alignment.covariance]
    numbers = ('scale', 'shift', 'rmse', 'relative_rmse', 'explained', 'condition')
    return {
        **{name: repr(float(getattr(alignment, name))) for name in numbers},
        **dict(zip(('log_scale_variance', 'log_scale_shift_covariance', 'shift_variance'), variances, strict=True)),
        'noise_absolute': repr(float(alignment.noise[0])),
        'noise_relative': repr(float(alignment.noise[1])),
        'inliers': str(alignment.inliers),
        'samples': str(alignment.samples),
        'field': ' '.join(repr(float(number)) for number in alignment.field) or 'none',
    }


def make_status(name: str, level: bytes, message: str, values: dict[str, str], hardware_id: str) -> DiagnosticStatus:
    """Build a DiagnosticStatus."""
    return DiagnosticStatus(
        level=level,
        name=name,
        message=message,
        hardware_id=hardware_id,
        values=[KeyValue(key=key, value=value) for key, value in values.items()],
    )
