"""Loading: batches in an order that is a function of the seed and the step, in worker processes."""

from __future__ import annotations

import logging
import math
import time
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, default_collate
from torch.utils.data import Dataset as TorchDataset

from training.data.augmentation import Example, View, normalise
from training.data.batch import Batch, StreamBatch
from training.data.cutmix import paste, sample_box
from training.data.order import Order
from training.data.sample import Dataset
from training.data.workers import worker_options
from training.errors import BadSampleError, DataError, RecipeError, TrainingError

_log = logging.getLogger(__name__)
# Samples tried for one place in a batch: so many bad ones in a row are no accident.
_ATTEMPTS = 20
# Different bad samples that are let pass, however few were seen and often they come in a small data set.
_FEW = 10
# Standard deviations of a count (Poisson) by which bad samples must exceed their share: fewer come by chance.
_DEVIATIONS = 4.0
# What a number is drawn for; part of the seed.
_ORDER, _VIEW, _BOX, _REPLACEMENT = range(4)


@dataclass(frozen=True)
class Stream:
    """Samples of one kind in each batch.

    Attributes:
        name: of the stream; the order of its samples and their views depend on it.
        dataset: where the samples come from.
        count: of them in a batch, that of all processes together.
        view: what is made of each.
        cutmix: probability of a CutMix box in an image (V1 paper, section 3.2: 0.5); 0 for none.
    """

    name: str
    dataset: Dataset
    count: int
    view: View
    cutmix: float = 0.0

    def __post_init__(self) -> None:
        if self.count < 1 or not 0 <= self.cutmix <= 1:
            raise ValueError(f'{self.name}: expected count >= 1 and cutmix in 0..1, got {self.count}, {self.cutmix}')


class Batches:
    """The batches of a training run from a step on; iterate once.

    What is in place `slot` of a stream at a step, and how it is cut and perturbed, is a function of (seed, name of the
    stream, step, slot) alone. So a run that goes on from a step sees what it would have seen, with any number of
    workers, and processes see the parts of what one process sees. A bad sample is replaced by one that depends on the
    same numbers, and counted.

    waiting_s: seconds for which the consumer had to wait for batches, but for the first. startup_s: for the first, with
    the start of the workers. skipped: bad samples by key, those of all batches so far. loaded: samples so far.
    """

    def __init__(
        self,
        streams: Sequence[Stream],
        seed: int,
        steps: int,
        start: int = 0,
        rank: int = 0,
        world_size: int = 1,
        workers: int = 0,
        max_bad_fraction: float = 0.01,
    ) -> None:
        """Prepare to load.

        Args:
            streams: of different names.
            seed: not negative.
            steps: number of the last step + 1.
            start: number of the first step.
            rank: of this process, 0 to world_size - 1; it gets the samples [rank * count / world_size, ...) of each
                stream.
            world_size: number of processes that share each batch.
            workers: processes that load; 0: this one does.
            max_bad_fraction: share of bad samples above which the training ends, as the data is not what it should be.
                Of those loaded so far, there must be more than such a share gives by chance (4 standard deviations),
                and more than 10 different ones.

        Raises:
            RecipeError: two streams have one name, or a batch cannot be divided.
            DataError: a data set is empty.
            ValueError: there is no such rank.
        """
        if not 0 <= rank < world_size:
            raise ValueError(f'rank must be in 0..{world_size - 1}, got {rank}')
        names = [stream.name for stream in streams]
        if not names or len({*names}) < len(names):
            raise RecipeError(f'expected streams of different names, got {names}')
        for stream in streams:
            check_division(stream.name, stream.count, stream.cutmix, world_size)
        self._source = _Source(list(streams), seed, rank, world_size)
        self._steps = range(start, steps)
        self._workers = workers
        self._max_bad_fraction = max_bad_fraction
        self.waiting_s = self.startup_s = 0.0
        self._begun_s: float | None = None
        self.loaded = 0
        self.skipped: Counter[str] = Counter()

    def __len__(self) -> int:
        """Number of steps."""
        return len(self._steps)

    def __iter__(self) -> Iterator[Batch]:
        """The batches, in order.

        Raises:
            DataError: too many samples are bad.
        """
        before = time.perf_counter()
        for item in _loader(self._source, self._steps, self._workers):
            self._count_wait(time.perf_counter() - before)
            if isinstance(item, TrainingError):
                raise item
            self._count_bad(item)
            yield item
            before = time.perf_counter()

    def waiting_share(self) -> float:
        """Share of the time since the first batch for which the consumer waited, 0 to 1."""
        if self._begun_s is None:
            return 0.0
        return self.waiting_s / max(time.perf_counter() - self._begun_s, 1e-9)

    def _count_wait(self, seconds: float) -> None:
        if self._begun_s is None:
            self._begun_s = time.perf_counter()
            self.startup_s = seconds
        else:
            self.waiting_s += seconds

    def _count_bad(self, batch: Batch) -> None:
        self.loaded += sum(len(stream.keys) for stream in batch.streams.values())
        for key in {*batch.skipped} - {*self.skipped}:
            _log.warning('skipped: %s', batch.reasons[key])
        self.skipped.update(batch.skipped)
        bad, allowed = self.skipped.total(), self._max_bad_fraction * self.loaded
        if len(self.skipped) > _FEW and bad > allowed + _DEVIATIONS * math.sqrt(allowed):
            raise DataError(
                f'{bad} of {self.loaded} samples could not be used, more than max_bad_fraction={self._max_bad_fraction}'
                f': such as {next(reversed(batch.reasons.values()))}. Mend the data, or allow more'
            )


