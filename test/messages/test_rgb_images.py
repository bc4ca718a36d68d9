"""Every encoding is built here by its definition in image_encodings.hpp, not by the code under test."""

import sys
from array import array
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from depth_anything_ros.messages import (
    ImageError,
    MalformedImageError,
    UnsupportedEncodingError,
    bridge_report,
    to_rgb,
)

BAYER = [f'bayer_{pattern}{bits}' for pattern in ('rggb', 'bggr', 'gbrg', 'grbg') for bits in (8, 16)]
YUV_422 = ['yuv422', 'uyvy', 'yuv422_yuy2', 'yuyv']
ENCODINGS = ['rgb8', 'bgr8', 'rgba8', 'bgra8', 'mono8', 'mono16', *YUV_422, 'nv12', *BAYER]


@pytest.fixture(autouse=True, params=['cv_bridge', 'no cv_bridge'])
def _with_and_without_cv_bridge(request, monkeypatch):
    if request.param == 'no cv_bridge':
        monkeypatch.setitem(sys.modules, 'cv_bridge', None)
    bridge_report.cache_clear()
    yield
    bridge_report.cache_clear()


def message(encoding, rows, *, height=None, padding=0, big_endian=False, data_type=array):
    """Lay out `rows` (rows, W[, C]) as a message, filling the padding with a value that would show."""
    rows = rows.astype(rows.dtype.newbyteorder('>' if big_endian else '<'))
    raw = np.ascontiguousarray(rows).view(np.uint8).reshape(len(rows), -1)
    raw = np.pad(raw, ((0, 0), (0, padding)), constant_values=0xA5)
    data = array('B', raw.tobytes()) if data_type is array else raw.reshape(-1)
    height = len(rows) if height is None else height
    return SimpleNamespace(
        height=height,
        width=rows.shape[1],
        encoding=encoding,
        is_bigendian=int(big_endian),
        step=raw.shape[1],
        data=data,
    )


def smooth_picture(height=24, width=32):
    """Colours that vary slowly and differ in each channel: chroma and mosaics lose little of them."""
    y, x = np.mgrid[0:height, 0:width]
    red, green, blue = 60 + 3 * x, 200 - 4 * y, 40 + 2 * x + 2 * y
    return np.stack([red, green, blue], axis=-1).astype(np.uint8)


def yuv(rgb):
    """ITU-R BT.601, 8 bits, video range."""
    red, green, blue = np.moveaxis(rgb.astype(float) / 255, -1, 0)
    luma = 16 + 65.481 * red + 128.553 * green + 24.966 * blue
    cb = 128 - 37.797 * red - 74.203 * green + 112 * blue
    cr = 128 + 112 * red - 93.786 * green - 18.214 * blue
    return (np.rint(plane).astype(np.uint8) for plane in (luma, cb, cr))


