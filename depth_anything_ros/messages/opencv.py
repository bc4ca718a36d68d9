"""The image encodings as OpenCV decodes them: the whole table, needing no ROS."""

from typing import NamedTuple

import cv2
import numpy as np

from depth_anything_ros.messages import layout
from depth_anything_ros.messages.errors import MalformedImageError, UnsupportedEncodingError


class Encoding(NamedTuple):
    """How one encoding of sensor_msgs/image_encodings.hpp lies in memory, and what makes it RGB."""

    dtype: type[np.unsignedinteger]
    channels: int
    conversion: int | None
    width_multiple: int = 1
    height_multiple: int = 1
    min_side: int = 1
    rows_per_height: float = 1.0


def _yuv_422(conversion: int) -> Encoding:
    return Encoding(np.uint8, 2, conversion, width_multiple=2)


def _bayer(dtype: type[np.unsignedinteger], conversion: int) -> Encoding:
    # OpenCV interpolates inside a border of one pixel: anything smaller than 3x3 comes out black, silently.
    return Encoding(dtype, 1, conversion, min_side=3)


# ROS names a Bayer pattern by its first two rows; OpenCV by the second and third pixel of the second row.
_BAYER_CONVERSIONS = {
    'rggb': cv2.COLOR_BayerBG2RGB,
    'bggr': cv2.COLOR_BayerRG2RGB,
    'gbrg': cv2.COLOR_BayerGR2RGB,
    'grbg': cv2.COLOR_BayerGB2RGB,
}

ENCODINGS = {
    'rgb8': Encoding(np.uint8, 3, None),
    'bgr8': Encoding(np.uint8, 3, cv2.COLOR_BGR2RGB),
    'rgba8': Encoding(np.uint8, 4, cv2.COLOR_RGBA2RGB),
    'bgra8': Encoding(np.uint8, 4, cv2.COLOR_BGRA2RGB),
    'mono8': Encoding(np.uint8, 1, cv2.COLOR_GRAY2RGB),
    'mono16': Encoding(np.uint16, 1, cv2.COLOR_GRAY2RGB),
    # The later names, 'uyvy' and 'yuyv', mean the same bytes.
    'yuv422': _yuv_422(cv2.COLOR_YUV2RGB_UYVY),
    'uyvy': _yuv_422(cv2.COLOR_YUV2RGB_UYVY),
    'yuv422_yuy2': _yuv_422(cv2.COLOR_YUV2RGB_YUY2),
    'yuyv': _yuv_422(cv2.COLOR_YUV2RGB_YUY2),
    'nv12': Encoding(np.uint8, 1, cv2.COLOR_YUV2RGB_NV12, width_multiple=2, height_multiple=2, rows_per_height=1.5),
    **{f'bayer_{name}8': _bayer(np.uint8, code) for name, code in _BAYER_CONVERSIONS.items()},
    **{f'bayer_{name}16': _bayer(np.uint16, code) for name, code in _BAYER_CONVERSIONS.items()},
}


def view_pixels(msg) -> np.ndarray:
    """Check a colour image and return its raw pixels as a view of `msg.data` (see layout.view_pixels).

    Raises UnsupportedEncodingError, or MalformedImageError for a layout or a size the encoding cannot have.
    """
    if msg.encoding not in ENCODINGS:
        raise UnsupportedEncodingError(msg.encoding, ENCODINGS)
    encoding = ENCODINGS[msg.encoding]
    height, width = int(msg.height), int(msg.width)
    pixels = layout.view_pixels(msg, encoding.dtype, encoding.channels, int(height * encoding.rows_per_height))
    what = f'{msg.encoding} image of {width}x{height} pixels'
    if width % encoding.width_multiple:
        raise MalformedImageError(f'{what}: its chroma is halved, so the width must be even')
    if height % encoding.height_multiple:
        raise MalformedImageError(f'{what}: its chroma is halved, so the height must be even')
    check_side(height, width, msg.encoding)
    return pixels


def check_side(height: int, width: int, encoding: str) -> None:
    """Raises MalformedImageError for an image that is too small for its encoding."""
    if min(height, width) < ENCODINGS[encoding].min_side:
        what = f'{encoding} image of {width}x{height} pixels'
        raise MalformedImageError(f'{what}: a Bayer mosaic needs at least 3x3 pixels')


def decode(pixels: np.ndarray, encoding: str) -> np.ndarray:
    """Convert what `view_pixels` returned to uint8 (H, W, 3) RGB, contiguous; unpadded rgb8 stays a view."""
    conversion = ENCODINGS[encoding].conversion
    rgb = layout.native(pixels)
    if conversion is not None:
        rgb = cv2.cvtColor(rgb, conversion)
    return to_8_bit(rgb)


def to_8_bit(image: np.ndarray) -> np.ndarray:
    """Scale uint16 by 255/65535, rounding to nearest as cv_bridge's C++ does; uint8 passes through."""
    return cv2.convertScaleAbs(image, alpha=255 / 65535) if image.dtype == np.uint16 else image
