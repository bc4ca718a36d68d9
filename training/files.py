"""Folders, on this machine or in an object store, in which a file is either whole or not there."""

from __future__ import annotations

import glob
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import fsspec
from fsspec.implementations.local import LocalFileSystem

from training.errors import DataError

# How the name of a file ends, which begins with a dot, that is not whole yet.
UNFINISHED = '.unfinished'


class _LocalFiles(LocalFileSystem):
    """Local files, listed with what lies behind links to folders: fsspec itself takes such a link for a file."""

    def ls(self, path: str, detail: bool = False, **more: Any) -> list[Any]:
        found = super().ls(path, detail=detail, **more)
        for info in found if detail else ():
            if info['islink'] and _leads_on(info['name']):
                info['type'] = 'directory'
        return found


def _leads_on(link: str) -> bool:
    """Whether a link leads to a folder that it does not lie in itself: from such a one a listing would never return."""
    return os.path.isdir(link) and os.path.realpath(link) not in map(os.path.realpath, Path(link).parents)


class Folder:
    """A folder by path or URL (`/data/x`, `s3://bucket/x`, `memory://x`: whatever fsspec has a driver for).

    url: as it was given. Names are relative to it, with `/` between their parts. A file that is missing or unreadable
    raises DataError; a write that fails raises OSError and leaves the old file.
    """

    def __init__(self, url: str | os.PathLike[str]) -> None:
        self.url = os.fspath(url)
        if not self.url:
            raise DataError('the path of a folder is empty')
        try:
            self._files, path = fsspec.core.url_to_fs(os.path.expanduser(self.url))
        except (ImportError, ValueError) as error:
            raise DataError(f'{self.url}: {error}') from error
        if self.local:
            self._files = _LocalFiles()
        self._path = path.rstrip('/')

    @property
    def local(self) -> bool:
        """Whether it is in this machine's file system (which may be a shared mount)."""
        return isinstance(self._files, LocalFileSystem)

    @property
    def path(self) -> str:
        """The path that the file system itself uses: without the protocol, absolute if local."""
        return self._path

    def exists(self, name: str = '') -> bool:
        """Whether there is a file or folder of that name; of the folder itself without a name."""
        return self._files.exists(self._full(name))

    def names(self, pattern: str = '*') -> list[str]:
        """The names that match a glob pattern (`**` for all depths), sorted.

        Links to local folders are followed, but not back into a folder on the way to them.
        """
        found = self._files.glob(f'{glob.escape(self._path)}/{pattern}')
        return sorted(name[len(self._path) :].lstrip('/') for name in found)

    def size(self, name: str) -> int:
        """Bytes of a file."""
        return self._guarded(name, self._files.size)

    def read(self, name: str, start: int | None = None, end: int | None = None) -> bytes:
        """A file's bytes, or those from start up to, not including, end."""
        return self._guarded(name, lambda path: self._files.cat_file(path, start=start, end=end))

    def read_json(self, name: str) -> dict[str, Any]:
        """A file's content as a JSON object; raises DataError if it is none."""
        try:
            content = json.loads(self.read(name))
        except ValueError as error:
            raise DataError(f'{self._full(name)} is no JSON: {error}') from error
        if not isinstance(content, dict):
            raise DataError(f'{self._full(name)} holds a JSON {type(content).__name__} and no object')
        return content

    def open(self, name: str) -> BinaryIO:
        """A file for reading from any position."""
        return self._guarded(name, lambda path: self._files.open(path, 'rb'))

    @contextmanager
    def writing(self, name: str) -> Iterator[BinaryIO]:
        """A file for writing, which gets its name when the block ends well; until then there is the old one, if any."""
        path = self._full(name)
        self._files.makedirs(self._files._parent(path), exist_ok=True)
        # Object stores show a file when it is closed, but then also after an exception: so they get the same treatment.
        head, _, tail = path.rpartition('/')
        unfinished = f'{head}/.{tail}.{os.getpid()}{UNFINISHED}'
        try:
            with self._files.open(unfinished, 'wb') as file:
                yield file
                if self.local:
                    file.flush()
                    os.fsync(file.fileno())
            if self.local:
                os.replace(unfinished, path)
            else:
                self._files.mv(unfinished, path)
        finally:
            if self._files.exists(unfinished):
                self._files.rm(unfinished)

    def write(self, name: str, content: bytes) -> None:
        """Write a file, whole or not at all."""
        with self.writing(name) as file:
            file.write(content)

    def write_json(self, name: str, content: Any) -> None:
        """Write a file of JSON, indented, whole or not at all."""
        self.write(name, (json.dumps(content, indent=2) + '\n').encode())

    def _full(self, name: str) -> str:
        return f'{self._path}/{name}' if name else self._path

    def _guarded(self, name: str, action: Any) -> Any:
        path = self._full(name)
        try:
            return action(path)
        except FileNotFoundError as error:
            raise DataError(f'{path}: no such file') from error
        except OSError as error:
            raise DataError(f'{path}: cannot be read: {error}') from error


def sha256(content: bytes) -> str:
    """Hex digest."""
    return hashlib.sha256(content).hexdigest()


def fingerprint(value: Any) -> str:
    """A digest of a JSON value that does not depend on the order of keys: 16 hex digits."""
    return sha256(json.dumps(value, sort_keys=True, separators=(',', ':')).encode())[:16]
