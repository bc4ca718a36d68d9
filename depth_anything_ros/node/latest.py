"""A place for one item: the newest wins."""

from __future__ import annotations

from threading import Condition
from typing import Generic, TypeVar

T = TypeVar('T')


class Latest(Generic[T]):
    """Hands the newest item from one thread to another; an item that nobody took is replaced."""

    def __init__(self) -> None:
        self._condition = Condition()
        self._item: T | None = None
        self._closed = False

    def put(self, item: T) -> bool:
        """Store the item; returns whether it replaced one."""
        with self._condition:
            replaced = self._item is not None
            self._item = item
            self._condition.notify()
        return replaced

    def take(self) -> T | None:
        """Wait for an item and take it; None once closed."""
        with self._condition:
            self._condition.wait_for(lambda: self._item is not None or self._closed)
            if self._closed:
                return None
            item, self._item = self._item, None
            return item

    def close(self) -> None:
        """Wake up whoever waits, for good."""
        with self._condition:
            self._closed = True
            self._condition.notify_all()
