"""Depth as data sets store it: from a file's bytes to an array. Units and what is invalid are the reader's matter."""

from __future__ import annotations

import io
import tempfile

import numpy as np

from training.data.shards import decode_grey
from training.errors import BadSampleError, TrainingError

# MPI Sintel's depth and camera files begin with it: the float of the bytes `PIEH` (sintel_io.py of its SDK).
_SINTEL_TAG = 202021.25
# What a channel of depth or disparity is called, in the order in which they are looked for. IRS has G or R, G, B alike.
_EXR_CHANNELS = ('Z', 'Y', 'V', 'G', 'R')


def decode_png(name: str, content: bytes, bits: int | None = None) -> np.ndarray:
    """A PNG of one channel as (H, W) float32 of the numbers in it; raises BadSampleError.

    bits: of a number, 8 or 16: a tool that saved 16 as 8 changed the unit; None: either.
    """
    levels = decode_grey(name, content)
    found = 8 * levels.itemsize
    if bits not in (None, found):
        raise BadSampleError(f'{name}: {found} bits a pixel, where the unit needs {bits}')
    return levels.astype(np.float32)


def decode_npy(name: str, content: bytes) -> np.ndarray:
    """A .npy file, (H, W) or with axes of length 1 around it, as (H, W) float32; raises BadSampleError."""
    try:
        array = np.lib.format.read_array(io.BytesIO(content), allow_pickle=False)
    except Exception as error:
        # NumPy raises what its parser of a damaged header happens to raise.
        raise BadSampleError(f'{name}: no whole .npy file: {type(error).__name__}: {error}') from error
    return _plane(name, array)


def decode_hdf5(name: str, content: bytes, dataset: str) -> np.ndarray:
    """A data set of an HDF5 file as (H, W) float32.

    Raises:
        BadSampleError: the file is damaged, or has no such data set.
        TrainingError: h5py is not installed.
    """
    try:
        import h5py  # noqa: PLC0415 - optional
    except ImportError as error:
        raise TrainingError(f'reading {name} needs h5py: pip install h5py') from error
    try:
        with h5py.File(io.BytesIO(content), 'r') as file:
            found = file[dataset][()]
    except (KeyError, TypeError) as error:
        raise BadSampleError(f'{name}: no data set {dataset!r} in this HDF5 file') from error
    except Exception as error:
        # h5py raises what the library's parsers happen to raise.
        raise BadSampleError(f'{name}: no whole HDF5 file: {type(error).__name__}: {error}') from error
    return _plane(name, found)


def decode_exr(name: str, content: bytes, channel: str = '') -> np.ndarray:
    """One channel of an OpenEXR picture as (H, W) float32.

    Args:
        name: for messages.
        content: the file.
        channel: which one; '' for the first there is of Z, Y, V, G, R (a picture of depth has it in all its channels).

    Raises:
        BadSampleError: the file is damaged, or has no such channel.
        TrainingError: OpenEXR is not installed.
    """
    try:
        import OpenEXR  # noqa: PLC0415 - optional
    except ImportError as error:  # OpenCV's wheels leave EXR out
        raise TrainingError(f'reading {name} needs OpenEXR: pip install OpenEXR') from error
    # A file, since only the newest versions read from memory.
    with tempfile.NamedTemporaryFile(suffix='.exr') as file:
        file.write(content)
        file.flush()
        try:
            channels = OpenEXR.File(file.name, separate_channels=True).channels()
        except (RuntimeError, ValueError, TypeError) as error:
            raise BadSampleError(f'{name}: no whole EXR file ({len(content)} bytes)') from error
    found = next((each for each in ([channel] if channel else _EXR_CHANNELS) if each in channels), None)
    if found is None:
        wanted = channel or ', '.join(_EXR_CHANNELS)
        raise BadSampleError(f'{name}: expected a channel {wanted} in this EXR, found {", ".join(channels) or "none"}')
    return _plane(name, channels[found].pixels)


def decode_pfm(name: str, content: bytes) -> np.ndarray:
    """A portable float map of one channel, of either byte order, as (H, W) float32 with the top row first.

    The file has the bottom row first; a negative scale means little-endian (P. Debevec's format).
    Raises BadSampleError.
    """
    # Three lines: magic, width and height, scale; the numbers follow the last line's end at once.
    header = content[:128].split(b'\n', 3)
    if len(header) < 4 or header[0].strip() != b'Pf':
        raise BadSampleError(f'{name}: expected a PFM of one channel (Pf), found {content[:2]!r}')
    try:
        width, height = (int(word) for word in header[1].split())
        order = '<' if float(header[2]) < 0 else '>'
    except ValueError as error:
        raise BadSampleError(f'{name}: the header of this PFM is damaged: {error}') from error
    start = sum(len(line) + 1 for line in header[:3])
    return decode_raw(name, content[start:], (height, width), order)[::-1].copy()


def decode_dpt(name: str, content: bytes) -> np.ndarray:
    """A depth file of MPI Sintel (tag, width, height, little-endian float32) as (H, W); raises BadSampleError."""
    if len(content) < 12 or np.frombuffer(content[:4], '<f4')[0] != np.float32(_SINTEL_TAG):
        raise BadSampleError(f'{name}: not a .dpt file: it does not begin with {_SINTEL_TAG}')
    width, height = (int(value) for value in np.frombuffer(content[4:12], '<i4'))
    return decode_raw(name, content[12:], (height, width))


def decode_sintel_camera(name: str, content: bytes) -> np.ndarray:
    """The intrinsic matrix of a .cam file of MPI Sintel (tag, 3x3 and 3x4 float64) as (3, 3); raises BadSampleError."""
    if len(content) != 4 + 8 * 21 or np.frombuffer(content[:4], '<f4')[0] != np.float32(_SINTEL_TAG):
        raise BadSampleError(f'{name}: not a .cam file: {len(content)} bytes instead of 172 beginning {_SINTEL_TAG}')
    return np.frombuffer(content[4 : 4 + 8 * 9], '<f8').reshape(3, 3)


def decode_raw(name: str, content: bytes, size: tuple[int, int], order: str = '<') -> np.ndarray:
    """Bare float32 numbers, row by row, as (H, W).

    Args:
        name: for messages.
        content: the numbers.
        size: height and width that they must fill.
        order: `<` for little-endian, `>` for big-endian.

    Raises:
        BadSampleError: there are more or fewer numbers.
    """
    height, width = size
    if min(size) < 1 or len(content) != 4 * height * width:
        raise BadSampleError(f'{name}: {len(content)} bytes of depth, where {width}x{height} float32 are expected')
    return np.frombuffer(content, f'{order}f4').reshape(size).astype(np.float32)


# By suffix, those that need nothing but the bytes.
DECODERS = {'png': decode_png, 'npy': decode_npy, 'exr': decode_exr, 'pfm': decode_pfm, 'dpt': decode_dpt}


def _plane(name: str, array: np.ndarray) -> np.ndarray:
    plane = array.squeeze() if array.ndim > 2 else array
    if plane.ndim != 2 or not plane.size or plane.dtype.kind not in 'fiu':
        raise BadSampleError(f'{name}: expected an array of numbers (H, W), found {array.dtype} {array.shape}')
    return plane.astype(np.float32)
