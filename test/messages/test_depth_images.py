from array import array
from types import SimpleNamespace

import numpy as np
import pytest

from depth_anything_ros.messages import MalformedImageError, UnsupportedEncodingError, to_depth


def message(encoding, values, padding=0):
    """`values` carry the byte order in their dtype."""
    raw = np.pad(values.view(np.uint8).reshape(len(values), -1), ((0, 0), (0, padding)), constant_values=0x5A)
    return SimpleNamespace(
        height=values.shape[0],
        width=values.shape[1],
        encoding=encoding,
        is_bigendian=int(values.dtype.str.startswith('>')),
        step=raw.shape[1],
        data=array('B', raw.tobytes()),
    )


@pytest.mark.parametrize('padding', [0, 1, 4, 7])
@pytest.mark.parametrize('order', ['<', '>'])
def test_float_depth_keeps_its_metres_and_marks_the_invalid(order, padding):
    values = np.array([[1.5, 0.0, -2.0], [np.nan, np.inf, -np.inf]], f'{order}f4')
    found = to_depth(message('32FC1', values, padding))
    assert found.dtype == np.float32
    assert found.flags.c_contiguous
    np.testing.assert_array_equal(found, [[1.5, np.nan, np.nan], [np.nan, np.inf, -np.inf]])


@pytest.mark.parametrize('encoding', ['16UC1', 'mono16'])
@pytest.mark.parametrize('padding', [0, 3])
@pytest.mark.parametrize('order', ['<', '>'])
def test_integer_depth_is_in_millimetres_and_zero_is_invalid(order, padding, encoding):
    values = np.array([[0, 1, 256], [1000, 2345, 65535]], f'{order}u2')
    found = to_depth(message(encoding, values, padding))
    np.testing.assert_allclose(found, [[np.nan, 0.001, 0.256], [1, 2.345, 65.535]], rtol=1e-6)


def test_the_message_is_left_as_it_was():
    msg = message('32FC1', np.array([[0, 1]], np.float32))
    before = msg.data.tobytes()
    to_depth(msg)[:] = 3
    assert msg.data.tobytes() == before


def test_random_bits_give_no_warning(recwarn):
    bits = np.random.default_rng(0).integers(0, 2**32, (64, 64), np.uint32)
    found = to_depth(message('32FC1', bits))
    assert not np.any(found <= 0, where=np.isfinite(found))
    assert not recwarn.list


def test_other_encodings_are_named():
    msg = message('32FC1', np.ones((2, 2), np.float32))
    msg.encoding = 'rgb8'
    with pytest.raises(UnsupportedEncodingError, match="'rgb8' is not supported; supported are 32FC1, 16UC1"):
        to_depth(msg)


@pytest.mark.parametrize(
    ('changes', 'text'),
    [
        ({'width': 0}, 'is empty'),
        ({'step': 7}, 'a row needs 8'),
        ({'data': array('B', bytes(15))}, '15 bytes of data'),
    ],
)
def test_contradicting_fields_are_named(changes, text):
    msg = message('32FC1', np.ones((2, 2), np.float32))
    vars(msg).update(changes)
    with pytest.raises(MalformedImageError, match=text):
        to_depth(msg)