def check_division(name: str, count: int, cutmix: float, world_size: int) -> None:
    """Raise RecipeError where a stream's samples of a batch, as of Stream, cannot be divided over the processes."""
    parts = world_size * (2 if cutmix else 1)
    if count % parts:
        pairs = ' of pairs (CutMix)' if cutmix else ''
        raise RecipeError(
            f'stream {name}: {count} samples a batch cannot be divided into {world_size} equal parts'
            f'{pairs}: choose a multiple of {parts}'
        )


class _Source(TorchDataset[Any]):
    """Step -> this process's batch, or the error that ends the training."""

    def __init__(self, streams: list[Stream], seed: int, rank: int, world_size: int) -> None:
        self._streams = streams
        self._seed, self._rank, self._world_size = seed, rank, world_size
        self._orders = [Order(stream.dataset.shard_sizes, self._entropy(stream, _ORDER)) for stream in streams]

    def __getitem__(self, step: int) -> Batch | TrainingError:
        # DataLoader would wrap the error of a worker into a page of text.
        try:
            return self._batch(step)
        except TrainingError as error:
            return error

    def _batch(self, step: int) -> Batch:
        batch = Batch(step, {})
        for stream, order in zip(self._streams, self._orders, strict=True):
            batch.streams[stream.name] = self._stream_batch(stream, order, batch)
        return batch

    def _stream_batch(self, stream: Stream, order: Order, batch: Batch) -> StreamBatch:
        local = stream.count // self._world_size
        slots = range(self._rank * local, (self._rank + 1) * local)
        keys, examples = zip(*(self._example(stream, order, batch, slot) for slot in slots), strict=True)
        boxes = None
        if stream.cutmix:
            size = examples[0].mask.shape
            generators = (self._generator(stream, _BOX, batch.step, slot) for slot in slots)
            boxes = [sample_box(size, generator, stream.cutmix) for generator in generators]
        return StreamBatch(keys=list(keys), **_finish(examples, boxes))

    def _example(self, stream: Stream, order: Order, batch: Batch, slot: int) -> tuple[str, Example]:
        index = order[batch.step * stream.count + slot]
        for attempt in range(_ATTEMPTS):
            try:
                sample = stream.dataset[index]
                return sample.key, stream.view(sample, self._generator(stream, _VIEW, batch.step, slot))
            except BadSampleError as error:
                key = stream.dataset.key(index)
                batch.skipped[key] = batch.skipped.get(key, 0) + 1
                batch.reasons[key] = str(error)
            # Anywhere, and not its neighbour: damage comes by the shard.
            chance = self._generator(stream, _REPLACEMENT, batch.step, slot, attempt)
            index = int(chance.integers(len(stream.dataset)))
        reason = batch.reasons[key]
        raise DataError(f'stream {stream.name}: {_ATTEMPTS} samples in a row could not be used, the last: {reason}')

    def _generator(self, stream: Stream, *purpose: int) -> np.random.Generator:
        return np.random.Generator(np.random.PCG64(np.random.SeedSequence(self._entropy(stream, *purpose))))

    def _entropy(self, stream: Stream, *purpose: int) -> list[int]:
        return [self._seed, zlib.crc32(stream.name.encode()), *purpose]


def _finish(examples: Sequence[Example], boxes: Sequence[np.ndarray] | None) -> dict[str, Tensor]:
    """The tensors of a StreamBatch, by name."""
    finished = []
    for slot, one in enumerate(examples):
        arrays, image = {'target': one.target, 'mask': one.mask}, one.image
        if boxes is not None:
            other, box = examples[slot ^ 1], boxes[slot]
            image = paste(image, other.image, box)
            arrays |= {'box': box, 'other_target': other.target, 'other_mask': other.mask}
        tensors = {name: torch.from_numpy(array) for name, array in arrays.items()} | {'image': normalise(image)}
        finished.append(tensors if one.clean is None else tensors | {'clean': normalise(one.clean)})
    # In a worker this stacks into shared memory, at once.
    return default_collate(finished)


def _loader(source: _Source, steps: range, workers: int) -> DataLoader[Any]:
    return DataLoader(
        source,
        batch_size=None,
        sampler=steps,
        **worker_options(workers, __name__),
        pin_memory=torch.cuda.is_available(),
        # The loader draws a number from it, by default from torch's own, whose state is part of a checkpoint.
        generator=torch.Generator(),
    )
