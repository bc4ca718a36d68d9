"""Image and depth files, and never two results under one name."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import cv2
import numpy as np

from depth_anything_ros.cli.errors import CommandError
from depth_anything_ros.files import replacing
from depth_anything_ros.geometry import colorize
from depth_anything_ros.messages import depth_to_millimetres


class UnreadableImageError(CommandError):
    """The file is not a picture that OpenCV decodes."""


def read_rgb(path: Path) -> np.ndarray:
    """Read a picture as uint8 RGB (H, W, 3), turned as its EXIF says; raises UnreadableImageError."""
    try:
        data = np.fromfile(path, np.uint8)
    except OSError as error:
        raise UnreadableImageError(f'{path}: {error.strerror or error}') from error
    try:
        image = cv2.imdecode(data, cv2.IMREAD_COLOR)
    except cv2.error:  # of an empty file; of others it returns None
        image = None
    if image is None:
        raise UnreadableImageError(f'{path}: not a picture that OpenCV can decode ({data.size} bytes)')
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def write_picture(path: Path, image: np.ndarray) -> None:
    """Write uint8 RGB (H, W, 3) or uint16 (H, W) in the format of the suffix; raises OSError."""
    if image.ndim == 3:
        image = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    encoded, data = cv2.imencode(path.suffix, image)
    if not encoded:
        raise OSError(f'OpenCV cannot encode {image.dtype} {image.shape} as {path.suffix}')
    with replacing(path) as unfinished:
        unfinished.write_bytes(data)  # not tofile, which says nothing of a full disk


def depth_path(stem: Path, file_format: str) -> Path:
    """Where write_depth puts the depth of a picture; `stem` is its path without suffix."""
    return stem.with_name(f'{stem.name}_depth.{file_format}')


def write_depth(path: Path, depth: np.ndarray | None, disparity: np.ndarray) -> None:
    """Write depth (H, W) in metres, or disparity where there is none, in the format of the suffix.

    .npy: float32 as it is. .png: 16 bits; depth in millimetres, 0 is invalid; disparity scaled picture by picture, its
    least value to 0 and its greatest to 65535, which loses the scale. Raises OSError.
    """
    if path.suffix == '.npy':
        data = BytesIO()
        np.save(data, disparity if depth is None else depth)
        with replacing(path) as unfinished:
            unfinished.write_bytes(data.getbuffer())  # as above
    else:
        write_picture(path, _scaled(disparity) if depth is None else depth_to_millimetres(depth))


def side_by_side(image: np.ndarray, nearness: np.ndarray, colormap: str) -> np.ndarray:
    """The picture, uint8 RGB (H, W, 3), and to its right its coloured depth: uint8 RGB (H, 2 W, 3)."""
    return np.hstack([image, colorize(nearness, colormap)])


def _scaled(disparity: np.ndarray) -> np.ndarray:
    low, high = float(disparity.min()), float(disparity.max())
    return np.rint((disparity - low) * (65535.0 / max(high - low, 1e-12))).astype(np.uint16)
