"""The processes in which torch's DataLoader reads."""

from __future__ import annotations

import multiprocessing
import os
import threading
from typing import Any

import cv2


def worker_options(workers: int, module: str) -> dict[str, Any]:
    """What a DataLoader is to be given for so many workers that run code of a module, given by its name."""
    if not workers:
        return {'num_workers': 0}
    # A fork of this process, with its threads of torch and of OpenVINO, may hang or crash. The server has none, and its
    # forks cost nothing: with spawn each worker would import torch anew, 3 s of a core.
    context = multiprocessing.get_context('forkserver')
    context.set_forkserver_preload([module])
    return {'num_workers': workers, 'multiprocessing_context': context, 'worker_init_fn': _start_worker}


def _start_worker(_: int) -> None:
    # One thread each: the workers are the parallel part. (The loader does the same for torch.)
    cv2.setNumThreads(0)
    threading.Thread(target=end_with_parent, daemon=True).start()


def end_with_parent() -> None:
    """Wait until the process that this one was made for is gone, and end this one."""
    # The loader's own watch looks at the parent by its number, which is that of the fork server: after a SIGKILL of
    # the training both would stay for ever.
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
