"""Units side by side, in processes."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import Any

import cv2

from training.errors import TrainingError
from training.files import Folder
from training.ingest.settings import Settings
from training.ingest.units import Unit, process_unit

_POLL_S = 0.5
# Of this worker process: how many frames all workers have looked at.
_frames: Any = None


def process_units(
    units: Sequence[Unit], settings: Settings, folder: Folder, examples: int, progress: Callable[[int], None]
) -> Iterator[dict[str, Any]]:
    """Process units, in settings.workers processes, and yield each one's report as it is done.

    progress is called with the number of frames since its last call. Raises what process_unit does, and TrainingError
    if a process dies; then those at work end first what they are at, and no other unit is begun.
    """
    if settings.workers == 1 or len(units) <= 1:
        for unit in units:
            yield process_unit(unit, settings, folder, examples, lambda: progress(1))
        return
    # Not fork: it would copy locks that threads of this process may hold, and the lock on the output folder.
    context = multiprocessing.get_context('spawn')
    frames = context.Value('q', 0)
    pool = ProcessPoolExecutor(min(settings.workers, len(units)), context, _start_worker, (frames,))
    try:
        pending = {pool.submit(_work, unit, settings, folder.url, examples) for unit in units}
        shown = 0
        while pending:
            done, pending = wait(pending, _POLL_S, FIRST_COMPLETED)
            progress(frames.value - shown)
            shown = frames.value
            for future in done:
                yield future.result()
    except BrokenProcessPool as error:
        raise TrainingError('a worker process died, perhaps for want of memory: try fewer workers') from error
    finally:
        pool.shutdown(cancel_futures=True)


def _start_worker(frames: Any) -> None:
    global _frames  # noqa: PLW0603, an initializer has no other way
    _frames = frames
    # The processes are the parallelism.
    cv2.setNumThreads(1)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A killed parent cannot end its workers, and the run that goes on must not meet them."""
    multiprocessing.parent_process().join()
    os._exit(1)


def _work(unit: Unit, settings: Settings, url: str, examples: int) -> dict[str, Any]:
    return process_unit(unit, settings, Folder(url), examples, _count_frame)


def _count_frame() -> None:
    with _frames.get_lock():
        _frames.value += 1