def encode(encoding, rgb):
    """Return the data rows of `rgb` in `encoding`."""
    if encoding in ('rgb8', 'bgr8'):
        return rgb if encoding == 'rgb8' else rgb[..., ::-1]
    if encoding in ('rgba8', 'bgra8'):
        alpha = np.full((*rgb.shape[:2], 1), 7, np.uint8)
        return np.concatenate([rgb if encoding == 'rgba8' else rgb[..., ::-1], alpha], axis=-1)
    if encoding in ('mono8', 'mono16'):
        return rgb[..., 1] if encoding == 'mono8' else rgb[..., 1].astype(np.uint16) * 257
    luma, cb, cr = yuv(rgb)
    if encoding in YUV_422:
        chroma = np.where(np.arange(rgb.shape[1]) % 2 == 0, cb, np.roll(cr, 1, axis=1))
        planes = [chroma, luma] if encoding in ('yuv422', 'uyvy') else [luma, chroma]
        return np.stack(planes, axis=-1)
    if encoding == 'nv12':
        chroma = np.stack([cb[::2, ::2], cr[::2, ::2]], axis=-1).reshape(rgb.shape[0] // 2, -1)
        return np.concatenate([luma, chroma])
    pattern, bits = encoding[6:10], int(encoding[10:])
    mosaic = np.empty(rgb.shape[:2], np.uint8)
    for place, letter in enumerate(pattern):
        row, column = divmod(place, 2)
        mosaic[row::2, column::2] = rgb[row::2, column::2, 'rgb'.index(letter)]
    return mosaic if bits == 8 else mosaic.astype(np.uint16) * 257


def decoded(encoding, rgb):
    return np.repeat(rgb[..., 1:2], 3, axis=-1) if encoding.startswith('mono') else rgb


@pytest.mark.parametrize('data_type', [array, np.ndarray], ids=['rclpy', 'rosbags'])
@pytest.mark.parametrize('big_endian', [False, True], ids=['little', 'big'])
@pytest.mark.parametrize('padding', [0, 1, 6, 64])
@pytest.mark.parametrize('encoding', ENCODINGS)
def test_a_picture_comes_back_from_every_encoding(encoding, padding, big_endian, data_type):
    rgb = smooth_picture()
    msg = message(
        encoding,
        encode(encoding, rgb),
        height=len(rgb),
        padding=padding,
        big_endian=big_endian,
        data_type=data_type,
    )
    found = to_rgb(msg)
    assert found.dtype == np.uint8
    assert found.flags.c_contiguous
    expected = decoded(encoding, rgb)
    # 4:2:0 and the border that OpenCV repeats around a mosaic cost a few of the 256 levels.
    tolerance = 8 if encoding in YUV_422 or encoding == 'nv12' or encoding in BAYER else 0
    np.testing.assert_allclose(found.astype(int), expected, atol=tolerance)


@pytest.mark.parametrize('colour', [(255, 0, 0), (0, 255, 0), (0, 0, 255)], ids=['red', 'green', 'blue'])
@pytest.mark.parametrize('encoding', [name for name in ENCODINGS if not name.startswith('mono')])
def test_the_primaries_keep_their_channels(encoding, colour):
    rgb = np.full((8, 8, 3), colour, np.uint8)
    found = to_rgb(message(encoding, encode(encoding, rgb), height=8))
    np.testing.assert_allclose(found.astype(int), rgb, atol=2)


@pytest.mark.parametrize(
    ('encoding', 'code'),
    [
        ('yuv422', cv2.COLOR_YUV2RGB_UYVY),
        ('yuyv', cv2.COLOR_YUV2RGB_YUYV),
        ('nv12', cv2.COLOR_YUV2RGB_NV12),
        ('bayer_rggb8', cv2.COLOR_BayerBG2RGB),
        ('bayer_gbrg8', cv2.COLOR_BayerGR2RGB),
    ],
)
def test_noise_is_converted_exactly_as_opencv_does(encoding, code):
    generator = np.random.default_rng(1)
    shape = {'yuv422': (12, 10, 2), 'yuyv': (12, 10, 2), 'nv12': (18, 10)}.get(encoding, (12, 10))
    rows = generator.integers(0, 256, shape, np.uint8)
    found = to_rgb(message(encoding, rows, height=12, padding=3))
    np.testing.assert_array_equal(found, cv2.cvtColor(rows, code))


def test_sixteen_bits_are_rounded_to_the_nearest_of_eight():
    values = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    found = to_rgb(message('mono16', values))
    np.testing.assert_array_equal(found[..., 0], np.rint(values / 257))


def test_a_16_bit_mosaic_is_interpolated_before_it_is_scaled():
    mosaic = np.random.default_rng(2).integers(0, 65536, (9, 11), np.uint16)
    exact = cv2.cvtColor(mosaic, cv2.COLOR_BayerBG2RGB)
    np.testing.assert_array_equal(to_rgb(message('bayer_rggb16', mosaic)), np.rint(exact / 257))


def test_unpadded_rgb8_is_a_view_and_padded_rgb8_a_copy():
    msg = message('rgb8', smooth_picture())
    rgb = to_rgb(msg)
    msg.data[0] = 99
    assert rgb[0, 0, 0] == 99
    padded = message('rgb8', smooth_picture(), padding=4)
    assert not np.shares_memory(to_rgb(padded), np.frombuffer(padded.data, np.uint8))


def test_data_may_be_read_only_unaligned_and_longer_than_the_image():
    values = np.random.default_rng(3).integers(0, 65536, (6, 10), np.uint16)
    msg = message('mono16', values, padding=2)
    backing = b'\0' + msg.data.tobytes() + b'tail'
    msg.data = np.frombuffer(backing, np.uint8)[1:]
    np.testing.assert_array_equal(to_rgb(msg)[..., 0], np.rint(values / 257))


def test_random_sizes_and_steps_keep_every_pixel():
    generator = np.random.default_rng(4)
    for _ in range(200):
        height, width = generator.integers(1, 20, 2)
        rgb = generator.integers(0, 256, (height, width, 3), np.uint8)
        encoding = generator.choice(['rgb8', 'bgr8', 'rgba8', 'bgra8', 'mono8', 'mono16'])
        msg = message(
            str(encoding),
            encode(encoding, rgb),
            padding=int(generator.integers(0, 9)),
            big_endian=bool(generator.integers(2)),
        )
        np.testing.assert_array_equal(to_rgb(msg), decoded(encoding, rgb))


def test_an_unknown_encoding_is_named_with_the_known_ones():
    msg = message('rgb8', smooth_picture())
    for encoding in ('32FC1', 'RGB8', '', 'nv21'):
        msg.encoding = encoding
        with pytest.raises(UnsupportedEncodingError, match=rf"encoding '{encoding}' is not supported.*rgb8, .*nv12"):
            to_rgb(msg)


@pytest.mark.parametrize(
    ('changes', 'text'),
    [
        ({'height': 0}, 'image of 32x0 pixels is empty'),
        ({'width': 0}, 'image of 0x24 pixels is empty'),
        ({'step': 95}, 'a step of 95 bytes, but a row needs 96'),
        ({'step': 0}, 'a step of 0 bytes, but a row needs 96'),
        ({'height': 25}, '2304 bytes of data, but 25 rows of 96 bytes need 2400'),
        ({'data': array('B')}, 'has 0 bytes of data'),
        ({'height': 2**32 - 1}, 'bytes of data'),
        ({'width': 2**32 - 1}, 'a row needs 12884901885'),
        ({'step': 2**32 - 1}, 'bytes of data'),
    ],
)
def test_contradicting_fields_are_named(changes, text):
    msg = message('rgb8', smooth_picture())
    vars(msg).update(changes)
    with pytest.raises(MalformedImageError, match=text):
        to_rgb(msg)


@pytest.mark.parametrize(
    ('encoding', 'shape', 'height', 'text'),
    [
        ('yuv422', (4, 5, 2), 4, 'width must be even'),
        ('yuv422_yuy2', (4, 5, 2), 4, 'width must be even'),
        ('nv12', (6, 5), 4, 'width must be even'),
        ('nv12', (6, 4), 3, 'height must be even'),
        ('nv12', (5, 4), 4, '20 bytes of data, but 6 rows of 4 bytes need 24'),
        ('bayer_rggb8', (2, 8), 2, 'at least 3x3'),
        ('bayer_grbg8', (8, 2), 8, 'at least 3x3'),
    ],
)
def test_sizes_that_an_encoding_cannot_have_are_named(encoding, shape, height, text):
    with pytest.raises(MalformedImageError, match=text):
        to_rgb(message(encoding, np.zeros(shape, np.uint8), height=height))


def test_random_fields_raise_nothing_but_image_errors():
    generator = np.random.default_rng(5)
    accepted = 0
    for _ in range(2000):
        msg = SimpleNamespace(
            height=int(generator.integers(0, 12)),
            width=int(generator.integers(0, 12)),
            encoding=str(generator.choice(ENCODINGS)),
            is_bigendian=int(generator.integers(0, 3)),
            step=int(generator.integers(0, 40)),
            data=array('B', generator.bytes(int(generator.integers(0, 500)))),
        )
        try:
            rgb = to_rgb(msg)
        except ImageError:
            continue
        accepted += 1
        assert rgb.shape == (msg.height, msg.width, 3)
    assert accepted > 100
