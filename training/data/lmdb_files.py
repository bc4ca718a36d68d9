"""LMDB folders (data.mdb), read only: opened when first needed, once in each process."""

from __future__ import annotations

import os
import threading
from typing import Any

from training.errors import BadSampleError, DataError, TrainingError

# Of this process, by path and process id: LMDB forbids to use one after a fork, or to open it twice.
_environments: dict[tuple[str, int], Any] = {}
_opening = threading.Lock()


def lmdb_keys(path: str) -> list[bytes]:
    """All keys, in their order; raises as lmdb_value.

    It is closed again, so that processes which are forked from this one can open it.
    """
    with _opening:
        known = _environments.get((path, os.getpid()))
        environment = known or _open(path)
        try:
            with environment.begin() as transaction, transaction.cursor() as cursor:
                return list(cursor.iternext(keys=True, values=False))
        finally:
            if known is None:
                environment.close()


def lmdb_value(path: str, key: bytes) -> bytes:
    """The value of a key.

    Args:
        path: the folder that holds `data.mdb`.
        key: of the value.

    Raises:
        DataError: it is no LMDB, or cut short.
        BadSampleError: there is no such key.
        TrainingError: lmdb is not installed.
    """
    with _environment(path).begin() as transaction:
        value = transaction.get(key)
    if value is None:
        raise BadSampleError(f'{path}: there is no key {key!r} any more')
    return value


def _environment(path: str) -> Any:
    where = path, os.getpid()
    with _opening:
        if where not in _environments:
            _environments[where] = _open(path)
        return _environments[where]


def _open(path: str) -> Any:
    try:
        import lmdb  # noqa: PLC0415 - optional
    except ImportError as error:
        raise TrainingError(f'reading {path} needs lmdb: pip install lmdb') from error
    try:
        # Nobody writes it, so there is nothing to lock, also on a disk that cannot be written to.
        environment = lmdb.open(path, readonly=True, lock=False, create=False, readahead=False)
    except lmdb.Error as error:
        raise DataError(f'{path}: no LMDB that can be read: {error}') from error
    expected = (environment.info()['last_pgno'] + 1) * environment.stat()['psize']
    found = os.path.getsize(os.path.join(path, 'data.mdb'))
    if found < expected:
        # Reading behind the end of a mapped file would kill the process.
        environment.close()
        raise DataError(f'{path}: data.mdb is cut short, {found} of {expected} bytes: fetch it again')
    return environment
