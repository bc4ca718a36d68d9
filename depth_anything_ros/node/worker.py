"""The worker: threads that make depth of the frames of all cameras, with one model."""

from __future__ import annotations

from collections.abc import Iterable
from threading import Event, Thread
from time import monotonic
from typing import TYPE_CHECKING

from depth_anything_ros.node.latest import Latest
from depth_anything_ros.node.logs import Complaints
from depth_anything_ros.node.stream import Frame, Job, Stream

if TYPE_CHECKING:
    from depth_anything_ros.estimation import DepthEstimator, Prediction

# How long the worker may take to finish its frames before we stop waiting for it.
_JOIN_S = 30.0


class Worker:
    """Threads that take the newest frame of a camera each, or one that takes those of all, and work on them.

    Where batches pay, which is on a GPU, one thread predicts the waiting frames of one size together. Elsewhere there
    is a thread for each camera, of which as many work at once as the estimator says, each on one frame of the camera
    that waits longest: so each is the newest when its turn comes. No thread waits for a frame that is not there, and a
    frame that cannot be predicted does not harm another.
    """

    def __init__(self, estimator: DepthEstimator, cameras: int, logger) -> None:
        self._estimator = estimator
        self._count = 1 if estimator.batches else cameras
        self._logger = logger
        self._complaints = Complaints(logger)
        self._warm: set[tuple[int, ...]] = set()
        self._slot: Latest[Stream, Frame] | None = None
        self._threads: list[Thread] = []
        self._abandoned = Event()

    def start(self) -> Latest[Stream, Frame]:
        """Begin to work on what is put into the slot that is returned."""
        self._slot, self._abandoned = Latest(), Event()
        for _ in range(self._count):
            thread = Thread(target=self._work, args=(self._slot, self._abandoned), name='depth', daemon=True)
            thread.start()
            self._threads.append(thread)
        return self._slot

    def stop(self) -> None:
        """Finish what is in work, and nothing else."""
        if self._slot is None:
            return
        for stream in self._slot.close():
            stream.skip()
        deadline = monotonic() + _JOIN_S
        for thread in self._threads:
            thread.join(max(0.0, deadline - monotonic()))
        if any(thread.is_alive() for thread in self._threads):
            # The node may be activated again before that frame is done.
            self._abandoned.set()
            self._logger.error(f'the worker did not finish its frame within {_JOIN_S:g} s: it will not be published')
        self._slot, self._threads = None, []

    def _work(self, slot: Latest[Stream, Frame], abandoned: Event) -> None:
        most = None if self._estimator.batches else 1
        while (frames := slot.take(most, lambda: self._estimator.parallel)) is not None:
            jobs = [job for stream, frame in frames.items() if (job := _prepared(stream, frame)) is not None]
            for batch in _batches(jobs):
                if slot.closed:
                    for job in batch:
                        job.stream.skip()
                else:
                    self._process(batch, abandoned)
            slot.done(frames)

    def _process(self, batch: list[Job], abandoned: Event) -> None:
        try:
            predictions = self._predict(batch)
        except Exception as error:  # a bug or a full GPU must not end the stream, and is said aloud
            if len(batch) == 1:
                batch[0].stream.reject(error)
                return
            # The fault of one image, or of the memory that all need at once.
            self._complaints.warn(f'{len(batch)} images in one batch failed, so each is predicted alone: {error}')
        else:
            for job, prediction in zip(batch, predictions, strict=True):
                if abandoned.is_set():
                    job.stream.skip()
                else:
                    _finish(job, prediction)
            return
        # Only here, since the traceback keeps what the batch has on the GPU.
        for job in batch:
            self._process([job], abandoned)

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
