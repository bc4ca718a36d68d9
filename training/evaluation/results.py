"""Results: the scores of one network on one data set, image by image, and where they are kept."""

from __future__ import annotations

import dataclasses
import json
import os
from dataclasses import dataclass, field
from typing import Any

from training.errors import DataError
from training.files import Folder

RESULTS = 'results.json'


@dataclass(frozen=True)
class ImageScore:
    """The scores of one image.

    Attributes:
        key: of the sample. index: its place in the data set.
        scores: by metric; one that the image does not have is missing.
        weight: in means: 1, or the number of pairs.
        sequence: what its neighbours in time share, '' if nothing is known. stamp_ns: its time, if known.
        facts: what else is known: scale and shift of its alignment, whether the prediction was inverted or constant.
    """

    key: str
    index: int
    scores: dict[str, float]
    weight: float = 1.0
    sequence: str = ''
    stamp_ns: int | None = None
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Result:
    """One network on one data set.

    Attributes:
        model, data: their names in the settings.
        images: what was scored, in the data set's order.
    """

    model: str
    data: str
    images: list[ImageScore]

    @property
    def metrics(self) -> list[str]:
        """The metrics that at least one image has, in their order."""
        return list(dict.fromkeys(metric for image in self.images for metric in image.scores))

    def mean(self, metric: str) -> float | None:
        """The weighted mean over the images that have it; None if none does."""
        rows = [(image.scores[metric], image.weight) for image in self.images if metric in image.scores]
        total = sum(weight for _, weight in rows)
        return sum(value * weight for value, weight in rows) / total if total else None

    def means(self) -> dict[str, float]:
        """Of all metrics that there are."""
        return {metric: self.mean(metric) for metric in self.metrics}

    def count(self, fact: str) -> int:
        """In how many images a fact (`inverted`, `constant`) is true."""
        return sum(bool(image.facts.get(fact)) for image in self.images)

    def save(self, folder: Folder) -> None:
        """Write it to its place in an output folder, one JSON line per image, whole or not at all."""
        lines = (json.dumps(dataclasses.asdict(image), allow_nan=False) for image in self.images)
        folder.write(_place(self.model, self.data), ''.join(f'{line}\n' for line in lines).encode())

    @classmethod
    def load(cls, folder: Folder, model: str, data: str) -> Result:
        """Read one that was saved; raises DataError."""
        place = _place(model, data)
        try:
            rows = [json.loads(line) for line in folder.read(place).decode().splitlines()]
            return cls(model, data, [ImageScore(**row) for row in rows])
        except (ValueError, TypeError) as error:
            raise DataError(f'{folder.url}/{place} holds no scores of images: {error}') from error


def _place(model: str, data: str) -> str:
    return f'images/{data}/{model}.jsonl'


def read_results(output: str | os.PathLike[str]) -> dict[tuple[str, str], Result]:
    """The results in the output folder of an evaluation, by (model, data), once it is finished.

    Raises:
        DataError: there are none.
    """
    folder = Folder(output)
    summary = folder.read_json(RESULTS)
    return {
        (model, data): Result.load(folder, model, data)
        for data, section in summary['data'].items()
        for model in section['models']
    }
