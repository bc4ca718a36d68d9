"""sensor_msgs/Image to arrays: a colour image as RGB, a depth image as metres.

The functions read the fields alone, so the messages of rclpy, rospy and rosbags will do: `data` is anything
with the buffer protocol.
"""

import numpy as np

from depth_anything_ros.messages import layout, opencv
from depth_anything_ros.messages.bridge import find_bridge
from depth_anything_ros.messages.errors import UnsupportedEncodingError

_MILLIMETRE = np.float32(0.001)
_DEPTH_DTYPES = {'32FC1': np.float32, '16UC1': np.uint16, 'mono16': np.uint16}


def to_rgb(msg) -> np.ndarray:
    """Return a colour image as uint8 (H, W, 3) RGB, C-contiguous.

    Unpadded rgb8 is not copied: the array is a view of `msg.data`, writable if that is, and valid as long as
    the message is not filled anew. Padded rows and big-endian 16-bit images are read as what they are; 16-bit
    values are scaled by 255/65535 and rounded, Bayer mosaics interpolated bilinearly, YUV is BT.601 in video
    range.

    Encodings: rgb8, bgr8, rgba8, bgra8 (alpha is dropped), mono8, mono16, yuv422 and uyvy, yuv422_yuy2 and
    yuyv, nv12 (`height` counts the luma rows), bayer_{rggb,bggr,gbrg,grbg}{8,16}; names and layouts as
    sensor_msgs/image_encodings.hpp has them. cv_bridge converts where it is right, OpenCV elsewhere: see
    bridge.py.

    Raises UnsupportedEncodingError, or MalformedImageError if the fields contradict each other.
    """
    pixels = opencv.view_pixels(msg)
    bridge = find_bridge(msg)
    return opencv.decode(pixels, msg.encoding) if bridge is None else bridge.imgmsg_to_cv2(msg, 'rgb8')


def to_depth(msg) -> np.ndarray:
    """Return a depth image as float32 (H, W) metres, a copy, as REP 117 and REP 118 have it.

    Encodings: 32FC1 (metres) and 16UC1 (millimetres, 0 is invalid), with mono16, as some drivers call it, the
    same. Invalid depth is NaN: zero, negative and NaN. -Inf (too near) and +Inf (too far) are kept.

    Raises UnsupportedEncodingError, or MalformedImageError if the fields contradict each other.
    """
    if msg.encoding not in _DEPTH_DTYPES:
        raise UnsupportedEncodingError(msg.encoding, _DEPTH_DTYPES)
    pixels = layout.view_pixels(msg, _DEPTH_DTYPES[msg.encoding])
    # Noise in the message may hold signalling NaNs, which NumPy would warn of.
    with np.errstate(invalid='ignore'):
        depth = pixels.astype(np.float32, order='C')
        if pixels.dtype.kind == 'u':
            depth *= _MILLIMETRE
        depth[(depth <= 0) & (depth != -np.inf)] = np.nan
    return depth
