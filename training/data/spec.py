"""From a recipe's words to a data set."""

from __future__ import annotations

import bisect
import importlib
import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from training.data.edges import WithoutEdges
from training.data.readers import READERS
from training.data.sample import Dataset, Sample
from training.data.shards import ShardDataset
from training.data.sky import WithSky
from training.errors import DataError, RecipeError
from training.files import fingerprint
from training.recipe import free
from training.run import check_complete


@dataclass
class DataSpec:
    """A data set as a recipe names it.

    Attributes:
        type: `shards`, or the name of a reader.
        path: folder, file or URL.
        split: which part of it, in the words of its layout; '' for all.
        labels: of shards, the folder of their pseudo-labels.
        sky: folder of the masks of its sky, the output of the stage `sky`.
        options: what else its reader takes, see there.
        edge_margin: pixels around jumps of its depth that count as unknown, for sensors whose outlines are not the
            image's (training.data.edges); 0 for none.
        repeat: how often each of its samples comes in a round of all data, so that a small set counts.
    """

    type: str
    path: str = free('')
    split: str = ''
    labels: str = free('')
    sky: str = free('')
    options: dict[str, Any] = field(default_factory=dict)
    edge_margin: int = 0
    repeat: int = 1


def make_dataset(spec: DataSpec) -> Dataset:
    """Open a data set.

    Raises:
        RecipeError: there is no such type, or what is said of it does not go together.
        DataError: its files are not there.
        MismatchError: its labels or its masks of the sky are of other data, or a stage has yet to finish any of it.
    """
    if spec.repeat < 1:
        raise RecipeError(f'repeat must be at least 1, got {spec.repeat}')
    if spec.edge_margin < 0:
        raise RecipeError(f'edge_margin must be at least 0, got {spec.edge_margin}')
    dataset = _with_sky(spec)
    if spec.edge_margin:
        dataset = WithoutEdges(dataset, spec.edge_margin)
    return dataset if spec.repeat == 1 else Concatenation([dataset] * spec.repeat)


def _with_sky(spec: DataSpec) -> Dataset:
    if not spec.sky:
        return _open(spec)
    if spec.labels:
        raise RecipeError('sky is for measured depth: pseudo-labels have the sky that their teacher saw')
    return WithSky(_open(spec), spec.sky)


def _open(spec: DataSpec) -> Dataset:
    if spec.type == 'shards':
        if spec.options:
            raise RecipeError(f'shards take no options, got {", ".join(spec.options)}')
        dataset = ShardDataset(spec.path, spec.split, spec.labels)
        for folder in filter(None, (spec.path, spec.labels)):
            check_complete(folder)
        return dataset
    if spec.type not in READERS:
        raise RecipeError(f'unknown type of data {spec.type!r}: one of shards, {", ".join(sorted(READERS))}')
    if spec.labels:
        raise RecipeError(f'labels belong to shards, not to {spec.type}')
    # Only now: some readers need libraries that others do not.
    module, name = READERS[spec.type].split(':')
    return getattr(importlib.import_module(module), name)(spec.path, spec.split, **spec.options)


def make_datasets(specs: Sequence[DataSpec]) -> Dataset:
    """Open several and concatenate them, as the papers do, without re-sampling; raises as make_dataset."""
    if not specs:
        raise RecipeError('no data is named')
    parts = [make_dataset(spec) for spec in specs]
    return parts[0] if len(parts) == 1 else Concatenation(parts)


class Concatenation(Dataset):
    """Data sets one after another."""

    def __init__(self, parts: Sequence[Dataset]) -> None:
        self.parts = list(parts)
        self.name = '+'.join(dict.fromkeys(part.name for part in self.parts))
        self._ends = list(itertools.accumulate(map(len, self.parts)))
        if not self._ends[-1]:
            raise DataError(f'{self.name}: no samples')

    def _locate(self, index: int) -> tuple[Dataset, int]:
        if not 0 <= index < len(self):
            raise IndexError(index)
        part = bisect.bisect_right(self._ends, index)
        return self.parts[part], index - (self._ends[part - 1] if part else 0)

    def __len__(self) -> int:
        """Number of samples of all."""
        return self._ends[-1]

    def __getitem__(self, index: int) -> Sample:
        """Read one sample."""
        part, inner = self._locate(index)
        return part[inner]

    def key(self, index: int) -> str:
        """Its key, unique within its part."""
        part, inner = self._locate(index)
        return part.key(inner)

    @property
    def shard_sizes(self) -> list[int]:
        """Of all parts, in their order."""
        return [size for part in self.parts for size in part.shard_sizes]

    @property
    def fingerprint(self) -> str:
        """Of all parts, in their order."""
        return fingerprint([part.fingerprint for part in self.parts])
