"""Checkpoints of a training: whole or absent, the last two, for a resume at the very bit."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

from accelerate import Accelerator

from training.errors import DataError, TrainingError

CHECKPOINTS = 'checkpoints'
"""The folder of them in a training's output."""
STEPS = 'step-*'
"""Their names in it."""

_KEPT = 2
_STATE = 'state.json'


class CheckpointFolder:
    """The checkpoints of a run, each a folder `step-NNNNNNNNN` as accelerate writes it, and what the loop noted.

    All processes call save and load together.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self._folder = Path(folder)

    def _all(self) -> list[Path]:
        return sorted(self._folder.glob(STEPS))

    def save(self, accelerator: Accelerator, step: int, state: dict[str, Any]) -> None:
        """Write the checkpoint after so many steps and drop all but the last two.

        Raises:
            TrainingError: it cannot be written, for example because the disk is full. The old ones are still there.
        """
        path = self._folder / f'step-{step:09d}'
        unfinished = self._folder / f'.{path.name}.unfinished'
        try:
            if accelerator.is_main_process:
                # What a process that was killed has left.
                for left in self._folder.glob('.step-*.unfinished'):
                    shutil.rmtree(left)
                unfinished.mkdir(parents=True)
            accelerator.wait_for_everyone()
            accelerator.save_state(str(unfinished))
            accelerator.wait_for_everyone()
            if accelerator.is_main_process:
                (unfinished / _STATE).write_text(json.dumps(state))
                self._publish(unfinished, path)
        except Exception as error:  # of torch, safetensors and the system: each has its own for a full disk
            shutil.rmtree(unfinished, ignore_errors=True)
            kept = [old.name for old in self._all()]
            there = f'{kept[-1]} is whole and will be gone on from' if kept else 'there is none yet'
            raise TrainingError(
                f'the checkpoint {path} cannot be written ({_first_line(error)}); {there}: make room, and start again'
            ) from error

    def _publish(self, unfinished: Path, path: Path) -> None:
        for file in [*unfinished.rglob('*'), unfinished]:
            _flush(file)
        shutil.rmtree(path, ignore_errors=True)
        unfinished.rename(path)
        _flush(self._folder)
        for old in self._all()[:-_KEPT]:
            shutil.rmtree(old)

    def load(self, accelerator: Accelerator) -> dict[str, Any]:
        """Go back to the last checkpoint; returns what was noted with it, {} if there is none.

        Raises:
            DataError: it cannot be read.
        """
        found = self._all()
        if not found:
            return {}
        try:
            accelerator.load_state(str(found[-1]))
            return json.loads((found[-1] / _STATE).read_text())
        except Exception as error:  # of torch, safetensors, accelerate and json
            raise DataError(
                f'the checkpoint {found[-1]} cannot be read ({_first_line(error)}): remove that folder to go on from '
                'the one before'
            ) from error


def _flush(path: Path) -> None:
    """Bring a file or folder to the disk: a checkpoint is to survive a power cut too."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), '')[:300] or type(error).__name__
