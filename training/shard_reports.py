"""Reports of the stages that make something of each image of a shard: what failed, why, and when that is too much."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from training.data.readers.base import key_of
from training.errors import DataError

# Of the reasons, how many an error tells.
_TOLD = 3


def report_name(shard: str) -> str:
    """Where in a stage's output the report of a shard lies: JSON, its `failed` the reasons by key."""
    return f'reports/{shard}.json'


class Failures:
    """Counts failures by their reason, shard by shard, and ends a stage that has too many."""

    def __init__(self, total: int, max_fraction: float, without: str, made: str) -> None:
        """Count none so far.

        Args:
            total: images of the whole stage.
            max_fraction: share of them that may fail, not all.
            without: what failed images are, such as `have no label`.
            made: what is made of the others, such as `labels`.
        """
        self._total, self._max_fraction = total, max_fraction
        self._without, self._made = without, made
        self._reasons: Counter[str] = Counter()

    @property
    def count(self) -> int:
        """How many images have failed."""
        return self._reasons.total()

    @property
    def reasons(self) -> dict[str, int]:
        """How many, by why; the commonest first."""
        return dict(self._reasons.most_common())

    def add(self, report: Mapping[str, Any]) -> None:
        """Count a shard's, and raise DataError if there are too many: at once, and not after a week."""
        self._reasons.update(_without_name(key, text) for key, text in report['failed'].items())
        if self.count > self._max_fraction * self._total or self.count == self._total:
            said = '; '.join(f'{count} x {reason}' for reason, count in self._reasons.most_common(_TOLD))
            raise DataError(
                f'{self.count} of {self._total} images {self._without}, more than '
                f'max_failed_fraction={self._max_fraction}: {said}. The {self._made} that there are stay: allow more, '
                'or mend the cause and name another output'
            )


def _without_name(key: str, text: str) -> str:
    """What is wrong, without which image it is wrong with: readers say its key, its file, or both."""
    head, _, rest = text.partition(': ')
    return _without_name(key, rest) if key in (head, key_of(head)) else text
