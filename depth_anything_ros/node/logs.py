"""Python's logging into the ROS log, and complaints that are made once, not at 30 Hz."""

from __future__ import annotations

import logging
import re
from threading import Lock
from time import monotonic

_REPEAT_S = 60.0
_MAX_REMEMBERED = 100


def without_numbers(text: str) -> str:
    """What two texts that differ in numbers only have in common."""
    return re.sub(r'[0-9.]+', '#', text)


class RosLogHandler(logging.Handler):
    """Passes records of Python's logging to a node's logger."""

    def __init__(self, logger) -> None:
        super().__init__()
        self._logger = logger

    def emit(self, record: logging.LogRecord) -> None:
        """Pass one on."""
        text = self.format(record)
        # One call a level: rclpy keeps the level by the place of the call.
        if record.levelno >= logging.ERROR:
            self._logger.error(text)
        elif record.levelno >= logging.WARNING:
            self._logger.warning(text)
        elif record.levelno >= logging.INFO:
            self._logger.info(text)
        else:
            self._logger.debug(text)


class Complaints:
    """Logs each complaint once a minute at most; those that differ in numbers only are one. Safe across threads.

    about: comes before each, such as 'front: '.
    """

    def __init__(self, logger, about: str = '') -> None:
        self._logger = logger
        self._about = about
        self._lock = Lock()
        self._made: dict[str, float] = {}

    def warn(self, text: str) -> None:
        """Log as a warning, unless just done."""
        if self._due(text):
            self._logger.warning(f'{self._about}{text}')

    def error(self, text: str) -> None:
        """Log as an error, unless just done."""
        if self._due(text):
            self._logger.error(f'{self._about}{text}')

    def _due(self, text: str) -> bool:
        kind, now = without_numbers(text), monotonic()
        with self._lock:
            if now - self._made.get(kind, -_REPEAT_S) < _REPEAT_S:
                return False
            if len(self._made) >= _MAX_REMEMBERED:
                del self._made[min(self._made, key=self._made.get)]
            self._made[kind] = now
        return True
