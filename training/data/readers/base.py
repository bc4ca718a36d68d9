"""What all readers share: a reader lists its samples (`find`) and reads one (`read`)."""

from __future__ import annotations

import dataclasses
import os
import re
from abc import abstractmethod
from collections.abc import Collection, Iterable, Mapping
from typing import Any, ClassVar, NamedTuple

import numpy as np

from training.data.sample import Dataset, Sample
from training.data.shards import decode_image
from training.errors import BadSampleError, DataError, RecipeError
from training.files import Folder, fingerprint
from training.recipe import result_settings

IMAGE_FILES = ('jpg', 'jpeg', 'png', 'webp')


class Item(NamedTuple):
    """A sample that has been found and not been read.

    image: the image's name in the folder, unique in the data set: the key is made of it.
    depth: of the file with its depth, '' if it has none of its own.
    more: JSON values that its reader needs besides.
    """

    image: str
    depth: str = ''
    more: Any = None


@dataclasses.dataclass(frozen=True)
class NoOptions:
    """Of a reader that has none."""


class Reader(Dataset):
    """A data set in its own layout. It overrides `find` and `read`, and says what it expects.

    name: its type in recipes.
    layout: what its folder holds, for the error of who points it elsewhere.
    splits: the words for its parts; None where any word may be one.
    Options: a frozen dataclass of its options. Those that are `free` (of training.recipe) are not in the fingerprint:
        they say where a list is, and the samples that come of it are in the fingerprint.
    """

    name: str
    layout: ClassVar[str]
    splits: ClassVar[Collection[str] | None] = ('',)
    Options: ClassVar[type] = NoOptions

    def __init__(self, path: str | os.PathLike[str], split: str = '', **options: Any) -> None:
        """List the samples; none is read.

        Args:
            path: folder or URL.
            split: which part, one of `splits`; '' for all of it, or what the reader's docstring says.
            options: the fields of `Options`.

        Raises:
            RecipeError: there is no such split or option.
            DataError: the folder does not have the layout, or has no sample of the split.
        """
        self.folder = Folder(path)
        self.split = split
        self.options = self._check_options(options)
        if self.splits is not None and split not in self.splits:
            known = ', '.join(repr(word) for word in self.splits)
            raise RecipeError(f'{self.name} has no split {split!r}: one of {known}')
        if not self.folder.exists():
            raise DataError(f'{self.folder.url}: no such folder, expected {self.layout}')
        self._items = sorted(self.find(), key=lambda item: item.image)
        if not self._items:
            of_split = f' of the split {split!r}' if split else ''
            raise DataError(f'{self.folder.url}: no samples of {self.name}{of_split} here, expected {self.layout}')
        self._check_keys()
        self._fingerprint = fingerprint([self.name, result_settings(self.options), self._items])

    @abstractmethod
    def find(self) -> Iterable[Item]:
        """List the samples by names alone; raises DataError."""

    @abstractmethod
    def read(self, item: Item) -> Sample:
        """Read one, with `sample`; raises DataError or BadSampleError, both of which cost this sample only."""

    @property
    def fingerprint(self) -> str:
        """Of the names of all samples and of the options, not of what is in the files."""
        return self._fingerprint

    def __len__(self) -> int:
        """Number of samples, also of those that turn out to be bad when they are read."""
        return len(self._items)

    def __getitem__(self, index: int) -> Sample:
        """Read one sample; raises BadSampleError."""
        item = self._at(index)
        try:
            return self.read(item)
        except DataError as error:
            key = key_of(item.image)
            message = str(error)
            raise BadSampleError(message if message.startswith(f'{key}: ') else f'{key}: {message}') from error

    def key(self, index: int) -> str:
        """The image's name without its suffix, with dots and spaces written as %2E and %20."""
        return key_of(self._at(index).image)

    def image(self, item: Item, *, upright: bool = False) -> np.ndarray:
        """Decode an item's image, (H, W, 3) uint8 RGB: as its file holds it, as its depth is, or turned by its EXIF."""
        return decode_image(item.image, self.folder.read(item.image), upright=upright)

    def depth_file(self, item: Item) -> tuple[str, bytes]:
        """The name and the bytes of the file with an item's depth."""
        if not item.depth:
            raise BadSampleError('there is no depth of this image')
        return item.depth, self.folder.read(item.depth)

    def sample(
        self,
        item: Item,
        image: np.ndarray,
        depth: np.ndarray | None = None,
        disparity: np.ndarray | None = None,
        **meta: Any,
    ) -> Sample:
        """Put a sample together.

        Args:
            item: what it is of.
            image: as in Sample.
            depth: (H, W), metres; what is not above 0 becomes NaN, +Inf stays as the sky.
            disparity: (H, W); what is not finite becomes NaN.
            meta: besides `source`.

        Raises:
            BadSampleError: sizes differ, or the depth or disparity that there is holds no number.
        """
        if depth is not None:
            depth = np.where(depth > 0, depth, np.nan).astype(np.float32)
        if disparity is not None:
            disparity = np.where(np.isfinite(disparity), disparity, np.nan).astype(np.float32)
        for kind, value in (('depth', depth), ('disparity', disparity)):
            if value is not None and not np.isfinite(value).any():
                raise BadSampleError(f'no {kind} is known anywhere in this image')
        return Sample(
            key=key_of(item.image),
            image=image,
            depth=depth,
            disparity=disparity,
            meta={'source': self.name, **{name: value for name, value in meta.items() if value is not None}},
        )

    def masked(self, values: np.ndarray, mask: np.ndarray, name: str) -> np.ndarray:
        """The values, NaN where the mask, read from the file `name`, is False."""
        if mask.shape != values.shape:
            raise BadSampleError(f'{name}: the mask has shape {mask.shape}, what it masks {values.shape}')
        return np.where(mask, values, np.float32(np.nan))

    def content(self, name: str) -> bytes:
        """A file in the data set's folder, or anywhere by absolute path or URL."""
        if os.path.isabs(os.path.expanduser(name)) or '://' in name:
            return Folder(os.path.dirname(name)).read(os.path.basename(name))
        return self.folder.read(name)

    def text(self, name: str) -> str:
        """A text file, found as by `content`."""
        try:
            return self.content(name).decode()
        except UnicodeDecodeError as error:
            raise DataError(f'{name}: expected a text file: {error}') from error

    def lines(self, name: str) -> list[list[str]]:
        """The words of each line of a text file, found as by `content`, that is not empty or a comment (#)."""
        lines = [line.split() for line in self.text(name).splitlines() if not line.lstrip().startswith('#')]
        found = [words for words in lines if words]
        if not found:
            raise DataError(f'{name}: this list is empty')
        return found

    def _at(self, index: int) -> Item:
        if not 0 <= index < len(self._items):
            raise IndexError(index)
        return self._items[index]

    def _check_options(self, options: Mapping[str, Any]) -> Any:
        defaults = {field.name: field.default for field in dataclasses.fields(self.Options)}
        for name in options:
            if name not in defaults:
                raise RecipeError(f'{self.name} has no option {name!r}: {", ".join(defaults) or "it has none"}')
        return self.Options(
            **{
                name: _as_type_of(defaults[name], value, f'{self.name}: the option {name}')
                for name, value in options.items()
            }
        )

    def _check_keys(self) -> None:
        seen: dict[str, str] = {}
        for item in self._items:
            key = key_of(item.image)
            if key in seen:
                raise DataError(f'{self.folder.url}: {seen[key]} and {item.image} both have the key {key}: keep one')
            seen[key] = item.image


