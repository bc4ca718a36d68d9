"""The cache of what is made of networks: exported once, and read at every later start.

In `$DEPTH_ANYTHING_CACHE`, or else in `compiled` of this package's folder in the user's cache. An entry is one file:
the SHA-256 of the content, and the content. It appears in one step, so that processes may share the folder. To delete
it costs time only; of an int8 network, the time of whoever calibrates it again.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import secrets
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path

import torch

from depth_anything_ros import network as network_package
from depth_anything_ros.checkpoints.loading import user_cache_folder
from depth_anything_ros.network import DepthAnything, weights_fingerprint

_log = logging.getLogger(__name__)

_DIGEST_BYTES = 32
# Of the largest network an entry has 1.3 GB, of the smallest 19 MB. A robot has few; the oldest go.
_MAX_ENTRIES = 32
# Names of entries and of unfinished ones: the folder may be one where users keep other things.
_OURS = re.compile(r'.+-\d+(x\d+)*-\w+-[0-9a-f]{16}\.\w+|\.\w{8}\.unfinished')


def cache_folder() -> Path:
    """Where the entries are; it need not exist."""
    chosen = os.environ.get('DEPTH_ANYTHING_CACHE')
    return (chosen and _expanded(chosen)) or user_cache_folder() / 'compiled'


@cache
def _expanded(chosen: str) -> Path | None:
    """The folder that is asked for; None, with one warning in the log, if it is of a user whom nobody knows."""
    try:
        return Path(chosen).expanduser()
    except RuntimeError as error:
        _log.warning('$DEPTH_ANYTHING_CACHE is %s (%s): %s serves', chosen, error, user_cache_folder() / 'compiled')
        return None


class Artefacts:
    """The cache's entries of one network."""

    def __init__(self, network: DepthAnything, form: str, versions: Mapping[str, str]) -> None:
        """form: of the entries, their suffix. versions: of the libraries that make them, by name."""
        self._name, self._form = network.architecture.name, form
        self._key = {
            'architecture': repr(network.architecture),
            'weights': weights_fingerprint(network),
            'code': _code_fingerprint(),
            'torch': torch.__version__,
            **versions,
        }
        # What `has` has found of files, by path: which file it was, and whether it is sound.
        self._found: dict[Path, tuple[tuple[int, int], bool]] = {}

    def path(self, shape: tuple[int, ...], precision: str) -> Path:
        """Where the entry is, or would be, for batches of this shape."""
        key = json.dumps({**self._key, 'shape': list(shape), 'precision': precision}, sort_keys=True)
        size = 'x'.join(map(str, shape))
        digest = hashlib.sha256(key.encode()).hexdigest()[:16]
        return cache_folder() / f'{self._name}-{size}-{precision}-{digest}.{self._form}'

    def has(self, shape: tuple[int, ...], precision: str) -> bool:
        """Whether the entry is there and sound. A file is read once for that, however often it is asked."""
        path = self.path(shape, precision)
        try:
            status = path.stat()
        except OSError:
            return False
        # An entry is never changed, only replaced. (To read one changes its times.)
        which = status.st_ino, status.st_size
        if self._found.get(path, (None, False))[0] != which:
            self._found[path] = which, read(path) is not None
        return self._found[path][1]

    def read_or_make(self, shape: tuple[int, ...], precision: str, make: Callable[[], bytes]) -> bytes:
        """The entry's content, or what make() gives, which is then the entry's."""
        path = self.path(shape, precision)
        content = read(path)
        if content is None:
            content = make()
            write(path, content)
        return content


def read(path: Path) -> bytes | None:
    """The content of an entry; None if it is not there, or is damaged, which is logged."""
    try:
        data = memoryview(path.read_bytes())
    except FileNotFoundError:
        return None
    except OSError as error:
        _log.warning('%s cannot be read (%s): made anew', path, error.strerror or error)
        return None
    with suppress(OSError):  # somebody else's folder
        os.utime(path)  # the least recently used go first
    digest, content = data[:_DIGEST_BYTES], data[_DIGEST_BYTES:]
    if hashlib.sha256(content).digest() != digest:
        _log.warning('%s is damaged: made anew', path)
        return None
    return bytes(content)


def write(path: Path, content: bytes) -> bool:
    """Make an entry; False, with a warning in the log, if the folder does not take it."""
    # Not of tempfile, whose files nobody else can read, whatever the umask.
    unfinished = path.with_name(f'.{secrets.token_hex(4)}.unfinished')
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with unfinished.open('xb') as file:
            file.write(hashlib.sha256(content).digest())
            file.write(content)
        os.replace(unfinished, path)
        _remove_oldest(path.parent)
    except OSError as error:
        _log.warning(
            'nothing can be kept in %s (%s): the network is compiled at every start; $DEPTH_ANYTHING_CACHE may name '
            'another folder',
            path.parent,
            error.strerror or error,
        )
        return False
    finally:
        with suppress(OSError):
            unfinished.unlink()
    return True


def _remove_oldest(folder: Path) -> None:
    """Unfinished files of processes that were killed count too."""
    ages = []
    for path in folder.iterdir():
        if _OURS.fullmatch(path.name):
            with suppress(FileNotFoundError):  # another process was faster
                ages.append((path.stat().st_mtime, path))
    for _, path in sorted(ages)[:-_MAX_ENTRIES]:
        with suppress(OSError):  # another user's, in a folder for all: the entry just made counts
            path.unlink(missing_ok=True)


@cache
def _code_fingerprint() -> str:
    """Of the code that decides what an export is: an entry of another version is not taken for one of this."""
    sources = [*sorted(Path(network_package.__file__).parent.glob('*.py')), Path(__file__).with_name('export.py')]
    digest = hashlib.sha256()
    for source in sources:
        digest.update(source.read_bytes())
    return digest.hexdigest()[:16]
