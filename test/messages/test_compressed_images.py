import struct
import zlib
from array import array
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from depth_anything_ros.messages import (
    ImageError,
    MalformedImageError,
    UnsupportedEncodingError,
    compressed_to_rgb,
    to_rgb,
)

FORMATS = [
    'jpeg',
    'jpg',
    '',
    'rgb8; jpeg compressed bgr8',
    'bgr8; jpeg compressed bgr8',
    'bayer_rggb8; jpeg compressed bgr8',
]


def picture(height=48, width=64):
    y, x = np.mgrid[0:height, 0:width]
    return np.stack([3 * x, 255 - 4 * y, 2 * x + y], axis=-1).clip(0, 255).astype(np.uint8)


def encoded(suffix, rgb, *options):
    bgr = rgb[..., ::-1] if rgb.ndim == 3 and rgb.shape[2] == 3 else rgb
    return cv2.imencode(suffix, np.ascontiguousarray(bgr), list(options))[1].tobytes()


def message(data, format_name='jpeg'):
    return SimpleNamespace(format=format_name, data=array('B', data))


def png(width, height, depth=8, colour_type=0, pixels=b''):
    def chunk(name, body):
        return struct.pack('>I', len(body)) + name + body + struct.pack('>I', zlib.crc32(name + body))

    header = struct.pack('>IIBBBBB', width, height, depth, colour_type, 0, 0, 0)
    body = chunk(b'IHDR', header) + chunk(b'IDAT', zlib.compress(pixels)) + chunk(b'IEND', b'')
    return b'\x89PNG\r\n\x1a\n' + body


def with_exif(jpeg, thumbnail=b''):
    """Insert an EXIF segment that asks for a rotation by 90 degrees and carries `thumbnail`."""
    orientation = struct.pack('>HHIHH', 0x0112, 3, 1, 6, 0)
    tiff = b'MM\x00\x2a' + struct.pack('>I', 8) + struct.pack('>H', 1) + orientation + struct.pack('>I', 0)
    body = b'Exif\x00\x00' + tiff + thumbnail
    return jpeg[:2] + b'\xff\xe1' + struct.pack('>H', len(body) + 2) + body + jpeg[2:]


@pytest.mark.parametrize('format_name', FORMATS)
def test_jpeg_comes_back_as_rgb(format_name):
    found = compressed_to_rgb(message(encoded('.jpg', picture()), format_name))
    assert found.dtype == np.uint8
    assert found.flags.c_contiguous
    assert np.abs(found.astype(int) - picture()).mean() < 3


@pytest.mark.parametrize('format_name', ['png', 'bgr8; png compressed', 'bgr8; png compressed bgr8'])
def test_png_comes_back_exactly(format_name):
    np.testing.assert_array_equal(compressed_to_rgb(message(encoded('.png', picture()), format_name)), picture())


def test_red_and_blue_are_exchanged_only_where_the_format_says_so():
    data = encoded('.png', picture())
    found = compressed_to_rgb(message(data, 'rgb8; png compressed rgb8'))
    np.testing.assert_array_equal(found, picture()[..., ::-1])


def test_grey_is_repeated_alpha_dropped_and_16_bits_rounded():
    grey = picture()[..., 0]
    found = compressed_to_rgb(message(encoded('.png', grey), 'mono8; png compressed '))
    np.testing.assert_array_equal(found, np.repeat(grey[..., None], 3, axis=-1))
    with_alpha = np.dstack([picture()[..., ::-1], np.full(grey.shape, 3, np.uint8)])
    np.testing.assert_array_equal(compressed_to_rgb(message(encoded('.png', with_alpha), 'png')), picture())
    deep = np.random.default_rng(0).integers(0, 65536, (5, 7, 3), np.uint16)
    np.testing.assert_array_equal(compressed_to_rgb(message(encoded('.png', deep), 'png')), np.rint(deep / 257))
    found = compressed_to_rgb(message(encoded('.png', deep[..., 0]), 'mono16; png compressed '))
    np.testing.assert_array_equal(found[..., 1], np.rint(deep[..., 0] / 257))


