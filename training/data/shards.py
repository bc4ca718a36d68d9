"""Shards: WebDataset tar files with an index, so that any sample is one read away.

A folder of shards holds, for each shard, `<split>-NNNNNN.tar` and `<split>-NNNNNN.index.json`. The tar is an ordinary
WebDataset shard, which its library and any tar can read. The index says where in it each sample's parts are. It is
written last: a tar without an index is unfinished.

The parts of a sample, by suffix:

    jpg, jpeg, png, webp   the image
    json                   Sample.meta
    depth.npy              Sample.depth, (H, W) float16 or float32
    points.npy             Sample.points, (N, 3) float32
    valid.png              Sample.valid, uint8, 255 where the image is one

Pseudo-labels lie in a folder of their own, whose shards have the names of those they label, and whose samples have
their keys (a sample that could not be labelled is missing):

    disparity.png          uint16 (h, w): round((d - low) / (high - low) * 65535) of the teacher's disparity d, at the
                           size at which it is stored, which may be smaller than the image
    json                   `low`, `high`: the teacher's range in this image
"""

from __future__ import annotations

import bisect
import hashlib
import io
import itertools
import json
import os
import re
import tarfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
import webdataset

from depth_anything_ros.messages import InvalidMessageError, check_picture
from training.data.sample import Dataset, Sample
from training.errors import BadSampleError, DataError, MismatchError
from training.files import Folder, fingerprint

TARS = '*.tar'
IMAGE_SUFFIXES = ('jpg', 'jpeg', 'png', 'webp')
_INDEX = '.index.json'
# How JPEG and PNG begin. WebP's decoder refuses what is cut short by itself.
_CHECKED = (b'\xff\xd8\xff', b'\x89PNG')
# What was measured of the image's pixels.
_MEASURED = frozenset(('depth.npy', 'points.npy', 'valid.png'))
# Shards whose index is kept in memory, per process.
_CACHED_INDICES = 64


class ShardWriter:
    """Writes shards of a folder, each whole or not at all."""

    def __init__(self, folder: Folder) -> None:
        self.folder = folder

    def done(self, name: str) -> bool:
        """Whether the shard is there, whole."""
        return self.folder.exists(name + _INDEX)

    def write(
        self,
        name: str,
        samples: Iterable[tuple[str, Mapping[str, bytes]]],
        labels_of: str | None = None,
        before_index: Callable[[int], None] | None = None,
    ) -> dict[str, Any]:
        """Write a shard.

        Args:
            name: without suffix, for example `train-000000`.
            samples: key and parts (bytes by suffix) of each; consumed as it is written, nothing is held in memory. The
                same samples give the same bytes.
            labels_of: of a shard of labels, the sha256 of the shard that they label.
            before_index: called with the number of samples when all are written, but before the shard counts as done.

        Returns:
            The index: `sha256` of the tar, `bytes`, and `samples`, for each [key, {suffix: [offset, size]}].

        Raises:
            DataError: two samples have one key, or a key is not fit to be one.
        """
        with self.folder.writing(f'{name}.tar') as file:
            hashing = _HashingFile(file)
            keys: set[str] = set()
            # Plain owner, mode and time: the bytes depend on the samples alone.
            with webdataset.TarWriter(hashing, encoder=False, mtime=0, user='', group='') as tar:
                for key, parts in samples:
                    if key in keys or not re.fullmatch(r'[^\s./][^\s.]*', key):
                        raise DataError(f'{name}: {"two samples have the key" if key in keys else "unfit key"} {key!r}')
                    keys.add(key)
                    tar.write({'__key__': key, **parts})
        index = scan(self.folder, f'{name}.tar')
        index['sha256'] = hashing.digest.hexdigest()
        if labels_of is not None:
            index['labels_of'] = labels_of
        if before_index is not None:
            before_index(len(index['samples']))
        self.folder.write(name + _INDEX, json.dumps(index).encode())
        return index


class _HashingFile(io.RawIOBase):
    """Passes writes on and hashes them."""

    def __init__(self, file: Any) -> None:
        self._file = file
        self.digest = hashlib.sha256()

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self.digest.update(data)
        return self._file.write(data)

    def tell(self) -> int:
        return self._file.tell()


