"""A place for one item: the newest wins, unless the older is worth more."""

from __future__ import annotations

from collections.abc import Callable
from threading import Condition
from typing import Generic, TypeVar

T = TypeVar('T')


class Latest(Generic[T]):
    """Hands one item from one thread to another; an item that nobody took in time gives way to a newer one."""

    def __init__(self) -> None:
        self._condition = Condition()
        self._item: T | None = None
        self._closed = False

    def put(self, item: T, keep: Callable[[T, T], bool] | None = None) -> bool:
        """Store the item; returns whether one was lost by that.

        keep: told the stored item and the new one, whether the stored one stays, and the new one is lost. It stays
        until it is taken, which is what happens next, so nothing waits for longer than one item is worked on.
        """
        with self._condition:
            lost = self._item is not None
            if not (lost and keep and keep(self._item, item)):
                self._item = item
            self._condition.notify()
        return lost

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
