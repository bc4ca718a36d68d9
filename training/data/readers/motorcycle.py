"""The stereo scene that scikit-image brings: Middlebury 2014's Motorcycle (Scharstein et al., GCPR 2014), 741x500."""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Iterable
from importlib.util import find_spec
from typing import Any

import numpy as np

from training.data.readers.base import Item, Reader, camera_matrix
from training.data.sample import Sample
from training.errors import BadSampleError, DataError

# scikit-image's documentation of stereo_motorcycle, for its images at a quarter of the original size.
_FOCAL_PX, _CENTRE_PX = 994.978, (311.193, 254.877)
_BASELINE_M, _OFFSET_PX = 0.193001, 31.086


class Motorcycle(Reader):
    """The left image with depth from structured light, z = focal length * baseline / (disparity + offset) in metres.

    Its path is the folder with the files; '' for that of the installed scikit-image.
    """

    name = 'motorcycle'
    layout = 'motorcycle_left.png and motorcycle_disp.npz, as in the folder data of scikit-image'

    def __init__(self, path: str | os.PathLike[str] = '', split: str = '', **options: Any) -> None:
        """As Reader; raises DataError if there is no path and no scikit-image."""
        super().__init__(path or _installed(), split, **options)

    def find(self) -> Iterable[Item]:
        """One."""
        wanted = ('motorcycle_left.png', 'motorcycle_disp.npz')
        if all(self.folder.exists(name) for name in wanted):
            yield Item(*wanted)

    def read(self, item: Item) -> Sample:
        """NaN where the disparity is not known."""
        name, content = self.depth_file(item)
        try:
            with np.load(io.BytesIO(content), allow_pickle=False) as file:
                disparity = file[file.files[0]].astype(np.float64)
        except (ValueError, OSError, IndexError, EOFError, zipfile.BadZipFile) as error:
            raise BadSampleError(f'{name}: no whole array: {error}') from error
        known = np.isfinite(disparity) & (disparity > 0)
        depth = np.where(known, _FOCAL_PX * _BASELINE_M / (np.where(known, disparity, 0) + _OFFSET_PX), np.nan)
        return self.sample(item, self.image(item), depth, K=camera_matrix(_FOCAL_PX, _FOCAL_PX, *_CENTRE_PX))


def _installed() -> str:
    spec = find_spec('skimage')
    if spec is None or spec.origin is None:
        raise DataError('motorcycle: pip install scikit-image, which brings the scene, or name the folder that has it')
    return os.path.join(os.path.dirname(spec.origin), 'data')
