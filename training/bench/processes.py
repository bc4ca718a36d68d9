"""Measurements in processes of their own."""

from __future__ import annotations

import multiprocessing
import signal
import threading
import traceback
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from typing import Any, TypeVar

from training.data.workers import end_with_parent
from training.errors import TrainingError

# Forks of a server that has imported all of it once, and computed nothing: see worker_options.
_processes = multiprocessing.get_context('forkserver')

Case = TypeVar('Case')


def prepare(modules: Sequence[str]) -> None:
    """Say which modules the processes need, before the first of them."""
    _processes.set_forkserver_preload([*modules])


def in_process(measure: Callable[[Case], dict[str, Any]], case: Case) -> dict[str, Any]:
    """What `measure` finds of a case in a process that is its own, so that its memory and its end are too.

    Args:
        measure: of a module. It gives figures.
        case: can be pickled.

    Returns:
        The figures; of one that failed `reason`, in words, alone.
    """
    receiver, sender = _processes.Pipe(duplex=False)
    process = _processes.Process(target=_answer, args=(sender, measure, case))
    process.start()
    # Now the child's end is the only one: when it dies, there is no more to receive.
    sender.close()
    try:
        return receiver.recv()
    except EOFError:
        process.join()
        return {'reason': _ended(process.exitcode)}
    except BaseException:  # such as Ctrl-C: what it would still measure nobody waits for
        process.terminate()
        raise
    finally:
        process.join()
        receiver.close()


def _answer(sender: Connection, measure: Callable[[Case], dict[str, Any]], case: Case) -> None:
    threading.Thread(target=end_with_parent, daemon=True).start()
    sender.send(figures_or_reason(measure, case))


def figures_or_reason(measure: Callable[[Case], dict[str, Any]], case: Case) -> dict[str, Any]:
    """As in_process, in this process. What is no TrainingError leaves its traceback on stderr."""
    try:
        return measure(case)
    except TrainingError as error:
        return {'reason': str(error)}
    except Exception as error:  # such as torch's for want of memory: whatever it is, the other cases go on
        traceback.print_exc()
        return {'reason': f'{type(error).__name__}: {next(iter(str(error).strip().splitlines()), "")[:300]}'}


def _ended(code: int | None) -> str:
    if code is not None and code < 0:
        name = signal.Signals(-code).name
        return f'its process was ended by {name}' + (', perhaps for want of memory' if name == 'SIGKILL' else '')
    return f'its process ended with exit code {code}'
