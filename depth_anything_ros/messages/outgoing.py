"""Arrays to sensor_msgs/Image and PointCloud2, filled in place.

A message keeps its `array.array` from frame to frame while the size stays the same, so fill and publish one
message for ever; whoever keeps a message must copy it. The setters get nothing but array.array, the one type
that Humble's do not check byte by byte (218 ms for 1280x720 float32). Headers belong to the caller.
"""

import importlib
import sys
from array import array
from math import prod
from typing import NamedTuple

import cv2
import numpy as np

_IMAGE_ENCODINGS = {
    '32FC1': (np.float32, 1),
    '16UC1': (np.uint16, 1),
    'mono8': (np.uint8, 1),
    'rgb8': (np.uint8, 3),
    'bgr8': (np.uint8, 3),
}
MAX_MILLIMETRES = 65535


class Field(NamedTuple):
    """One sensor_msgs/PointField; `datatype` 7 is FLOAT32."""

    name: str
    offset: int
    datatype: int = 7
    count: int = 1


POINT_FIELDS = (Field('x', 0), Field('y', 4), Field('z', 8), Field('rgb', 12))
"""The layout of `pack_points`; without colors the first three."""


def fill_image(msg, image: np.ndarray, encoding: str) -> None:
    """Put `image` into a sensor_msgs/Image, all but its header.

    `image`: float32 (H, W) as 32FC1, uint16 (H, W) as 16UC1, uint8 (H, W) as mono8, uint8 (H, W, 3) as rgb8
    or bgr8; it need not be contiguous. Raises ValueError for any other pair.
    """
    if encoding not in _IMAGE_ENCODINGS:
        raise ValueError(f'cannot fill an image as {encoding!r}; known are {", ".join(_IMAGE_ENCODINGS)}')
    dtype, channels = _IMAGE_ENCODINGS[encoding]
    expected_shape = image.shape[:2] if channels == 1 else (*image.shape[:2], channels)
    if image.ndim < 2 or image.dtype != dtype or image.shape != expected_shape:
        expected = f'{np.dtype(dtype)} (H, W)' if channels == 1 else f'{np.dtype(dtype)} (H, W, {channels})'
        raise ValueError(f'{encoding} needs {expected}, not {image.dtype} {image.shape}')
    msg.height, msg.width = image.shape[:2]
    msg.encoding = encoding
    msg.is_bigendian = int(sys.byteorder == 'big')
    msg.step = image.shape[1] * channels * image.itemsize
    _buffer(msg, image.nbytes).view(dtype).reshape(image.shape)[...] = image


def fill_point_cloud(
    msg, points: np.ndarray, colors: np.ndarray | None = None, point_field_type: type | None = None
) -> None:
    """Put points into a sensor_msgs/PointCloud2, all but its header, in the layout of `pack_points`.

    `points`: float32 metres, (N, 3) for a compact cloud, all finite (height 1, is_dense), or (H, W, 3) for an
    organised one that marks holes with NaN. `colors`: uint8 RGB of the same shape, or None.
    `point_field_type` is the class of a field, sensor_msgs.msg.PointField if None.

    Raises ValueError for other shapes or types, ImportError if no class is given and ROS is absent.
    """
    _check_points(points, colors)
    buffer = _describe_points(msg, points.shape, 3 if colors is None else 4, point_field_type)
    _write_points(buffer, points, colors)


def fill_packed_points(msg, packed: np.ndarray, point_field_type: type | None = None) -> None:
    """As `fill_point_cloud`, of points that are in the layout of `pack_points` already.

    `packed`: float32 (N, 3) or (N, 4) for a compact cloud, (H, W, 3) or (H, W, 4) for an organised one.
    """
    if packed.ndim not in (2, 3) or packed.shape[-1] not in (3, 4) or packed.dtype != np.float32:
        raise ValueError(
            f'packed points must be float32 (N, 3 or 4) or (H, W, 3 or 4), not {packed.dtype} {packed.shape}'
        )
    buffer = _describe_points(msg, packed.shape, packed.shape[-1], point_field_type)
    buffer[...] = packed.reshape(buffer.shape)