def scan(folder: Folder, name: str) -> dict[str, Any]:
    """Index a tar by reading its headers, as for shards of other makers.

    Returns:
        `bytes` and `samples`, as ShardWriter.write.

    Raises:
        DataError: it is no whole tar.
    """
    samples: dict[str, dict[str, list[int]]] = {}
    try:
        with folder.open(name) as file, tarfile.open(fileobj=file, mode='r:') as tar:
            for member in tar:
                if not member.isfile():
                    continue
                path, _, base = member.name.rpartition('/')
                stem, _, suffix = base.partition('.')
                key = f'{path}/{stem}'.lstrip('./') if path else stem
                samples.setdefault(key, {})[suffix.lower()] = [member.offset_data, member.size]
    except (tarfile.TarError, EOFError) as error:
        raise DataError(f'{folder.url}/{name} is no whole tar: {error}') from error
    return {'bytes': folder.size(name), 'samples': list(samples.items())}


def read_shard_names(folder: Folder, split: str = '') -> list[str]:
    """The names of a folder's shards, sorted, without suffix: all, or those of a split (`train`, `held_out`).

    Raises:
        DataError: there are none.
    """
    tars = {name[: -len('.tar')] for name in folder.names(TARS)}
    indexed = {name[: -len(_INDEX)] for name in folder.names(f'*{_INDEX}')}
    # A folder in which nothing has an index is of another maker, and all of it counts.
    names = sorted(name for name in (tars & indexed or tars) if not split or name.startswith(f'{split}-'))
    if not names:
        raise DataError(f'{folder.url}: no shards (*.tar){f" of split {split!r}" if split else ""} in this folder')
    return names


@lru_cache(maxsize=_CACHED_INDICES)
def _index(url: str, name: str) -> dict[str, Any]:
    folder = Folder(url)
    return folder.read_json(name + _INDEX) if folder.exists(name + _INDEX) else scan(folder, f'{name}.tar')


