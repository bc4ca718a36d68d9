"""Unlabelled images: folders, lists of files, tars and LMDBs, on this machine or in an object store.

How the eight sets of V1 and V2 (V1 paper, table 1) are read, as they come from their makers:

    BDD100K        folder   bdd100k/images/100k/**/*.jpg; frames of its videos, once they are extracted
    Landmarks      folder   train/?/?/?/*.jpg; or tars, images_*.tar
    ImageNet-21K   tars     n*.tar, one of each class (fall11_whole.tar, unpacked once)
    LSUN           lmdb     *_lmdb/data.mdb: key -> WebP
    Objects365     folder   patch*/*.jpg; or tars, where patch*.tar.gz were only decompressed
    Open Images    folder   train/*.jpg, in its bucket too; or list, a part of them by name
    Places365      list     places365_train_standard.txt with root=data_256 or train_large; or folder, or its tar
    SA-1B          tars     sa_*.tar; the annotations beside the images are passed over
"""

from __future__ import annotations

import os
import posixpath
import re
import tarfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from training.data.lmdb_files import lmdb_keys, lmdb_value
from training.data.readers.base import IMAGE_FILES, Item, Reader
from training.data.sample import Sample
from training.data.shards import decode_image
from training.errors import DataError, RecipeError
from training.files import Folder
from training.recipe import free

_LISTS = ('txt', 'lst', 'list')
_DATA_MDB = 'data.mdb'
# An image's name, and what may follow it on a line, such as the number of its class.
_LINE = re.compile(rf'(.+?\.(?:{"|".join(IMAGE_FILES)}))(?:\s.*)?', re.IGNORECASE)


