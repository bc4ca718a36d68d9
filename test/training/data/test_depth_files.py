"""Files of depth: each encoding gives back its numbers, top row first; damage is a bad sample."""

import io

import cv2
import h5py
import numpy as np
import OpenEXR
import pytest

from training.data.depth_files import (
    decode_dpt,
    decode_exr,
    decode_hdf5,
    decode_npy,
    decode_pfm,
    decode_png,
    decode_raw,
    decode_sintel_camera,
)
from training.errors import BadSampleError

# No two numbers alike, none symmetric: a flip or a swap of axes shows.
DEPTH = np.arange(1, 13, dtype=np.float32).reshape(3, 4) / 4


def pfm(order, magic=b'Pf'):
    return (
        magic + b'\n4 3\n' + (b'-1.0' if order == '<' else b'1.0') + b'\n' + DEPTH[::-1].astype(f'{order}f4').tobytes()
    )


def npy(array):
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def exr(tmp_path, **channels):
    OpenEXR.File({'compression': OpenEXR.PIZ_COMPRESSION, 'type': OpenEXR.scanlineimage}, channels).write(
        str(tmp_path / 'x.exr')
    )
    return (tmp_path / 'x.exr').read_bytes()


def hdf5(array, key='dataset'):
    buffer = io.BytesIO()
    with h5py.File(buffer, 'w') as file:
        file[key] = array
    return buffer.getvalue()


def dpt(array, tag=202021.25):
    return np.float32(tag).tobytes() + np.int32([array.shape[1], array.shape[0]]).tobytes() + array.tobytes()


def test_png_of_16_bits_gives_all_levels():
    levels = np.array([[0, 1, 255], [256, 40000, 65535]], np.uint16)
    found = decode_png('a', cv2.imencode('.png', levels)[1].tobytes())
    assert found.dtype == np.float32
    assert np.array_equal(found, levels)


@pytest.mark.parametrize('order', '<>')
def test_pfm_of_either_byte_order_has_its_bottom_row_first(order):
    assert np.array_equal(decode_pfm('a', pfm(order)), DEPTH)


@pytest.mark.parametrize('shape', [(3, 4), (3, 4, 1), (1, 3, 4)])
def test_npy_may_have_an_axis_of_one(shape):
    assert np.array_equal(decode_npy('a', npy(DEPTH.astype(np.float64).reshape(shape))), DEPTH)


def test_an_exr_of_half_or_full_floats_and_of_one_or_three_channels(tmp_path):
    assert np.array_equal(decode_exr('a', exr(tmp_path, Z=DEPTH)), DEPTH)
    assert np.array_equal(decode_exr('a', exr(tmp_path, G=DEPTH.astype(np.float16))), DEPTH)
    three = exr(tmp_path, R=DEPTH, G=DEPTH + 1, B=DEPTH)
    assert np.array_equal(decode_exr('a', three), DEPTH + 1)
    assert np.array_equal(decode_exr('a', three, 'R'), DEPTH)
    with pytest.raises(BadSampleError, match='expected a channel Z in this EXR, found B, G, R'):
        decode_exr('a', three, 'Z')


def test_sintel_files_begin_with_their_tag():
    assert np.array_equal(decode_dpt('a', dpt(DEPTH)), DEPTH)
    matrix = np.arange(9.0).reshape(3, 3)
    camera = np.float32(202021.25).tobytes() + matrix.tobytes() + np.zeros(12).tobytes()
    assert np.array_equal(decode_sintel_camera('a', camera), matrix)
    for refused in (dpt(DEPTH, 7), b'PI'):
        with pytest.raises(BadSampleError, match=r'not a \.dpt'):
            decode_dpt('a', refused)
    with pytest.raises(BadSampleError, match=r'not a \.cam'):
        decode_sintel_camera('a', camera[:-8])


def test_hdf5_says_which_data_set_is_missing():
    assert np.array_equal(decode_hdf5('a', hdf5(DEPTH.astype(np.float16)), 'dataset'), DEPTH)
    with pytest.raises(BadSampleError, match="no data set 'depth'"):
        decode_hdf5('a', hdf5(DEPTH), 'depth')


def test_a_damaged_header_of_npy_is_a_bad_sample_whatever_is_damaged():
    content, rng, refused = npy(DEPTH), np.random.default_rng(0), 0
    for _ in range(2000):
        damaged = bytearray(content)
        for place in rng.integers(0, len(content) - DEPTH.nbytes, 2):
            damaged[place] = rng.integers(0, 256)
        try:
            decode_npy('a', bytes(damaged))
        except BadSampleError:
            refused += 1
    assert refused > 100


def test_every_decoder_refuses_a_file_without_its_end(tmp_path):
    files = [
        (decode_png, cv2.imencode('.png', np.arange(4096, dtype=np.uint16).reshape(64, 64))[1].tobytes()),
        (decode_npy, npy(DEPTH)),
        (decode_exr, exr(tmp_path, Z=DEPTH)),
        (decode_pfm, pfm('<')),
        (decode_dpt, dpt(DEPTH)),
        (lambda name, content: decode_hdf5(name, content, 'dataset'), hdf5(DEPTH)),
        (lambda name, content: decode_raw(name, content, (3, 4)), DEPTH.tobytes()),
    ]
    for decode, content in files:
        decode('a', content)
        for end in (0, 1, 12, len(content) // 2, len(content) - 3):
            with pytest.raises(BadSampleError, match=r'^a: '):
                decode('a', content[:end])


def test_numbers_left_over_are_refused():
    assert np.array_equal(decode_raw('a', DEPTH.astype('>f4').tobytes(), (3, 4), '>'), DEPTH)
    for decode, content in ((decode_pfm, pfm('>')), (decode_dpt, dpt(DEPTH))):
        with pytest.raises(BadSampleError, match='52 bytes of depth, where 4x3 float32 are expected'):
            decode('a', content + bytes(4))


def test_what_is_no_map_of_numbers_is_refused():
    for array in (np.zeros((3, 4, 3)), np.zeros(5), np.array([['a']]), np.zeros((0, 4)), np.zeros((2, 2), complex)):
        with pytest.raises(BadSampleError, match='expected an array of numbers'):
            decode_npy('a', npy(array))
    with pytest.raises(BadSampleError, match='PFM of one channel'):
        decode_pfm('a', pfm('<', b'PF'))
    with pytest.raises(BadSampleError, match='header'):
        decode_pfm('a', b'Pf\nfour three\n-1\n' + DEPTH.tobytes())
    with pytest.raises(BadSampleError, match='one channel'):
        decode_png('a', cv2.imencode('.png', np.zeros((4, 4, 3), np.uint8))[1].tobytes())
    with pytest.raises(BadSampleError, match=r'no whole \.npy'):
        decode_npy('a', npy(np.array([{}], object)))
