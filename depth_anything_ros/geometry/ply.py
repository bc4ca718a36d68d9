"""Point clouds as PLY files."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from depth_anything_ros.files import replacing

_COLOR_NAMES = ('red', 'green', 'blue')


def write_ply(path: Path, points: np.ndarray, colors: np.ndarray | None = None) -> None:
    """Write points, float32 (N, 3) in metres, with colors, uint8 RGB (N, 3), as binary little-endian PLY.

    The file is complete or not there. Raises ValueError for other shapes, OSError if it cannot be written.
    """
    points = np.asarray(points)
    if points.ndim != 2 or points.shape[1] != 3:
        raise ValueError(f'expected points (N, 3), got {points.shape}')
    if colors is not None and (colors.shape != points.shape or colors.dtype != np.uint8):
        raise ValueError(f'expected colors as uint8 {points.shape}, got {colors.dtype} {colors.shape}')
    fields = [(name, '<f4') for name in 'xyz']
    if colors is not None:
        fields += [(name, 'u1') for name in _COLOR_NAMES]
    vertices = np.empty(len(points), fields)
    for axis, name in enumerate('xyz'):
        vertices[name] = points[:, axis]
    if colors is not None:
        for channel, name in enumerate(_COLOR_NAMES):
            vertices[name] = colors[:, channel]
    properties = [f'property {"float" if kind == "<f4" else "uchar"} {name}' for name, kind in fields]
    header = ['ply', 'format binary_little_endian 1.0', f'element vertex {len(points)}', *properties, 'end_header']
    with replacing(path) as unfinished, unfinished.open('wb') as file:
        file.write('\n'.join([*header, '']).encode('ascii'))
        file.write(vertices.tobytes())
