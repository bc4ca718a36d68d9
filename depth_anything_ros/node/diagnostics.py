"""What the node knows of its own health, as diagnostic_msgs."""

from __future__ import annotations

from collections import Counter, deque
from threading import Lock
from time import monotonic

import numpy as np
from diagnostic_msgs.msg import DiagnosticStatus, KeyValue

_WINDOW_S = 5.0
_LOSS_ADVICE = 'let driver and node both use config/fastdds.xml (README, Troubleshooting)'


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
_WARN, _ERROR = DiagnosticStatus.WARN, DiagnosticStatus.ERROR


class FrameStatistics:
    """Counts and latencies of the frames, over all time and over the last seconds. Safe across threads."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._counts = Counter()
        # (time of the output, latency from stamp, latency from arrival), in seconds.
        self._published: deque[tuple[float, float, float]] = deque()
        self._last_at: dict[str, float] = {}
        self._last_rejection = ''

    def note_input(self, *, replaced: bool) -> None:
        """A message arrived; replaced: it took the place of one that had not been looked at."""
        with self._lock:
            self._count('received')
            if replaced:
                self._count('replaced by a newer frame')

    def note_lost(self, count: int) -> None:
        """The middleware says that messages were lost before they reached us."""
        with self._lock:
            self._count('lost in transport', count)

    def note_skipped(self) -> None:
        """Nobody subscribes, or the node is disabled, so the frame was not worked on."""
        with self._lock:
            self._count('skipped')

    def note_withheld(self) -> None:
        """What is subscribed to could not be had: no metres, or no calibration."""
        with self._lock:
            self._count('withheld')

    def note_output(self, from_stamp_s: float, from_arrival_s: float) -> None:
        """A frame was published, this long after its stamp and after its arrival."""
        with self._lock:
            self._count('processed')
            self._published.append((monotonic(), from_stamp_s, from_arrival_s))

    def note_rejection(self, reason: str, *, failed: bool = False) -> None:
        """A frame could not be used; failed: it was our fault, not the frame's."""
        with self._lock:
            self._count('failed' if failed else 'rejected')
            self._last_rejection = reason

    def status(self, name: str, *, active: bool, enabled: bool, hardware_id: str) -> DiagnosticStatus:
        """Rate, latency, counts, and what is wrong, if anything."""
        with self._lock:
            while self._published and monotonic() - self._published[0][0] > _WINDOW_S:
                self._published.popleft()
            if not active:
                level, message = DiagnosticStatus.OK, 'not active'
            elif not enabled:
                level, message = DiagnosticStatus.OK, 'disabled by ~/enable'
            else:
                level, message = self._verdict()
            return make_status(name, level, message, self._values(), hardware_id)

    def _count(self, what: str, by: int = 1) -> None:
        self._counts[what] += by
        self._last_at[what] = monotonic()

    def _age_s(self, *what: str) -> float:
        """Seconds since the last of these was counted; infinite if none was."""
        return monotonic() - max(self._last_at.get(name, -np.inf) for name in what)

    def _rate_hz(self) -> float:
        return len(self._published) / max(monotonic() - self._published[0][0], 1.0) if self._published else 0.0

    def _verdict(self) -> tuple[bytes, str]:
        losing = self._age_s('lost in transport') < _WINDOW_S
        input_age_s = self._age_s('received')
        checks = (
            (losing and input_age_s > _WINDOW_S, _ERROR, f'every image is lost in transport: {_LOSS_ADVICE}'),
            (input_age_s == np.inf, _WARN, 'no image has arrived yet'),
            (input_age_s > _WINDOW_S, _ERROR, f'no image for {input_age_s:.0f} s'),
            (self._age_s('rejected', 'failed') < _WINDOW_S, _ERROR, f'frames are rejected: {self._last_rejection}'),
            (losing, _WARN, f'{self._rate_hz():.1f} Hz; images are lost in transport: {_LOSS_ADVICE}'),
            (
                self._age_s('processed', 'skipped', 'withheld') > _WINDOW_S,
                _WARN,
                'images arrive, but none has been finished for seconds',
            ),
            (
                self._age_s('withheld') < _WINDOW_S,
                _WARN,
                'frames come and nothing goes out: see alignment and camera',
            ),
            (not self._published, DiagnosticStatus.OK, 'idle: nobody subscribes'),
        )
        for applies, level, message in checks:
            if applies:
                return level, message
        return DiagnosticStatus.OK, f'{self._rate_hz():.1f} Hz'

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


def make_status(name: str, level: bytes, message: str, values: dict[str, str], hardware_id: str) -> DiagnosticStatus:
    """Build a DiagnosticStatus."""
    return DiagnosticStatus(
        level=level,
        name=name,
        message=message,
        hardware_id=hardware_id,
        values=[KeyValue(key=key, value=value) for key, value in values.items()],
    )