class ShardDataset(Dataset):
    """The samples of a folder of shards, with the pseudo-labels of another folder where that is given.

    With labels, the data set has the samples that have one.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        split: str = '',
        labels: str | os.PathLike[str] = '',
        shards: Sequence[str] = (),
    ) -> None:
        """Read the folder's indices.

        Args:
            path: folder or URL of the shards.
            split: only the shards whose name begins with it and a dash; '' for all.
            labels: folder or URL of their labels.
            shards: only these, by name; all of the split without.

        Raises:
            DataError: there are no shards, or shards without labels.
            MismatchError: the labels are of other shards.
        """
        self.folder = Folder(path)
        self.name = os.path.basename(self.folder.path)
        self._labels = Folder(labels) if labels else None
        self._names = list(shards) or read_shard_names(self.folder, split)
        if self._labels is not None:
            unlabelled = {*self._names} - {*read_shard_names(self._labels, split)}
            if unlabelled:
                raise DataError(f'{self._labels.url}: no labels of shard {min(unlabelled)}, run label to its end')
        counts, contents = [], []
        for name in self._names:
            shard = _index(self.folder.url, name)
            source = shard if self._labels is None else _index(self._labels.url, name)
            self._check_labels(name, source.get('labels_of'), shard.get('sha256'))
            counts.append(len(source['samples']))
            contents.append([name, *(index.get('sha256', index['bytes']) for index in (shard, source))])
        self._ends = list(itertools.accumulate(counts))
        self._fingerprint = fingerprint(contents)

    def sha256(self, name: str) -> str | None:
        """Of a shard's tar, as its index has it; None of another maker's shard without one."""
        return _index(self.folder.url, name).get('sha256')

    @property
    def _source(self) -> Folder:
        return self.folder if self._labels is None else self._labels

    def _check_labels(self, name: str, made_of: str | None, found: str | None) -> None:
        if made_of is not None and found is not None and made_of != found:
            raise MismatchError(f'{self._source.url}: {name} labels another shard than that in {self.folder.url}')

    @property
    def fingerprint(self) -> str:
        """Of the shards' content, and of the labels'."""
        return self._fingerprint

    @property
    def shard_names(self) -> list[str]:
        """The names of the shards, in their order."""
        return list(self._names)

    @property
    def shard_sizes(self) -> list[int]:
        """Number of samples of each shard, in their order: reading within a shard is faster than between them."""
        return [end - start for start, end in zip([0, *self._ends], self._ends, strict=False)]

    def __len__(self) -> int:
        """Number of samples."""
        return self._ends[-1] if self._ends else 0

    def count(self, suffix: str) -> int:
        """How many samples have a part, such as `points.npy`; of labels, theirs."""
        names = ((self._source.url, name) for name in self._names)
        return sum(suffix in parts for name in names for _, parts in _index(*name)['samples'])

    def _locate(self, index: int) -> tuple[str, str, Mapping[str, list[int]]]:
        if not 0 <= index < len(self):
            raise IndexError(index)
        shard = bisect.bisect_right(self._ends, index)
        start = self._ends[shard - 1] if shard else 0
        name = self._names[shard]
        key, parts = _index(self._source.url, name)['samples'][index - start]
        return name, key, parts

    def key(self, index: int) -> str:
        """The key of a sample."""
        return self._locate(index)[1]

    def __getitem__(self, index: int) -> Sample:
        """Read one sample; raises BadSampleError."""
        name, key, parts = self._locate(index)
        if self._labels is None:
            return self._decode(key, self._parts(self.folder, name, parts))
        image_parts = parts_by_key(self.folder.url, name).get(key)
        if image_parts is None:
            raise BadSampleError(f'{self._labels.url}/{name}: there is a label of {key}, but no such image')
        sample = self._decode(key, self._parts(self.folder, name, image_parts))
        sample.disparity = decode_label(key, self._parts(self._labels, name, parts), sample.image.shape[:2])
        return sample

    def _parts(self, folder: Folder, name: str, parts: Mapping[str, list[int]]) -> dict[str, bytes]:
        return {suffix: folder.read(f'{name}.tar', offset, offset + size) for suffix, (offset, size) in parts.items()}

    def _decode(self, key: str, parts: Mapping[str, bytes]) -> Sample:
        suffix = next((suffix for suffix in IMAGE_SUFFIXES if suffix in parts), None)
        if suffix is None:
            raise BadSampleError(f'{key}: no image among its parts ({", ".join(parts) or "none"})')
        image = decode_image(key, parts[suffix], upright=not _MEASURED.intersection(parts))
        valid = parts.get('valid.png')
        return Sample(
            key=key,
            image=image,
            depth=_array(key, parts, 'depth.npy'),
            points=_array(key, parts, 'points.npy'),
            valid=None if valid is None else decode_grey(key, valid) > 0,
            meta={'source': self.name, **_json(key, parts)},
        )


@lru_cache(maxsize=_CACHED_INDICES)
def parts_by_key(url: str, name: str) -> dict[str, Mapping[str, list[int]]]:
    """Where the parts of each sample of a shard are: by key, by suffix, [offset, size]."""
    return dict(_index(url, name)['samples'])


def decode_image(key: str, content: bytes, *, upright: bool = True) -> np.ndarray:
    """A picture file's bytes as (H, W, 3) uint8 RGB; raises BadSampleError.

    upright: turned by its EXIF. What was measured of its pixels, depth or points, is of those as the file holds them.
    """
    _check_whole(key, content)
    flags = cv2.IMREAD_COLOR if upright else cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    image = cv2.imdecode(np.frombuffer(content, np.uint8), flags) if content else None
    if image is None:
        raise BadSampleError(f'{key}: the image cannot be decoded ({len(content)} bytes)')
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def _check_whole(key: str, content: bytes) -> None:
    if content.startswith(_CHECKED):
        try:
            check_picture(content, '')
        except InvalidMessageError as error:
            raise BadSampleError(f'{key}: {error}') from error


def decode_grey(key: str, content: bytes) -> np.ndarray:
    """A one-channel PNG's bytes as an array of its own type, (H, W); raises BadSampleError."""
    _check_whole(key, content)
    image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED) if content else None
    if image is None or image.ndim != 2:
        raise BadSampleError(f'{key}: no picture of one channel ({len(content)} bytes)')
    return image


