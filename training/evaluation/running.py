"""One network over one data set."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset
from tqdm import tqdm

from depth_anything_ros.estimation import PREDICTION_ERRORS, DepthEstimator, ImageShapeError, Prediction
from training.data.sample import Dataset, Sample
from training.data.workers import worker_options
from training.errors import BadSampleError, DataError, TrainingError
from training.evaluation.protocol import Protocol
from training.evaluation.results import ImageScore, Result
from training.evaluation.scoring import Scored, check_served, score
from training.evaluation.sequences import FlickerMeter, sequence_of, stamp_of
from training.evaluation.truth import NoTruthError

_log = logging.getLogger(__name__)
# So many messages about skipped samples; the counts have all.
_TOLD = 5
Watcher = Callable[[int, Sample, Prediction, Scored], None]


class NothingScoredError(DataError):
    """Not one image of a data set could be scored."""


@dataclass(frozen=True)
class Outcome:
    """What came of it: the result, how many samples were skipped by reason, and seconds with and without reading."""

    result: Result
    skipped: dict[str, int]
    seconds: float
    waiting_s: float

    def summary(self) -> dict[str, Any]:
        """As JSON values."""
        result = self.result
        return {
            'means': result.means(),
            'images': len(result.images),
            'skipped': self.skipped,
            'inverted': result.count('inverted'),
            'constant': result.count('constant'),
            'seconds': round(self.seconds, 3),
            'images_per_second': round(len(result.images) / self.seconds, 3),
            'share_waiting_for_data': round(self.waiting_s / self.seconds, 3),
        }


def choose(count: int, at_most: int) -> list[int]:
    """Indices of a data set of count samples: all, or, with at_most > 0, so many of them, evenly spread."""
    if not 0 < at_most < count:
        return list(range(count))
    return [index * count // at_most for index in range(at_most)]


def evaluate(
    estimator: DepthEstimator,
    dataset: Dataset,
    indices: Sequence[int],
    protocol: Protocol,
    names: tuple[str, str],
    workers: int = 0,
    watch: Watcher | None = None,
) -> Outcome:
    """Predict and score samples, in the order of their indices.

    Args:
        estimator: the network.
        dataset, indices: what is evaluated.
        protocol: how.
        names: of the network and of the data set, for the result.
        workers: processes that read ahead; 0: this one reads.
        watch: called with the index, the sample, the prediction and its scores of each image, as for pictures.

    Raises:
        RecipeError: the protocol is not for such a network.
        TrainingError: the network predicts NaN or infinity, or has too little memory: numbers without those images
            would not be comparable.
        NothingScoredError: not one image could be scored.
    """
    model, data = names
    check_served(estimator.kind, protocol, f'{model} on {data}')
    images: list[ImageScore] = []
    skips = _Skips(data)
    # Of a part of the images, two that come one after the other are no neighbours in time.
    meter = FlickerMeter(protocol) if len(indices) == len(dataset) else None
    begun, waiting_s = time.monotonic(), 0.0
    # Closed at once: left to the garbage collector, the end of a reading process can take 5 s.
    with closing(_read(dataset, indices, workers)) as samples:
        for index in tqdm(indices, desc=f'{model} on {data}', unit='image'):
            asked = time.monotonic()
            sample = next(samples)
            waiting_s += time.monotonic() - asked
            try:
                images.append(_score_one(estimator, index, sample, protocol, meter, watch))
            except (BadSampleError, ImageShapeError) as error:
                skips.add(error)
            except PREDICTION_ERRORS as error:
                raise TrainingError(f'{model} on sample {dataset.key(index)} of {data}: {error}') from error
    if not images:
        raise NothingScoredError(f'{data}: not one of {len(indices)} samples can be scored ({skips})')
    return Outcome(Result(model, data, images), skips.counts, time.monotonic() - begun, waiting_s)


def _score_one(
    estimator: DepthEstimator,
    index: int,
    sample: Sample | DataError,
    protocol: Protocol,
    meter: FlickerMeter | None,
    watch: Watcher | None,
) -> ImageScore:
    if isinstance(sample, DataError):
        raise sample
    prediction = estimator(sample.image)
    scored = score(prediction, sample, protocol)
    scores = scored.scores | (meter(index, sample, prediction, scored) if meter else {})
    if watch is not None:
        watch(index, sample, prediction, scored)
    return ImageScore(sample.key, index, scores, scored.weight, sequence_of(sample), stamp_of(sample), scored.facts)


class _Skips:
    """Counts skipped samples by reason, and tells of the first ones."""

    def __init__(self, data: str) -> None:
        self._data = data
        self._counts: Counter[str] = Counter()

    @property
    def counts(self) -> dict[str, int]:
        return dict(sorted(self._counts.items()))

    def add(self, error: BadSampleError | ImageShapeError) -> None:
        reason = 'image of unfit shape' if isinstance(error, ImageShapeError) else 'unusable sample'
        if isinstance(error, NoTruthError):
            reason = error.reason
        self._counts[reason] += 1
        if self._counts.total() <= _TOLD:
            _log.warning('%s: skipped, %s: %s', self._data, reason, error)

    def __str__(self) -> str:
        return ', '.join(f'{reason}: {count}' for reason, count in self.counts.items()) or 'it has no samples'


class _Reading(TorchDataset):
    """Hands on what was wrong with a sample: raised in a worker it would end that, with a trace as the message."""

    def __init__(self, dataset: Dataset) -> None:
        self._dataset = dataset

    def __getitem__(self, index: int) -> Sample | DataError:
        try:
            return self._dataset[index]
        except DataError as error:
            return type(error)(str(error))


def _read(dataset: Dataset, indices: Sequence[int], workers: int) -> Generator[Sample | DataError, None, None]:
    options = worker_options(workers, __name__)
    yield from DataLoader(_Reading(dataset), batch_size=None, sampler=list(indices), collate_fn=_as_it_is, **options)


def _as_it_is(sample: Any) -> Any:
    return sample


def pick(indices: Sequence[int], count: int, seed: int) -> list[int]:
    """count of the indices at random, ascending; the same ones for the same seed."""
    chosen = np.random.default_rng(seed).permutation(len(indices))[:count]
    return [indices[place] for place in sorted(chosen.tolist())]
