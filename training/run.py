"""A stage's output folder: what it was made from, with which recipe, and how far it has come."""

from __future__ import annotations

import contextlib
import fcntl
import os
import platform
import subprocess
import time
from collections.abc import Mapping
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import yaml

from training.errors import MismatchError, RecipeError, TrainingError
from training.files import UNFINISHED, Folder
from training.recipe import as_dict, result_settings

MANIFEST = 'manifest.json'
RECIPE = 'recipe.yaml'
_LOCK = '.lock'


class Run:
    """One run of a stage in its output folder; to be used in a with statement.

    The folder's `manifest.json` records the stage, the recipe, the inputs, the version of the code, the machine, the
    state (`running`, `failed`, `finished`), the `seconds` of all its parts together, and what the stage notes. Entering
    the folder of an unfinished run with the same recipe and inputs continues it; of a finished one, `finished` is true
    and there is nothing to do.

    folder: the output. manifest: what has been noted so far; `note` changes it.

    Raises (on entering):
        RecipeError: no output folder is named, or the stage would write over another maker's files in it.
        MismatchError: the folder is of another stage, recipe or input: the message names the first differences.
        TrainingError: another process works in the folder.
    """

    def __init__(
        self,
        stage: str,
        settings: Any,
        inputs: Mapping[str, str],
        output: str | os.PathLike[str],
        writes: str = '',
    ) -> None:
        """Describe the run.

        Args:
            stage: its name.
            settings: its dataclass; free settings (see recipe.free) may change between the parts of a run.
            inputs: a fingerprint of each input by name, for example the `fingerprint` of a shard folder.
            output: folder or URL.
            writes: glob pattern of what the stage replaces without a look; a folder that has such files and no manifest
                is another maker's.
        """
        if not output:
            raise RecipeError(f'{stage}: name the output folder, output=FOLDER')
        self.folder = Folder(output)
        self.manifest: dict[str, Any] = {}
        self._stage = stage
        self._settings = settings
        self._inputs = dict(inputs)
        self._writes = writes
        self._lock: Any = None
        self._begun = self._before_s = 0.0

    def __enter__(self) -> Run:
        if self._writes and not self.folder.exists(MANIFEST) and (there := self.folder.names(self._writes)):
            raise RecipeError(
                f'{self.folder.url} has {there[0]}, which no run of {self._stage} wrote, and would be replaced: '
                'name another output'
            )
        self._acquire()
        try:
            self._start()
        except BaseException:
            self._release()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: Any) -> None:
        try:
            if error is not None and not self.finished:
                # A full disk is a likely cause, so this may fail too; the error itself is what must come out.
                with contextlib.suppress(OSError):
                    self.note(state='failed', error=f'{kind.__name__}: {error}')
        finally:
            self._release()

    @property
    def finished(self) -> bool:
        """Whether all of it is done."""
        return self.manifest.get('state') == 'finished'

    def note(self, **facts: Any) -> None:
        """Record facts (JSON values), on disk when this returns."""
        self.manifest.update(facts)
        self.manifest |= {'updated': _now(), 'seconds': self._seconds()}
        self.folder.write_json(MANIFEST, self.manifest)

    def finish(self, **facts: Any) -> None:
        """Record facts, and that all is done."""
        self.manifest.pop('error', None)
        self.note(**facts, state='finished', ended=_now())

    def _start(self) -> None:
        self._begun = time.monotonic()
        expected = {'stage': self._stage, 'recipe': result_settings(self._settings), 'inputs': self._inputs}
        if self.folder.exists(MANIFEST):
            self.manifest = self.folder.read_json(MANIFEST)
            found = {key: self.manifest.get(key) for key in expected}
            differences = list(_differences(found, expected))
            if differences:
                raise MismatchError(
                    f'{self.folder.url} holds a {self.manifest.get("stage")} run that does not match: '
                    f'{"; ".join(differences[:4])}. Go on with what it was begun with, or name another output'
                )
            self._before_s = float(self.manifest['seconds'])
            if self.finished:
                return
        else:
            self.manifest = {**expected, 'started': _now()}
        self._remove_unfinished()
        self.folder.write(RECIPE, yaml.safe_dump(as_dict(self._settings), sort_keys=False).encode())
        self.note(state='running', code=code_version(), machine=_machine())

    def _remove_unfinished(self) -> None:
        """What a killed process was writing (Folder.writing). The lock says that nobody else is writing now."""
        if not self.folder.local:
            return
        for folder, below, files in os.walk(self.folder.path):
            # Those are of runs of their own, with their own locks.
            below[:] = [name for name in below if not Path(folder, name, _LOCK).exists()]
            for name in files:
                if name.startswith('.') and name.endswith(UNFINISHED):
                    Path(folder, name).unlink()

    def _seconds(self) -> float:
        return round(self._before_s + time.monotonic() - self._begun, 3)

    def _acquire(self) -> None:
        # Object stores have no locks: there, one process per output is the user's care.
        if not self.folder.local:
            return
        Path(self.folder.path).mkdir(parents=True, exist_ok=True)
        self._lock = open(f'{self.folder.path}/{_LOCK}', 'w')  # noqa: SIM115, held as long as the run
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self._release()
            raise TrainingError(f'{self.folder.url}: another process is at work in this folder') from error

    def _release(self) -> None:
        if self._lock is not None:
            self._lock.close()
            self._lock = None


def finished_manifest(output: str | os.PathLike[str], stage: str | None = None) -> dict[str, Any]:
    """The manifest of a finished run.

    Raises:
        DataError: there is none.
        MismatchError: it is of another stage, or not finished.
    """
    folder = Folder(output)
    manifest = folder.read_json(MANIFEST)
    if stage is not None and manifest.get('stage') != stage:
        raise MismatchError(f'{folder.url} is the output of {manifest.get("stage")}, expected that of {stage}')
    _check_finished(folder, manifest)
    return manifest


def check_complete(output: str | os.PathLike[str]) -> None:
    """Raise MismatchError for what a stage has not finished; a folder without its manifest is another maker's."""
    folder = Folder(output)
    manifest = folder.read_json(MANIFEST) if folder.exists(MANIFEST) else None
    if isinstance(manifest, dict) and 'stage' in manifest:
        _check_finished(folder, manifest)


def _check_finished(folder: Folder, manifest: Mapping[str, Any]) -> None:
    if manifest.get('state') != 'finished':
        raise MismatchError(
            f'{folder.url}: its {manifest.get("stage")} run is {manifest.get("state")}, finish it first'
        )


def code_version() -> str:
    """The package's version, with the commit and whether there are changes where it runs from a git checkout."""
    try:
        installed = version('depth_anything_ros')
    except PackageNotFoundError:
        installed = 'unknown'
    root = Path(__file__).resolve().parents[1]
    if not (root / '.git').exists():
        return installed
    command = ['git', '-C', str(root), 'describe', '--always', '--dirty']
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=10)
    except (OSError, subprocess.TimeoutExpired):  # no git here
        return installed
    return f'{installed}+{done.stdout.strip()}' if done.returncode == 0 else installed


def _machine() -> dict[str, Any]:
    return {'host': platform.node(), 'python': platform.python_version(), 'cpus': os.cpu_count()}


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec='seconds')


def _differences(found: Any, expected: Any, where: str = '') -> Any:
    if isinstance(found, Mapping) and isinstance(expected, Mapping):
        for key in sorted({*found, *expected}):
            inner = f'{where}.{key}' if where else key
            yield from _differences(found.get(key), expected.get(key), inner)
    elif found != expected:
        yield f'{where} was {found!r}, is now {expected!r}'
