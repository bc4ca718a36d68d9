"""A user's pictures, as textures."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

import numpy as np

from training.data.shards import IMAGE_SUFFIXES, decode_image
from training.errors import BadSampleError, DataError
from training.files import Folder, fingerprint

_TRIES = 20


@dataclass
class Photos:
    """The pictures of a folder or URL, at any depth in it: called with a random generator it gives one of them.

    Attributes:
        path: folder or URL.
        names: of the pictures in it, sorted.
        unreadable: those that turned out to be none; others were taken instead.
    """

    path: str
    names: list[str]
    unreadable: set[str] = field(default_factory=set)

    @classmethod
    def find(cls, path: str | os.PathLike[str]) -> Photos:
        """List a folder; raises DataError if it holds no pictures."""
        folder = Folder(path)
        names = [name for name in folder.names('**') if name.rpartition('.')[2].lower() in IMAGE_SUFFIXES]
        if not names:
            raise DataError(f'{folder.url}: no pictures ({", ".join(IMAGE_SUFFIXES)}) in this folder')
        return cls(folder.url, names)

    @property
    def fingerprint(self) -> str:
        """Of the pictures' names and sizes."""
        folder = Folder(self.path)
        return fingerprint([[name, folder.size(name)] for name in self.names])

    def __call__(self, rng: np.random.Generator) -> np.ndarray:
        """(H, W, 3) uint8 RGB; raises DataError when one after another cannot be read."""
        folder = Folder(self.path)
        for _ in range(_TRIES):
            name = self.names[int(rng.integers(len(self.names)))]
            try:
                return decode_image(name, folder.read(name))
            except BadSampleError:
                self.unreadable.add(name)
        raise DataError(f'{self.path}: {_TRIES} pictures in a row cannot be read, such as {name}')