class Images(Reader):
    """Images without anything that is known of them.

    Of tars and LMDBs, the whereabouts of the images are found when the data set is opened: of a tar, by a read of each
    member's header. After that, an image is one read.
    """

    name = 'images'
    layout = (
        'a folder with *.jpg (or jpeg, png, webp) at any depth, a folder with *.tar or data.mdb (LMDB), '
        'a tar, or a list of files (*.txt)'
    )

    @dataclass(frozen=True)
    class Options:
        """kind: `folder`, `list`, `tars`, `lmdb`; '' to tell from the path.

        root: of a list, folder or URL below which all its files are, also those whose line begins with a slash. ''
            for the list's own folder; then lines may be absolute paths or URLs too.
        """

        kind: str = free('')
        root: str = free('')

    def find(self) -> Iterable[Item]:
        """What there is, by the kind."""
        finders = {'folder': self._in_folder, 'list': self._in_list, 'tars': self._in_tars, 'lmdb': self._in_lmdbs}
        names = self.folder.names('**')
        kind = self.options.kind or self._guess(names)
        if kind not in finders:
            raise RecipeError(f'images: kind must be one of {", ".join(finders)}, not {kind!r}')
        if self.options.root and kind != 'list':
            raise RecipeError(f'images: root is for a list of files, and {self.folder.url} is read as {kind}')
        self._read_bytes = {
            'folder': self._of_folder, 'list': self._of_list, 'tars': self._of_tar, 'lmdb': self._of_lmdb
        }[kind]  # fmt: skip
        return finders[kind](names)

    def read(self, item: Item) -> Sample:
        """The image alone."""
        return self.sample(item, decode_image(item.image, self._read_bytes(item)))

    def _guess(self, names: Sequence[str]) -> str:
        suffix = _suffix(self.folder.path)
        if suffix in _LISTS:
            return 'list'
        if suffix == 'tar':
            return 'tars'
        counts = {
            'lmdb': sum(posixpath.basename(name) == _DATA_MDB for name in names),
            'tars': sum(_suffix(name) == 'tar' for name in names),
            'folder': sum(map(_is_image, names)),
        }
        found = [kind for kind, count in counts.items() if count]
        if len(found) > 1:
            raise DataError(
                f'{self.folder.url}: {counts["folder"]} images, {counts["tars"]} tars and {counts["lmdb"]} LMDBs in '
                'this folder: say which are meant, options.kind=folder, tars or lmdb'
            )
        return found[0] if found else 'folder'

    def _in_folder(self, names: Sequence[str]) -> Iterator[Item]:
        packed = [name for name in names if name.endswith(('.tar.gz', '.tgz', '.zip'))]
        images = [Item(name) for name in names if _is_image(name)]
        if packed and not images:
            raise DataError(
                f'{self.folder.url}: nothing but compressed archives, such as {packed[0]}, in which no image can be '
                'read by itself: decompress them'
            )
        yield from images

    def _of_folder(self, item: Item) -> bytes:
        return self.folder.read(item.image)

    def _in_list(self, _: Sequence[str]) -> Iterator[Item]:
        for number, line in enumerate(self.text('').splitlines(), 1):
            text = line.strip()
            if not text or text.startswith('#'):
                continue
            match = _LINE.fullmatch(text)
            if not match:
                raise DataError(
                    f'{self.folder.url}: line {number} names no image ({", ".join(IMAGE_FILES)}): {text[:80]!r}'
                )
            name = match[1].lstrip('/') if self.options.root else match[1]
            name = name if '://' in name else posixpath.normpath(name)
            yield Item(name.lstrip('/'), more=name)

    def _of_list(self, item: Item) -> bytes:
        if os.path.isabs(item.more) or '://' in item.more:
            return self.content(item.more)
        return self._root.read(item.more)

    @cached_property
    def _root(self) -> Folder:
        return Folder(self.options.root or posixpath.dirname(self.folder.url) or '.')

    def _in_tars(self, names: Sequence[str]) -> Iterator[Item]:
        whole = _suffix(self.folder.path) == 'tar'
        tars = [''] if whole else [name for name in names if _suffix(name) == 'tar']
        for tar in tars:
            for member, start, size in _scan(self.folder, tar):
                name = posixpath.normpath(member).lstrip('/')
                yield Item(posixpath.join(os.path.splitext(tar)[0], name), more=[tar, start, size])

    def _of_tar(self, item: Item) -> bytes:
        tar, start, size = item.more
        return self.folder.read(tar, start, start + size)

    def _in_lmdbs(self, names: Sequence[str]) -> Iterator[Item]:
        if not self.folder.local:
            raise DataError(f'{self.folder.url}: an LMDB must be on this machine, copy it here')
        for name in names:
            if posixpath.basename(name) == _DATA_MDB:
                database = posixpath.dirname(name)
                for key in lmdb_keys(posixpath.join(self.folder.path, database).rstrip('/')):
                    yield Item(posixpath.join(database, f'{_readable(key)}.image'), more=[database, key.hex()])

    def _of_lmdb(self, item: Item) -> bytes:
        database, key = item.more
        return lmdb_value(posixpath.join(self.folder.path, database).rstrip('/'), bytes.fromhex(key))


def _scan(folder: Folder, name: str) -> list[tuple[str, int, int]]:
    """Of the images in a tar: name, where its bytes begin, and how many they are; raises DataError."""
    try:
        with folder.open(name) as file, tarfile.open(fileobj=file, mode='r:') as tar:
            return [
                (member.name, member.offset_data, member.size)
                for member in tar
                if member.isreg() and _is_image(member.name)
            ]
    except (tarfile.TarError, EOFError) as error:
        raise DataError(
            f'{folder.url}/{name}'.rstrip('/')
            + f': no whole, uncompressed tar: {error}. Fetch it again, or decompress it, or take it away'
        ) from error


def _readable(key: bytes) -> str:
    """A key as text that no other key has: LSUN's are ASCII."""
    text = key.decode('ascii', errors='replace')
    return text if re.fullmatch(r'[\w-]+', text, re.ASCII) else f'0x{key.hex()}'


def _is_image(name: str) -> bool:
    """Hidden files are none, such as those that macOS puts beside each file."""
    return _suffix(name) in IMAGE_FILES and not posixpath.basename(name).startswith('.')


def _suffix(name: str) -> str:
    return os.path.splitext(name)[1].lower().lstrip('.')
