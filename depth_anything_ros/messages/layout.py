"""Where the pixels of a sensor_msgs/Image lie: its rows, their padding and the byte order."""

import numpy as np
from numpy.typing import DTypeLike

from depth_anything_ros.messages.errors import MalformedImageError


def row_bytes(msg, dtype: DTypeLike, channels: int) -> int:
    """Return the bytes of one row without its padding."""
    return int(msg.width) * channels * np.dtype(dtype).itemsize


def view_pixels(msg, dtype: DTypeLike, channels: int = 1, rows: int | None = None) -> np.ndarray:
    """Return the pixels as a view of `msg.data`, without copying.

    `rows` is the number of data rows where it differs from `msg.height` (planar YUV). The view has shape
    (rows, W) for one channel and (rows, W, channels) for more; its strides skip the padding and its dtype
    carries the message's byte order, so it may be neither contiguous nor aligned.

    Raises MalformedImageError if the image is empty, `step` cannot hold a row, or `data` ends early.
    """
    height, width, step = int(msg.height), int(msg.width), int(msg.step)
    what = f'{msg.encoding} image of {width}x{height} pixels'
    if height == 0 or width == 0:
        raise MalformedImageError(f'{what} is empty')
    needed = row_bytes(msg, dtype, channels)
    if step < needed:
        raise MalformedImageError(f'{what} has a step of {step} bytes, but a row needs {needed}')
    rows = height if rows is None else rows
    size = memoryview(msg.data).nbytes
    if size < step * rows:
        raise MalformedImageError(
            f'{what} has {size} bytes of data, but {rows} rows of {step} bytes need {step * rows}'
        )
    ordered = np.dtype(dtype).newbyteorder('>' if msg.is_bigendian else '<')
    pixel = (width,) if channels == 1 else (width, channels)
    strides = (ordered.itemsize,) if channels == 1 else (channels * ordered.itemsize, ordered.itemsize)
    return np.ndarray((rows, *pixel), ordered, buffer=msg.data, strides=(step, *strides))


def native(pixels: np.ndarray) -> np.ndarray:
    """Return `pixels` contiguous, aligned and in the machine's byte order, copied only if needed."""
    return np.require(pixels, pixels.dtype.newbyteorder('='), ['C', 'A'])
