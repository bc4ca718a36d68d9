"""sensor_msgs/CompressedImage to RGB: JPEG and PNG, with the checks that OpenCV's decoders leave out."""

import re

import cv2
import numpy as np

from depth_anything_ros.messages import opencv
from depth_anything_ros.messages.errors import MalformedImageError, UnsupportedEncodingError

MAX_PIXELS = 2**26
"""More than a robot's camera has; a damaged header can claim more, and decoding would exhaust the memory."""
MAX_PIXELS_PER_BYTE = 1100
"""Beyond both codecs: deflate reaches 1032:1, and JPEG spends at least a bit on each block of 64 pixels."""

_FORMATS = ('jpeg', 'png')
_JPEG_START = b'\xff\xd8\xff'
_PNG_START = b'\x89PNG\r\n\x1a\n'
_PNG_CHUNK_FRAME = 12
# ITU-T T.81, B.1.1.3: not stuffing (00), fill (FF), restart (D0 to D7) or TEM (01), which carry no segment.
_JPEG_SEGMENT = re.compile(rb'\xff[^\x00\x01\xff\xd0-\xd7]')
_JPEG_END_OF_IMAGE = 0xD9
_JPEG_FRAME_HEADERS = set(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


def compressed_to_rgb(msg) -> np.ndarray:
    """Decode JPEG or PNG data to uint8 (H, W, 3) RGB, C-contiguous.

    The data says which of the two it is. Grey is repeated, alpha dropped, 16 bits scaled by 255/65535. An
    EXIF rotation is not applied: the picture must stay registered to its CameraInfo. As in image_transport,
    a format that says "compressed rgb8" was encoded with red and blue exchanged; any other is taken as usual.
    A Bayer mosaic is compressed as it is: a single channel under such a name ("bayer_rggb8; png compressed ") is
    interpolated.

    Raises UnsupportedEncodingError for compressedDepth and other formats, and MalformedImageError for data
    that is damaged, ends early (older OpenCV would fill the rest with grey) or claims more than MAX_PIXELS, and for
    a mosaic of another depth than its name says.
    """
    data = bytes(msg.data)
    if 'compressedDepth' in msg.format:
        raise UnsupportedEncodingError(msg.format, _FORMATS)
    check_picture(data, msg.format)
    encoding = msg.format.partition(';')[0].strip()
    is_bayer = encoding.startswith('bayer_') and encoding in opencv.ENCODINGS
    channels = cv2.IMREAD_ANYCOLOR if is_bayer else cv2.IMREAD_COLOR
    flags = channels | cv2.IMREAD_ANYDEPTH | cv2.IMREAD_IGNORE_ORIENTATION
    try:
        decoded = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error as error:
        raise MalformedImageError(f'{msg.format!r} data cannot be decoded: {error}') from error
    if decoded is None:
        raise MalformedImageError(f'{msg.format!r} data of {len(data)} bytes cannot be decoded')
    if decoded.ndim == 2:
        return _interpolated(decoded, encoding, msg.format)
    decoded = opencv.to_8_bit(decoded)
    return decoded if 'compressed rgb' in msg.format else cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB)


def _interpolated(mosaic: np.ndarray, encoding: str, format_name: str) -> np.ndarray:
    expected = np.dtype(opencv.ENCODINGS[encoding].dtype)
    if mosaic.dtype != expected:
        # JPEG has 8 bits, and image_transport lets a brighter value of 16 end at 255.
        raise MalformedImageError(
            f'{format_name!r} data has {8 * mosaic.itemsize} bits a pixel, expected {8 * expected.itemsize}: '
            'let the driver send PNG, or the mosaic in 8 bits'
        )
    opencv.check_side(*mosaic.shape, encoding)
    return opencv.decode(mosaic, encoding)


def check_picture(data: bytes, format_name: str) -> None:
    """Check what OpenCV's decoders leave out: that a JPEG or PNG is there to its end, and no larger than it can be.

    Raises MalformedImageError, and UnsupportedEncodingError for data that is neither and a format that is neither.
    """
    width, height = _read_size(data, format_name)
    limit = min(MAX_PIXELS, MAX_PIXELS_PER_BYTE * len(data))
    if width * height > limit:
        raise MalformedImageError(
            f'{format_name!r} data of {len(data)} bytes claims {width}x{height}, over {limit} pixels'
        )


def _read_size(data: bytes, format_name: str) -> tuple[int, int]:
    """Return (width, height) from the header of data that runs to its end mark."""
    if data.startswith(_JPEG_START):
        return _read_jpeg_size(data, format_name)
    if data.startswith(_PNG_START):
        return _read_png_size(data, format_name)
    if format_name and not re.search('jpe?g|png', format_name, re.IGNORECASE):
        raise UnsupportedEncodingError(format_name, _FORMATS)
    raise MalformedImageError(
        f'{format_name!r} data is neither JPEG nor PNG: {len(data)} bytes that start with {data[:8].hex()!r}'
    )


def _read_jpeg_size(data: bytes, format_name: str) -> tuple[int, int]:
    """Walk the segments to the end-of-image mark.

    A search for the mark alone would find that of a thumbnail inside the EXIF segment; and what follows it
    may be anything, since drivers hand out whole buffers.
    """
    size = None
    position = len(_JPEG_START) - 1
    while segment := _JPEG_SEGMENT.search(data, position):
        marker, start = data[segment.start() + 1], segment.end()
        if marker == _JPEG_END_OF_IMAGE:
            break
        if marker in _JPEG_FRAME_HEADERS:
            # Length (2 bytes), precision (1), height (2), width (2).
            height, width = data[start + 3 : start + 5], data[start + 5 : start + 7]
            size = int.from_bytes(width, 'big'), int.from_bytes(height, 'big')
        position = start + int.from_bytes(data[start : start + 2], 'big')
    else:
        raise _truncated(data, format_name, 'JPEG')
    if size is None:
        raise MalformedImageError(f'{format_name!r} data has no JPEG frame header')
    return size


def _read_png_size(data: bytes, format_name: str) -> tuple[int, int]:
    """Walk the chunks (length, name, body, checksum) to the last.

    OpenCV 4.13 allocates a chunk's length before it looks for its body: one damaged byte costs gigabytes.
    """
    position = len(_PNG_START)
    while position + _PNG_CHUNK_FRAME <= len(data):
        if data[position + 4 : position + 8] == b'IEND':
            # The header chunk comes first: length, 'IHDR', width, height.
            return int.from_bytes(data[16:20], 'big'), int.from_bytes(data[20:24], 'big')
        position += _PNG_CHUNK_FRAME + int.from_bytes(data[position : position + 4], 'big')
    raise _truncated(data, format_name, 'PNG')


def _truncated(data: bytes, format_name: str, kind: str) -> MalformedImageError:
    return MalformedImageError(f'{format_name!r} data is truncated: {len(data)} bytes of {kind} without its end mark')
