"""Which sample comes when: a shuffle that is a function of the position, so that training can resume anywhere."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from training.errors import DataError

# Shards whose samples are mixed with each other: no more than a reader keeps the indices of.
_WINDOW_SHARDS = 16
# A longer run of neighbours is cut: so a window holds at most a million samples, however the data lies.
_LONGEST_RUN = 65536


class Order:
    """Position (0, 1, 2, ... without end) -> index of a sample; a pure function of shard sizes and seed.

    Each epoch of len(order) positions has every index once. Its shards come in another order, and samples are shuffled
    within windows of 16 of these, so that neighbouring positions read neighbouring files. A data set in one run is cut
    into runs of 65536. What is held is the order of the shards and of the samples of a few windows.

    The shuffles sort the raw output of a seeded PCG64, which NumPy keeps the same in all its versions (NEP 19);
    Generator.permutation has no such promise.
    """

    def __init__(self, shard_sizes: Sequence[int], seed: int | Sequence[int]) -> None:
        """Prepare the order.

        Args:
            shard_sizes: number of samples in each run of neighbours, in the order of their indices.
            seed: not negative; or several such numbers, all of which count.

        Raises:
            DataError: there is no sample.
            ValueError: a number is negative.
        """
        runs = _cut(shard_sizes)
        if not runs.sum():
            raise DataError('there are no samples to put in order')
        self._sizes = runs
        self._starts = np.cumsum(runs) - runs
        self._seed = [int(number) for number in np.atleast_1d(seed)]
        np.random.SeedSequence(self._seed)  # refuses what is negative
        self._make_caches()

    def __len__(self) -> int:
        """Positions of an epoch: the number of samples."""
        return int(self._starts[-1] + self._sizes[-1])

    def __getitem__(self, position: int) -> int:
        """The index at a position."""
        if position < 0:
            raise IndexError(position)
        epoch, offset = divmod(position, len(self))
        _, ends = self._shards(epoch)
        window = int(np.searchsorted(ends, offset, side='right'))
        start = int(ends[window - 1]) if window else 0
        return int(self._window(epoch, window)[offset - start])

    def _shuffle_shards(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """The shards in their order of an epoch, and the position at which each of its windows ends."""
        shards = self._shuffled(len(self._sizes), epoch)
        ends = np.cumsum(self._sizes[shards])
        return shards, np.append(ends[_WINDOW_SHARDS - 1 : -1 : _WINDOW_SHARDS], ends[-1])

    def _shuffle_window(self, epoch: int, window: int) -> np.ndarray:
        """The indices of a window's samples, in their order."""
        shards = self._shards(epoch)[0][window * _WINDOW_SHARDS : (window + 1) * _WINDOW_SHARDS]
        parts = [np.arange(self._sizes[shard]) + self._starts[shard] for shard in shards]
        indices = np.concatenate(parts)
        return indices[self._shuffled(len(indices), epoch, window + 1)]

    def _shuffled(self, count: int, *key: int) -> np.ndarray:
        # Equal numbers among 64-bit ones are as good as impossible, and a stable sort is a function of them anyway.
        raw = np.random.PCG64(np.random.SeedSequence([*self._seed, *key])).random_raw(count)
        return np.argsort(raw, kind='stable')

    def _make_caches(self) -> None:
        # A batch may lie across the end of a window or of an epoch, and workers are a few batches apart.
        self._shards = lru_cache(maxsize=2)(self._shuffle_shards)
        self._window = lru_cache(maxsize=4)(self._shuffle_window)

    def __getstate__(self) -> dict[str, object]:
        return {name: value for name, value in self.__dict__.items() if name not in ('_shards', '_window')}

    def __setstate__(self, state: dict[str, object]) -> None:
        self.__dict__.update(state)
        self._make_caches()


def _cut(sizes: Sequence[int]) -> np.ndarray:
    """The sizes, each longer than the longest run as several that are not, without the empty."""
    if min(sizes, default=0) < 0:
        raise ValueError(f'a shard has {min(sizes)} samples')
    runs = [min(_LONGEST_RUN, size - start) for size in sizes for start in range(0, size, _LONGEST_RUN)]
    return np.array(runs, np.int64)
