"""The labels of one shard after another."""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np

from depth_anything_ros.estimation import PREDICTION_ERRORS, ImageShapeError, NonFinitePredictionError
from training.data.sample import Sample
from training.data.shards import ShardDataset, ShardWriter, encode_label
from training.errors import BadSampleError, DataError, TrainingError
from training.files import Folder
from training.shard_reports import report_name
from training.teachers import open_teacher

if TYPE_CHECKING:
    from training.stages.label import Settings

_log = logging.getLogger(__name__)
# Seconds before a shard is tried again whose reading or writing failed, as an object store's does now and then.
_PAUSES_S = (1.0, 4.0)
# Threads that decode images while the teacher predicts. OpenCV decodes without the interpreter's lock.
_READERS = 2


class Labeller:
    """Labels shards, one at a time, with a teacher of its own."""

    def __init__(self, settings: Settings) -> None:
        """Load the teacher; raises as open_teacher."""
        self._teacher = open_teacher(settings)
        self._shards, self._batch_size = settings.shards, settings.batch_size
        self._writer = ShardWriter(Folder(settings.output))

    def label(self, name: str) -> str:
        """Label a shard, again if its reading or writing fails; returns its name.

        Its report (`name`, `labelled`, and `failed`: reasons by key; see report_name) is written before the index,
        which makes the shard count as done.

        Raises:
            DataError: it cannot be read.
            TrainingError: the device cannot predict even one image.
            OSError: its labels cannot be written.
        """
        for pause in _PAUSES_S:
            try:
                return self._attempt(name)
            except (OSError, DataError) as error:
                _log.warning('%s: %s; tried again in %g s', name, error, pause)
                time.sleep(pause)
        return self._attempt(name)

    def _attempt(self, name: str) -> str:
        shard = ShardDataset(self._shards, shards=[name])
        failed: dict[str, str] = {}
        self._writer.write(
            name,
            self._labels(shard, failed),
            labels_of=shard.sha256(name),
            before_index=lambda count: self._writer.folder.write_json(
                report_name(name), {'name': name, 'labelled': count, 'failed': failed}
            ),
        )
        return name

    def _labels(self, shard: ShardDataset, failed: dict[str, str]) -> Iterator[tuple[str, dict[str, bytes]]]:
        for key_and_samples in self._batches(_read_ahead(shard), failed):
            for key, label in self._predict(key_and_samples, failed):
                try:
                    yield key, encode_label(label)
                except BadSampleError as error:
                    failed[key] = str(error)

    def _batches(
        self, samples: Iterable[tuple[str, Sample | BadSampleError]], failed: dict[str, str]
    ) -> Iterator[list[tuple[str, np.ndarray]]]:
        """Neighbours of one size, at most batch_size of them."""
        batch: list[tuple[str, np.ndarray]] = []
        for key, sample in samples:
            if isinstance(sample, BadSampleError):
                failed[key] = str(sample)
                continue
            if batch and (len(batch) == self._batch_size or batch[0][1].shape != sample.image.shape):
                yield batch
                batch = []
            batch.append((key, sample.image))
        if batch:
            yield batch

    def _predict(
        self, batch: Sequence[tuple[str, np.ndarray]], failed: dict[str, str]
    ) -> Iterator[tuple[str, np.ndarray]]:
        try:
            yield from zip((key for key, _ in batch), self._teacher([image for _, image in batch]), strict=True)
        except PREDICTION_ERRORS as error:
            if len(batch) == 1:
                # Of the image, and not of a GPU whose memory is full at the moment.
                if not isinstance(error, (ImageShapeError, NonFinitePredictionError)):
                    raise TrainingError(str(error)) from error
                failed[batch[0][0]] = str(error)
                return
            reason = error
        else:
            return
        _log.warning('%d images at once cannot be predicted, so each is alone: %s', len(batch), reason)
        # One bad image must not cost its neighbours their labels.
        for one in batch:
            yield from self._predict([one], failed)


def _read_ahead(shard: ShardDataset) -> Iterator[tuple[str, Sample | BadSampleError]]:
    """The samples in their order, some of them decoded ahead."""

    def read(index: int) -> tuple[str, Sample | BadSampleError]:
        try:
            return shard.key(index), shard[index]
        except BadSampleError as error:
            return shard.key(index), error

    with ThreadPoolExecutor(_READERS) as pool:
        indices = iter(range(len(shard)))
        pending = [pool.submit(read, index) for index in itertools.islice(indices, 2 * _READERS)]
        while pending:
            yield pending.pop(0).result()
            pending += [pool.submit(read, index) for index in itertools.islice(indices, 1)]