def check_known(what: str, chosen: Iterable[str], known: Collection[str]) -> None:
    """Raise RecipeError for what is no member of an option, and would choose nothing."""
    for name in chosen:
        if name not in known:
            raise RecipeError(f'{what}: {name!r} is none of {", ".join(known)}')


def key_of(image: str) -> str:
    """A key of a file's relative name: without its suffix, and with dots, spaces and percent signs escaped."""
    stem = os.path.splitext(image)[0]
    return re.sub(r'[\s.%]', lambda found: f'%{ord(found[0]):02X}', stem)


def camera_matrix(fx: float, fy: float, cx: float, cy: float, scale: float = 1.0) -> list[list[float]]:
    """K as Sample.meta holds it, of an image that is `scale` times as large as that of the numbers.

    The centre of the first pixel is 0, so its corner stays at -0.5.
    """
    cx, cy = ((centre + 0.5) * scale - 0.5 for centre in (cx, cy))
    return [[fx * scale, 0.0, cx], [0.0, fy * scale, cy], [0.0, 0.0, 1.0]]


def _as_type_of(default: Any, value: Any, what: str) -> Any:
    if isinstance(default, float) and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if isinstance(default, tuple) and isinstance(value, list | tuple):
        return tuple(value)
    if type(value) is not type(default):
        raise RecipeError(f'{what} must be a {_name_of(default)}, got {value!r}')
    return value


def _name_of(default: Any) -> str:
    return {float: 'number', int: 'whole number', str: 'text', bool: 'true or false', tuple: 'list'}[type(default)]