def mosaic(pattern, rgb):
    pixels = np.empty(rgb.shape[:2], rgb.dtype)
    for place, letter in enumerate(pattern):
        row, column = divmod(place, 2)
        pixels[row::2, column::2] = rgb[row::2, column::2, 'rgb'.index(letter)]
    return pixels


def raw_to_rgb(encoding, pixels):
    height, width = pixels.shape
    layout = {'height': height, 'width': width, 'step': width * pixels.itemsize, 'is_bigendian': 0}
    return to_rgb(SimpleNamespace(encoding=encoding, data=array('B', pixels.tobytes()), **layout))


@pytest.mark.parametrize('pattern', ['rggb', 'bggr', 'gbrg', 'grbg'])
def test_a_bayer_mosaic_is_interpolated_as_if_it_had_come_raw(pattern):
    encoding, pixels = f'bayer_{pattern}8', mosaic(pattern, picture())
    expected = raw_to_rgb(encoding, pixels)
    for format_name in (f'{encoding}; png compressed ', f'{encoding}; png compressed', encoding):
        found = compressed_to_rgb(message(encoded('.png', pixels), format_name))
        np.testing.assert_array_equal(found, expected)
    even = mosaic(pattern, np.full((48, 64, 3), (250, 100, 20), np.uint8))
    jpeg = encoded('.jpg', even, cv2.IMWRITE_JPEG_QUALITY, 100)
    found = compressed_to_rgb(message(jpeg, f'{encoding}; jpeg compressed '))
    np.testing.assert_allclose(found.astype(int), raw_to_rgb(encoding, even), atol=8)
    deep = mosaic(pattern, np.random.default_rng(0).integers(0, 65536, (8, 10, 3), np.uint16))
    encoding = f'bayer_{pattern}16'
    found = compressed_to_rgb(message(encoded('.png', deep), f'{encoding}; png compressed '))
    np.testing.assert_array_equal(found, raw_to_rgb(encoding, deep))


@pytest.mark.parametrize(
    ('suffix', 'pixels', 'format_name', 'text'),
    [
        ('.jpg', np.zeros((8, 8), np.uint8), 'bayer_rggb16; jpeg compressed ', 'has 8 bits a pixel, expected 16'),
        ('.png', np.zeros((8, 8), np.uint16), 'bayer_rggb8; png compressed ', 'has 16 bits a pixel, expected 8'),
        ('.png', np.zeros((2, 8), np.uint8), 'bayer_rggb8; png compressed ', 'at least 3x3'),
    ],
)
def test_a_mosaic_that_is_not_what_its_name_says_is_refused(suffix, pixels, format_name, text):
    with pytest.raises(MalformedImageError, match=text):
        compressed_to_rgb(message(encoded(suffix, pixels), format_name))


def test_an_exif_rotation_is_not_applied():
    data = with_exif(encoded('.jpg', picture()))
    assert cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR).shape == (64, 48, 3)
    assert compressed_to_rgb(message(data)).shape == (48, 64, 3)


@pytest.mark.parametrize('progressive', [0, 1])
@pytest.mark.parametrize('kept', [0.02, 0.3, 0.6, 0.9, -2, -1])
def test_a_truncated_jpeg_is_refused_though_opencv_may_fill_it_with_grey(kept, progressive):
    whole = encoded('.jpg', picture(), cv2.IMWRITE_JPEG_PROGRESSIVE, progressive)
    compressed_to_rgb(message(whole))
    data = whole[: kept if kept < 0 else int(kept * len(whole))]
    with pytest.raises(MalformedImageError, match=f'truncated: {len(data)} bytes of JPEG without its end mark'):
        compressed_to_rgb(message(data))


def test_the_end_mark_of_a_thumbnail_is_not_taken_for_the_picture_s():
    data = with_exif(encoded('.jpg', picture()), thumbnail=encoded('.jpg', picture(8, 8)))
    assert compressed_to_rgb(message(data)).shape == (48, 64, 3)
    with pytest.raises(MalformedImageError, match='truncated'):
        compressed_to_rgb(message(data[:-40]))