def encode_png(image: np.ndarray) -> bytes:
    """(H, W) uint8 or uint16, or (H, W, 3) uint8 RGB, as the bytes of a PNG."""
    done, content = cv2.imencode('.png', image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    if not done:
        raise ValueError(f'cannot be written as PNG: {image.dtype} {image.shape}')
    return content.tobytes()


def encode_jpeg(image: np.ndarray, quality: int = 95) -> bytes:
    """(H, W, 3) uint8 RGB as the bytes of a JPEG."""
    done, content = cv2.imencode('.jpg', cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not done:
        raise ValueError(f'cannot be written as JPEG: {image.dtype} {image.shape}')
    return content.tobytes()


def encode_array(array: np.ndarray) -> bytes:
    """An array as the bytes of a .npy file."""
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def encode_json(value: Any) -> bytes:
    """A JSON value, compact, keys in their order."""
    return json.dumps(value, separators=(',', ':')).encode()


def encode_sample(sample: Sample, image: bytes | None = None, suffix: str = 'jpg') -> dict[str, bytes]:
    """The parts of a sample for ShardWriter.write.

    Args:
        sample: its disparity is not among the parts: labels have shards of their own.
        image: the image's file, if there is one, kept as it is; else it is encoded.
        suffix: of that file, or `jpg` or `png` for how to encode.
    """
    if image is None:
        image = encode_jpeg(sample.image) if suffix == 'jpg' else encode_png(sample.image)
    parts = {suffix: image, 'json': encode_json(dict(sample.meta))}
    if sample.depth is not None:
        parts['depth.npy'] = encode_array(sample.depth.astype(_depth_type(sample)))
    if sample.points is not None:
        parts['points.npy'] = encode_array(sample.points.astype(np.float32))
    if sample.valid is not None:
        parts['valid.png'] = encode_png(sample.valid.astype(np.uint8) * 255)
    return parts


def _depth_type(sample: Sample) -> type[np.floating]:
    """float16 has 11 bits, so 0.05 %: below what any sensor or network gives. It ends at 65504 m, and at 6e-5.

    A scale that means nothing may be beyond either.
    """
    finite = sample.depth[np.isfinite(sample.depth)]
    beyond = sample.meta.get('scale') == 'arbitrary' or finite.max(initial=0.0) > np.finfo(np.float16).max
    return np.float32 if beyond else np.float16


def encode_label(disparity: np.ndarray) -> dict[str, bytes]:
    """The parts of a pseudo-label.

    Args:
        disparity: (h, w) float32, finite.

    Raises:
        BadSampleError: it is not finite.
    """
    low, high = float(disparity.min()), float(disparity.max())
    if not np.isfinite(low + high):
        raise BadSampleError('the label is not finite')
    span = (high - low) or 1.0
    levels = np.rint((disparity.astype(np.float64) - low) / span * 65535).astype(np.uint16)
    return {'disparity.png': encode_png(levels), 'json': encode_json({'low': low, 'high': high})}


def decode_label(key: str, parts: Mapping[str, bytes], size: tuple[int, int]) -> np.ndarray:
    """A pseudo-label's parts as (H, W) float32 disparity of the image's size; raises BadSampleError."""
    levels = decode_grey(key, parts.get('disparity.png', b''))
    meta = _json(key, parts)
    try:
        low, high = float(meta['low']), float(meta['high'])
    except (KeyError, TypeError, ValueError) as error:
        raise BadSampleError(f'{key}: the label does not say its range: {error}') from error
    disparity = low + levels.astype(np.float32) * ((high - low) / 65535)
    if disparity.shape == size:
        return disparity
    return cv2.resize(disparity, size[::-1], interpolation=cv2.INTER_LINEAR)


def _array(key: str, parts: Mapping[str, bytes], suffix: str) -> np.ndarray | None:
    if suffix not in parts:
        return None
    try:
        return np.load(io.BytesIO(parts[suffix]), allow_pickle=False).astype(np.float32)
    except Exception as error:
        # NumPy raises what its parser of a damaged header happens to raise.
        raise BadSampleError(f'{key}: {suffix} cannot be read: {type(error).__name__}: {error}') from error


def _json(key: str, parts: Mapping[str, bytes]) -> dict[str, Any]:
    try:
        content = json.loads(parts.get('json', b'{}'))
    except ValueError as error:
        raise BadSampleError(f'{key}: its json cannot be read: {error}') from error
    # Shards of other makers may have anything there, such as a list of annotations.
    return content if isinstance(content, dict) else {'json': content}