def pack_points(points: np.ndarray, colors: np.ndarray | None = None) -> np.ndarray:
    """Return points as they lie in a cloud: little-endian float32 (N, 3), or (N, 4) with colors.

    The fourth value holds the bits 0x00RRGGBB, as PCL reads them. Arguments and errors as `fill_point_cloud`;
    the (H, W) points of an organised cloud become H * W rows.
    """
    _check_points(points, colors)
    packed = np.empty((points.size // 3, 3 if colors is None else 4), '<f4')
    _write_points(packed, points, colors)
    return packed


def unpack_colors(packed: np.ndarray) -> np.ndarray:
    """Return the colours, uint8 RGB (N, 3), of `pack_points`' (N, 4)."""
    bits = np.ascontiguousarray(packed[:, 3]).view('<u4')[:, None]
    return (bits >> np.array([16, 8, 0], np.uint32)).astype(np.uint8)


def depth_to_millimetres(depth: np.ndarray) -> np.ndarray:
    """Convert float32 (H, W) metres to uint16 millimetres, rounded as depth_image_proc does.

    0 means invalid (REP 118): NaN, both infinities, negative and more than 65.535 m.
    """
    with np.errstate(invalid='ignore', over='ignore'):
        millimetres = depth * np.float32(1000) + np.float32(0.5)
        valid = (millimetres >= 1) & (depth <= np.float32(MAX_MILLIMETRES / 1000))
    return np.where(valid, millimetres, np.float32(0)).astype(np.uint16)


def _check_points(points: np.ndarray, colors: np.ndarray | None) -> None:
    if points.ndim not in (2, 3) or points.shape[-1] != 3 or points.dtype != np.float32:
        raise ValueError(f'points must be float32 (N, 3) or (H, W, 3), not {points.dtype} {points.shape}')
    if colors is not None and (colors.dtype != np.uint8 or colors.shape != points.shape):
        raise ValueError(f'colors must be uint8 {points.shape} as the points, not {colors.dtype} {colors.shape}')


def _describe_points(msg, shape: tuple[int, ...], values: int, point_field_type: type | None) -> np.ndarray:
    """Fill all of a cloud but its points; returns where they go, float32 (N, values)."""
    if point_field_type is None:
        # Here and not above: the command line tools read messages where ROS is not installed.
        point_field_type = importlib.import_module('sensor_msgs.msg').PointField
    organised = len(shape) == 3
    count = prod(shape[:-1])
    msg.height, msg.width = shape[:2] if organised else (1, count)
    msg.fields = [point_field_type(**field._asdict()) for field in POINT_FIELDS[:values]]
    msg.is_bigendian = False
    msg.point_step = 4 * values
    msg.row_step = msg.point_step * msg.width
    msg.is_dense = not organised
    return _buffer(msg, 4 * values * count).view('<f4').reshape(count, values)


def _write_points(packed: np.ndarray, points: np.ndarray, colors: np.ndarray | None) -> None:
    flat = points.reshape(-1, 3)
    # One axis at a time: NumPy copies rows of three values three times slower.
    for axis in range(3):
        packed[:, axis] = flat[:, axis]
    if colors is not None and len(packed):
        # Blue, green, red, alpha read as little-endian 0xAARRGGBB; OpenCV sets the alpha, PCL wants 0.
        bgra = cv2.cvtColor(colors.reshape(1, -1, 3), cv2.COLOR_RGB2BGRA).view('<u4').reshape(-1)
        np.bitwise_and(bgra, 0x00FFFFFF, out=packed.view('<u4')[:, 3])


def _buffer(msg, size: int) -> np.ndarray:
    """Return the bytes of `msg.data` as a writable uint8 array, allocated anew only if the size changed."""
    if len(msg.data) != size:
        msg.data = array('B', bytes(size))
    return np.frombuffer(msg.data, np.uint8)
