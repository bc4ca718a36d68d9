"""What a data set holds, whatever its layout on disk."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from training.errors import BadSampleError


@dataclass
class Sample:
    """One image and what is known about its depth. Whatever is not known is None.

    Attributes:
        key: unique in its data set, without a dot and without spaces.
        image: (H, W, 3) uint8 RGB.
        depth: (H, W) float32, metres along the optical axis (or, with meta['scale'] == 'arbitrary', in a unit of the
            scene's own). NaN where unknown, +Inf for the sky.
        disparity: (H, W) float32, relative inverse depth, larger is nearer, in any unit and with any offset. NaN where
            unknown; the sky has the smallest value.
        points: (N, 3) float32: column and row in pixels (0 is the centre of the first), depth in metres. Sparse
            measurements such as those of a LiDAR.
        valid: (H, W) bool, False where the image itself is none (borders of an undistortion); None: all of it is.
        meta: JSON values: `source` (name of the data set), and where known `K` (3x3 as nested lists, in pixels of
            `image`), `stamp_ns`, `bag`, `topic`, `scene`, `scale` ('metric' or 'arbitrary').
    """

    key: str
    image: np.ndarray
    depth: np.ndarray | None = None
    disparity: np.ndarray | None = None
    points: np.ndarray | None = None
    valid: np.ndarray | None = None
    meta: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check shapes and types; raises BadSampleError."""
        image = self.image
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
            raise BadSampleError(f'{self.key}: expected a uint8 RGB image (H, W, 3), got {image.dtype} {image.shape}')
        for name in ('depth', 'disparity', 'valid'):
            value = getattr(self, name)
            if value is not None and value.shape != image.shape[:2]:
                raise BadSampleError(f'{self.key}: the {name} has shape {value.shape}, the image {image.shape[:2]}')
        if self.points is not None and (self.points.ndim != 2 or self.points.shape[1] != 3):
            raise BadSampleError(f'{self.key}: expected points (N, 3), got shape {self.points.shape}')

    def target_disparity(self) -> np.ndarray | None:
        """(H, W) float32 to train a relative network with: `disparity`, else 1 / `depth`; None without either.

        NaN where nothing is known or the image is none; 0 for the sky (V1 paper, section 3.1). Depths that are not
        positive count as unknown.
        """
        if self.disparity is not None:
            target = self.disparity.astype(np.float32)
        elif self.depth is not None:
            with np.errstate(divide='ignore'):
                target = np.where(self.depth > 0, 1 / self.depth, np.nan).astype(np.float32)
        else:
            return None
        return target if self.valid is None else np.where(self.valid, target, np.float32(np.nan))


class Dataset(ABC):
    """A sequence of samples, each readable on its own, in any order, from any process. It is picklable.

    name: of the data set, in `meta['source']` of its samples and in reports.
    """

    name: str

    @abstractmethod
    def __len__(self) -> int:
        """Number of samples."""

    @abstractmethod
    def __getitem__(self, index: int) -> Sample:
        """Read one sample; raises BadSampleError if it cannot be used, IndexError past the end."""

    @abstractmethod
    def key(self, index: int) -> str:
        """The key of a sample, without reading it."""

    @property
    @abstractmethod
    def fingerprint(self) -> str:
        """Changes when the data does, as far as that can be told without reading all of it."""

    @property
    def shard_sizes(self) -> list[int]:
        """Number of samples in each run of neighbours that are fast to read together; one run unless overridden."""
        return [len(self)]


class Derived(Dataset):
    """A data set whose samples are made of those of another, one of each, under the same keys.

    A subclass says in `__getitem__` what it makes of a sample of `_dataset`, and has a fingerprint of its own.
    """

    def __init__(self, dataset: Dataset) -> None:
        self.name = dataset.name
        self._dataset = dataset

    def __len__(self) -> int:
        """Number of samples, also of those of which nothing can be made."""
        return len(self._dataset)

    def key(self, index: int) -> str:
        """That of the data set."""
        return self._dataset.key(index)

    @property
    def shard_sizes(self) -> list[int]:
        """Those of the data set."""
        return self._dataset.shard_sizes