@pytest.mark.parametrize('tail', [b'\0' * 64, b'\xff' * 3, b'left over from the last frame'])
def test_what_follows_the_picture_in_its_buffer_does_not_matter(tail):
    for suffix in ('.jpg', '.png'):
        data = encoded(suffix, picture())
        np.testing.assert_array_equal(compressed_to_rgb(message(data + tail)), compressed_to_rgb(message(data)))


@pytest.mark.parametrize('kept', [0.1, 0.5, 0.9, -1])
def test_a_truncated_png_is_refused(kept):
    whole = encoded('.png', picture())
    with pytest.raises(MalformedImageError, match='of PNG without its end mark'):
        compressed_to_rgb(message(whole[: kept if kept < 0 else int(kept * len(whole))], 'png'))


@pytest.mark.parametrize('data', [b'', b'\0' * 50, b'not an image', b'\xff\xd8'])
def test_data_of_neither_kind_is_refused(data):
    with pytest.raises(MalformedImageError, match=f"'jpeg' data is neither JPEG nor PNG: {len(data)} bytes"):
        compressed_to_rgb(message(data))


def test_a_damaged_png_and_a_jpeg_without_a_frame_are_refused():
    damaged = bytearray(encoded('.png', picture()))
    damaged[len(damaged) // 2] ^= 0x55
    with pytest.raises(MalformedImageError, match='cannot be decoded'):
        compressed_to_rgb(message(damaged, 'png'))
    with pytest.raises(MalformedImageError, match='no JPEG frame header'):
        compressed_to_rgb(message(b'\xff\xd8\xff\xd9'))


@pytest.mark.parametrize('format_name', ['16UC1; compressedDepth png', '32FC1; compressedDepth', 'webp', 'tiff'])
def test_other_formats_are_named(format_name):
    with pytest.raises(UnsupportedEncodingError, match=f"'{format_name}' is not supported; supported are jpeg, png"):
        compressed_to_rgb(message(b'RIFF....WEBP', format_name))


def test_a_header_that_claims_an_absurd_size_is_refused_before_memory_is_taken():
    with pytest.raises(MalformedImageError, match='claims 60000x60000'):
        compressed_to_rgb(message(png(60000, 60000), 'png'))
    bomb = bytearray(encoded('.jpg', picture()))
    frame = bomb.index(b'\xff\xc0')
    bomb[frame + 5 : frame + 9] = b'\xff\xff\xff\xff'
    with pytest.raises(MalformedImageError, match='claims 65535x65535'):
        compressed_to_rgb(message(bomb))
    with pytest.raises(MalformedImageError):
        compressed_to_rgb(message(png(0, 0), 'png'))
    with pytest.raises(MalformedImageError, match='65 bytes claims 8000x8000, over 71500 pixels'):
        compressed_to_rgb(message(png(8000, 8000), 'png'))


def test_a_damaged_chunk_length_is_refused_before_memory_is_taken():
    damaged = bytearray(encoded('.png', picture()))
    damaged[damaged.index(b'IDAT') - 4] = 0x7F
    with pytest.raises(MalformedImageError, match='without its end mark'):
        compressed_to_rgb(message(damaged, 'png'))


@pytest.mark.parametrize('suffix', ['.jpg', '.png'])
def test_a_lens_cap_is_not_taken_for_a_damaged_header(suffix):
    options = (cv2.IMWRITE_PNG_COMPRESSION, 9, cv2.IMWRITE_JPEG_PROGRESSIVE, 1, cv2.IMWRITE_JPEG_OPTIMIZE, 1)
    black = np.zeros((2000, 2000), np.uint8)
    assert not compressed_to_rgb(message(encoded(suffix, black, *options), '')).any()


def test_random_damage_raises_nothing_but_image_errors():
    generator = np.random.default_rng(0)
    sources = [encoded('.jpg', picture(16, 16)), encoded('.png', picture(16, 16))]
    for _ in range(300):
        data = bytearray(sources[generator.integers(2)])
        for position in generator.integers(0, len(data), 3):
            data[position] = generator.integers(256)
        try:
            rgb = compressed_to_rgb(message(data[: generator.integers(1, len(data) + 1)]))
        except ImageError:
            continue
        assert rgb.ndim == 3
        assert rgb.shape[2] == 3
