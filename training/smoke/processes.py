"""Stages in processes of their own, some side by side."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from training.errors import TrainingError
from training.files import Folder
from training.recipe import as_dict
from training.run import MANIFEST

# Lines of a failed stage's log that the error repeats.
_TOLD = 6


def run_stages(jobs: Mapping[str, tuple[str, Any]], output: Path, processes: int) -> None:
    """Run stages, so many at a time, those that are finished not at all.

    Args:
        jobs: by name, the stage and its settings. The name is that of its recipe and log in the output folder.
        output: of the recipes (`recipes/`) and logs (`logs/`).
        processes: at a time, each with one thread of its own; 0: this process, one stage after another.

    Raises:
        TrainingError: one of them has failed; those beside it are ended, and go on when it is started again.
    """
    left = [name for name, (_, settings) in jobs.items() if not _finished(settings.output)]
    if not processes:
        for stage, settings in (jobs[name] for name in left):
            importlib.import_module(f'training.stages.{stage}').run(settings)
        return
    for start in range(0, len(left), processes):
        _side_by_side({name: jobs[name] for name in left[start : start + processes]}, output)


def _finished(output: str) -> bool:
    folder = Folder(output)
    return folder.exists(MANIFEST) and folder.read_json(MANIFEST).get('state') == 'finished'


def _side_by_side(jobs: Mapping[str, tuple[str, Any]], output: Path) -> None:
    begun = time.monotonic()
    running = {name: _start(name, stage, settings, output) for name, (stage, settings) in jobs.items()}
    print(f'{" and ".join(running)} ...', file=sys.stderr, flush=True)
    try:
        while any(process.poll() is None for process in running.values()):
            _check(running, output)
            time.sleep(0.2)
        _check(running, output)
    finally:
        for process in running.values():
            process.terminate()
        for process in running.values():
            process.wait()
            process.stdin.close()
    print(f'... {time.monotonic() - begun:.0f} s', file=sys.stderr, flush=True)


def _start(name: str, stage: str, settings: Any, output: Path) -> subprocess.Popen:
    recipe, log = output / 'recipes' / f'{name}.yaml', _log(output, name)
    for path in (recipe, log):
        path.parent.mkdir(parents=True, exist_ok=True)
    recipe.write_text(yaml.safe_dump(as_dict(settings), sort_keys=False))
    command = [sys.executable, '-m', 'training.smoke.stage', stage, '--recipe', str(recipe)]
    # Two processes with two threads each on two cores would be slower than with one each.
    environment = os.environ | {'OMP_NUM_THREADS': '1'}
    with log.open('ab') as file:
        # Nothing is written to its standard input: when this process is gone, that is closed, and the stage ends.
        return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=file, stderr=file, env=environment)


def _log(output: Path, name: str) -> Path:
    return output / 'logs' / f'{name}.log'


def _check(running: Mapping[str, subprocess.Popen], output: Path) -> None:
    for name, process in running.items():
        if process.poll():
            said = _last_lines(_log(output, name).read_text(errors='replace').splitlines())
            raise TrainingError(f'{name} has ended with exit code {process.returncode}: {said}')


def _last_lines(lines: Sequence[str]) -> str:
    return ' / '.join(line.strip() for line in lines[-_TOLD:] if line.strip()) or 'it has said nothing'
