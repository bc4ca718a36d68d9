"""What the node knows of its own health, as diagnostic_msgs."""

from __future__ import annotations

from collections import deque
from threading import Lock
from time import monotonic

import numpy as np
from diagnostic_msgs.msg import DiagnosticStatus, KeyValue

_WINDOW_S = 5.0
_LOSS_ADVICE = 'let driver and node both use config/fastdds.xml (README, Troubleshooting)'


class FrameStatistics:
    """Counts and latencies of the frames, over all time and over the last seconds. Safe across threads."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._published: deque[tuple[float, float, float]] = deque()
        self._last_input = self._last_output = None
        self.received = self.processed = self.replaced = self.rejected = self.failed = self.unwanted = 0
        self.lost_in_transport = 0
        self.last_rejection = ''
        self._last_rejection_at = self._last_loss_at = -np.inf

    def note_input(self, *, replaced: bool) -> None:
        """A message arrived; replaced: it took the place of one that had not been looked at."""
        with self._lock:
            self.received += 1
            self.replaced += replaced
            self._last_input = monotonic()

    def note_lost(self, count: int) -> None:
        """The middleware says that messages were lost before they reached us."""
        with self._lock:
            self.lost_in_transport += count
            self._last_loss_at = monotonic()

    def note_unwanted(self) -> None:
        """Nobody listened, so the frame was not looked at."""
        with self._lock:
            self.unwanted += 1
            self._last_output = monotonic()

    def note_output(self, from_stamp_s: float, from_arrival_s: float) -> None:
        """A frame was published, this long after its stamp and after its arrival."""
        with self._lock:
            now = monotonic()
            self.processed += 1
            self._last_output = now
            self._published.append((now, from_stamp_s, from_arrival_s))

    def note_rejection(self, reason: str, *, failed: bool = False) -> None:
        """A frame could not be used; failed: it was our fault, not the frame's."""
        with self._lock:
            self.rejected += not failed
            self.failed += failed
            self.last_rejection = reason
            self._last_rejection_at = monotonic()

    def status(self, name: str, *, active: bool, enabled: bool, hardware_id: str) -> DiagnosticStatus:
        """Rate, latency, counts, and what is wrong, if anything."""
        with self._lock:
            now = monotonic()
            while self._published and now - self._published[0][0] > _WINDOW_S:
                self._published.popleft()
            recent = np.array(self._published).reshape(-1, 3)
            losing = now - self._last_loss_at < _WINDOW_S
            rejecting = now - self._last_rejection_at < _WINDOW_S
            input_age = None if self._last_input is None else now - self._last_input
            output_age = None if self._last_output is None else now - self._last_output
            counts = {
                'received': self.received,
                'processed': self.processed,
                'replaced by a newer frame': self.replaced,
                'lost in transport': self.lost_in_transport,
                'rejected': self.rejected,
                'failed': self.failed,
                'skipped, no subscriber': self.unwanted,
            }
            last_rejection = self.last_rejection
        span = now - recent[0, 0] if len(recent) else 0.0
        rate = len(recent) / max(span, 1.0) if len(recent) else 0.0
        level, message = DiagnosticStatus.OK, f'{rate:.1f} Hz'
        if not active:
            message = 'not active'
        elif not enabled:
            message = 'disabled by ~/enable'
        elif losing and (input_age is None or input_age > _WINDOW_S):
            level, message = DiagnosticStatus.ERROR, f'every image is lost in transport: {_LOSS_ADVICE}'
        elif input_age is None:
            level, message = DiagnosticStatus.WARN, 'no image has arrived yet'
        elif input_age > _WINDOW_S:
            level, message = DiagnosticStatus.ERROR, f'no image for {input_age:.0f} s'
        elif rejecting:
            level, message = DiagnosticStatus.ERROR, f'frames are rejected: {last_rejection}'
        elif losing:
            level, message = DiagnosticStatus.WARN, f'{rate:.1f} Hz; images are lost in transport: {_LOSS_ADVICE}'
        elif output_age is None or output_age > _WINDOW_S:
            level, message = DiagnosticStatus.WARN, 'images arrive, but none has been finished for seconds'
        elif not len(recent):
            message = 'idle: nobody subscribes'
        values = {'rate_hz': f'{rate:.2f}'}
        for label, column in (('stamp', 1), ('arrival', 2)):
            for percent in (50, 95):
                value = f'{1e3 * np.percentile(recent[:, column], percent):.1f}' if len(recent) else 'none'
                values[f'latency from {label} p{percent} ms'] = value
        values |= {key: str(count) for key, count in counts.items()}
        values['last rejection'] = last_rejection or 'none'
        values['input age s'] = 'none' if input_age is None else f'{input_age:.2f}'
        return make_status(name, level, message, values, hardware_id)


def make_status(name: str, level: bytes, message: str, values: dict[str, str], hardware_id: str) -> DiagnosticStatus:
    """Build a DiagnosticStatus."""
    return DiagnosticStatus(
        level=level,
        name=name,
        message=message,
        hardware_id=hardware_id,
        values=[KeyValue(key=key, value=value) for key, value in values.items()],
    )
