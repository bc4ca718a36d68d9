"""A place for one item of each key: the newest wins, unless the older is worth more."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from threading import Condition
from typing import Generic, TypeVar

K = TypeVar('K', bound=Hashable)
T = TypeVar('T')


class Latest(Generic[K, T]):
    """Hands items to other threads; one that nobody took in time gives way to a newer one of its key.

    Of a key that was taken nothing more is handed out until that is done, so that its items are worked on in turn.
    """

    def __init__(self) -> None:
        self._condition = Condition()
        self._items: dict[K, T] = {}
        self._in_work: set[K] = set()
        self._closed = False

    @property
    def closed(self) -> bool:
        """Whether nothing is handed over any more."""
        return self._closed

    def put(self, key: K, item: T, keep: Callable[[T, T], bool] | None = None) -> bool:
        """Store the item; returns whether one was lost by that.

        keep: told the stored item and the new one, whether the stored one stays, and the new one is lost. It stays
        until it is taken, which is what happens next, so nothing waits for longer than one round of work.
        """
        with self._condition:
            lost = key in self._items
            if not (lost and keep and keep(self._items[key], item)):
                self._items[key] = item
            self._condition.notify()
        return lost

    def take(self, most: int | None = None, parallel: Callable[[], int] = lambda: 1) -> dict[K, T] | None:
        """Wait for items, and take what there is, most at most, those that wait longest first; None once closed.

        A key waits from its first item on, whatever has replaced that. parallel: while the items of so many keys are in
        work, nothing is handed out. Whoever takes says when it is done.
        """
        with self._condition:
            self._condition.wait_for(lambda: self._closed or (self._waiting() and len(self._in_work) < parallel()))
            if self._closed:
                return None
            keys = self._waiting()[:most]
            self._in_work.update(keys)
            return {key: self._items.pop(key) for key in keys}

    def done(self, taken: Iterable[K]) -> None:
        """Say that what was taken of these keys is not in work any more."""
        with self._condition:
            self._in_work.difference_update(taken)
            self._condition.notify_all()

    def close(self) -> dict[K, T]:
        """Wake up whoever waits, for good; returns what nobody has taken."""
        with self._condition:
            self._closed = True
            self._condition.notify_all()
            left, self._items = self._items, {}
            return left

    def _waiting(self) -> list[K]:
        return [key for key in self._items if key not in self._in_work]
