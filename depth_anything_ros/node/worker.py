"""The worker: one thread that predicts the frames of all cameras."""

from __future__ import annotations

from collections.abc import Iterable
from threading import Thread
from typing import TYPE_CHECKING

from depth_anything_ros.node.latest import Latest
from depth_anything_ros.node.logs import Complaints
from depth_anything_ros.node.stream import Frame, Job, Stream

if TYPE_CHECKING:
    from depth_anything_ros.estimation import DepthEstimator, Prediction

# How long a worker may take to finish its frames before we stop waiting for it.
_JOIN_S = 30.0


class Worker:
    """Takes the newest frame of every camera that has one, and predicts those of one size in one batch.

    It takes as many as pay in a batch, one at least, of the cameras that wait longest: so each is the newest when its
    turn comes. On the host those of a batch are finished side by side. It never waits for a frame that is not there,
    and a frame that cannot be predicted does not harm those beside it.
    """

    def __init__(self, estimator: DepthEstimator, logger) -> None:
        self._estimator = estimator
        self._logger = logger
        self._complaints = Complaints(logger)
        self._warm: set[tuple[int, ...]] = set()
        self._slot: Latest[Stream, Frame] | None = None
        self._thread: Thread | None = None

    def start(self) -> Latest[Stream, Frame]:
        """Begin to work on what is put into the slot that is returned."""
        self._slot = Latest()
        self._thread = Thread(target=self._work, args=(self._slot,), name='depth', daemon=True)
        self._thread.start()
        return self._slot

    def stop(self) -> None:
        """Finish the batch in work, and no other."""
        if self._slot is None or self._thread is None:
            return
        self._slot.close()
        self._thread.join(_JOIN_S)
        if self._thread.is_alive():
            self._logger.error(f'the worker did not finish its frame within {_JOIN_S:g} s')
        self._slot = self._thread = None

    def _work(self, slot: Latest[Stream, Frame]) -> None:
        while (frames := slot.take(self._estimator.most_at_once)) is not None:
            jobs = [job for stream, frame in frames.items() if (job := _prepared(stream, frame)) is not None]
            for batch in _batches(jobs):
                if slot.closed:
                    return
                self._process(batch)

    def _process(self, batch: list[Job]) -> None:
        try:
            predictions = self._predict(batch)
        except Exception as error:  # a bug or a full GPU must not end the stream, and is said aloud
            if len(batch) == 1:
                batch[0].stream.reject(error)
                return
            # The fault of one image, or of the memory that all need at once.
            self._complaints.warn(f'{len(batch)} images in one batch failed, so each is predicted alone: {error}')
            for job in batch:
                self._process([job])
            return
        first, *others = zip(batch, predictions, strict=True)
        if self._estimator.keeps_on_device:  # which does in turn what it is told
            for work in (first, *others):
                _finish(*work)
            return
        # Each is of another camera, which has all that it needs to itself.
        threads = [Thread(target=_finish, args=work, name='finish', daemon=True) for work in others]
        for thread in threads:
            thread.start()
        _finish(*first)
        for thread in threads:
            thread.join()

    def _predict(self, batch: list[Job]) -> list[Prediction] | list[None]:
        images, first = [job.image for job in batch], batch[0]
        if not first.idle:
            return self._estimator.predict(
                images,
                at_network_size=first.settings.output_size == 'network',
                keep_on_device=self._estimator.keeps_on_device,
            )
        # Compile for so many of this size while nobody waits, so that the first subscriber does not.
        shape = len(images), *first.image.shape[:2]
        if shape not in self._warm:
            self._warm.add(shape)
            self._estimator.predict(images)
        return [None] * len(batch)


def _prepared(stream: Stream, frame: Frame) -> Job | None:
    try:
        return stream.prepare(frame)
    except Exception as error:  # as above
        stream.reject(error)
        return None


def _finish(job: Job, prediction: Prediction | None) -> None:
    try:
        job.stream.finish(job, prediction)
    except Exception as error:  # as above
        job.stream.reject(error)


def _batches(jobs: Iterable[Job]) -> Iterable[list[Job]]:
    """Jobs that the network can do at once."""
    batches: dict[tuple, list[Job]] = {}
    for job in jobs:
        batches.setdefault((job.image.shape, job.settings.output_size, job.idle), []).append(job)
    return batches.values()
