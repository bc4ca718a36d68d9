"""Which bags there are, what they are called, and which are one and the same."""

from __future__ import annotations

import glob
import hashlib
import logging
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from training.errors import DataError

_logger = logging.getLogger(__name__)

_STORAGE = ('.db3', '.mcap')
_SUFFIXES = (*_STORAGE, '.bag')
_METADATA = 'metadata.yaml'
# A bag may be of hundreds of gigabytes. Every message has its time, so recordings that differ do so everywhere.
_SAMPLES, _SAMPLE_BYTES = 64, 1 << 16


class BagFile(NamedTuple):
    """A bag. name: short, without a dot, and of no other bag of the run. fingerprint: of its content."""

    name: str
    path: Path
    fingerprint: str


def find_bags(paths: Sequence[str]) -> list[BagFile]:
    """The bags that paths stand for, sorted by name; one that comes twice, or as a copy, is taken once.

    Args:
        paths: rosbag2 folders, .db3, .mcap and .bag files, folders that contain such, or glob patterns of these.

    Raises:
        DataError: a path leads to no bag.
    """
    found = sorted({path.resolve() for text in paths for path in _expand(text)})
    names = _names(found)
    unique: dict[str, BagFile] = {}
    for bag in sorted(BagFile(names[path], path, _fingerprint(path)) for path in found):
        if bag.fingerprint in unique:
            _logger.warning('%s has the same content as %s: left out', bag.path, unique[bag.fingerprint].path)
        unique.setdefault(bag.fingerprint, bag)
    return list(unique.values())


def _expand(text: str) -> Iterator[Path]:
    path = Path(os.path.expanduser(text))
    matches = [path] if path.exists() else [Path(match) for match in glob.glob(str(path), recursive=True)]
    if not matches:
        raise DataError(f'{text}: no such file or folder, and no bag matches it')
    bags = [bag for match in matches for bag in _below(match, ())]
    if not bags:
        raise DataError(
            f'{text}: no bag here, expected a rosbag2 folder, a .db3, .mcap or .bag file, or folders of such'
        )
    return iter(bags)


def _below(path: Path, above: tuple[Path, ...]) -> Iterator[Path]:
    """The bags that a path is or contains. above: the folders on the way to it, into which no link leads back."""
    try:
        if path.is_file():
            if path.suffix in _SUFFIXES:
                yield path
            return
        folder = path.resolve()
        if not path.is_dir() or folder in above:
            return
        if (path / _METADATA).is_file() and _storage(path):
            yield path
            return
        inner = sorted(path.iterdir())
    except (OSError, RuntimeError) as error:  # links that lead to each other are a RuntimeError before Python 3.13
        _logger.warning('%s cannot be read, so no bag is looked for there: %s', path, error)
        return
    for one in inner:
        yield from _below(one, (*above, folder))


def _storage(folder: Path) -> list[Path]:
    """The files of a rosbag2 folder that hold messages; they may be compressed (.db3.zstd)."""
    return sorted(path for path in folder.iterdir() if any(suffix in path.suffixes for suffix in _STORAGE))


def _names(paths: Iterable[Path]) -> dict[Path, str]:
    """A bag's own name; of those that share one, with as many of the folders above as tell them apart."""
    beside = Counter((path.parent, path.stem) for path in paths if path.is_file())
    parts = {
        path: [*map(_plain, path.parts[1:-1]), _plain(path.name if beside[path.parent, path.stem] != 1 else path.stem)]
        for path in paths
    }
    names: dict[Path, str] = {}
    used = 0
    while len(names) < len(parts):
        used += 1
        tried = {path: '/'.join(parts[path][-used:]) for path in parts if path not in names}
        counts = Counter(tried.values())
        names |= {path: name for path, name in tried.items() if counts[name] == 1}
        # What _plain makes one of two.
        same = [path for path in tried if path not in names and used > len(parts[path])]
        names |= {path: f'{tried[path]}_{hashlib.sha256(os.fsencode(path)).hexdigest()[:8]}' for path in same}
    return names


def _plain(part: str) -> str:
    """Without what the keys of shards cannot have."""
    return '_'.join(part.replace('.', ' ').split()) or '_'


def _fingerprint(path: Path) -> str:
    digest = hashlib.sha256()
    for file in _storage(path) if path.is_dir() else [path]:
        size = file.stat().st_size
        digest.update(f'{size};'.encode())
        with open(file, 'rb') as content:
            for index in range(_SAMPLES):
                content.seek(index * max(size - _SAMPLE_BYTES, 0) // (_SAMPLES - 1), os.SEEK_SET)
                digest.update(content.read(_SAMPLE_BYTES))
    return digest.hexdigest()[:16]
