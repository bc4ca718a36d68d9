"""Reading and resizing CameraInfo without a ROS import: messages of ROS 1 and 2, of rosbags, and dicts."""

import copy
from array import array
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

# One row a field: ROS 2 message, ROS 1 message, camera_calibration's YAML.
_NAMES = {
    'width': ('width', 'image_width'),
    'height': ('height', 'image_height'),
    'd': ('d', 'D', 'distortion_coefficients'),
    'k': ('k', 'K', 'camera_matrix'),
    'r': ('r', 'R', 'rectification_matrix'),
    'p': ('p', 'P', 'projection_matrix'),
}
_ROI_FIELDS = ('x_offset', 'y_offset', 'width', 'height')


class CameraInfoError(ValueError):
    """A CameraInfo that geometry cannot use; the message says what was expected and found, and what to do."""


@dataclass(frozen=True, eq=False)
class Calibration:
    """The numbers of a CameraInfo, checked for shape but not yet for meaning.

    `d` has any length, `k` and `r` have shape (3, 3), `p` has shape (3, 4). Fields that were never filled are
    zeros, as in the message. `x_offset`, `y_offset`, `roi_width`, `roi_height` are in full-resolution pixels;
    binning is at least 1 (sensor_msgs/CameraInfo: 0 means 1, a ROI of zeros means the full frame).
    """

    distortion_model: str
    d: np.ndarray
    k: np.ndarray
    r: np.ndarray
    p: np.ndarray
    binning_x: int
    binning_y: int
    x_offset: int
    y_offset: int
    roi_width: int
    roi_height: int
    full_width: int
    full_height: int

    @property
    def width(self) -> int:
        """Columns of the image that comes with this CameraInfo: ROI, then binning (REP 104)."""
        return self.roi_width // self.binning_x

    @property
    def height(self) -> int:
        """Rows of the image that comes with this CameraInfo: ROI, then binning (REP 104)."""
        return self.roi_height // self.binning_y

    @property
    def is_full_frame(self) -> bool:
        """Whether the image is the calibrated frame itself, neither cropped nor binned."""
        return (self.width, self.height) == (self.full_width, self.full_height)


def read_calibration(info) -> Calibration:
    """Read a CameraInfo message (ROS 2 or ROS 1 names) or a dict (those, or camera_calibration's YAML).

    Raises CameraInfoError if the size is zero, K is absent, a matrix has the wrong number of entries, or the
    ROI and binning leave no pixel of the calibrated frame.
    """
    width, height = _integer(info, 'width'), _integer(info, 'height')
    if width <= 0 or height <= 0:
        raise CameraInfoError(
            f'CameraInfo has size {width}x{height}, expected the calibrated width and height in pixels; '
            'calibrate the camera or fix the driver'
        )
    roi = _get(info, 'roi', default={})
    x, y, roi_width, roi_height = (_integer(roi, name) for name in _ROI_FIELDS)
    if (x, y, roi_width, roi_height) == (0, 0, 0, 0):
        roi_width, roi_height = width, height
    binning_x, binning_y = (max(1, _integer(info, name)) for name in ('binning_x', 'binning_y'))
    inside = x >= 0 and y >= 0 and x + roi_width <= width and y + roi_height <= height
    if not inside or roi_width < binning_x or roi_height < binning_y:
        raise CameraInfoError(
            f'CameraInfo has roi {roi_width}x{roi_height} at ({x}, {y}) and binning {binning_x}x{binning_y}, '
            f'expected a part of the calibrated {width}x{height} frame that holds at least one binned pixel; '
            'fix the driver, or set roi and binning to zeros if the image is the full frame'
        )
    if _find(info, 'k') is None:
        raise CameraInfoError('CameraInfo has no K (field k), expected 9 numbers; calibrate the camera')
    return Calibration(
        distortion_model=str(_get(info, 'distortion_model', default='')),
        d=_numbers(info, 'd'),
        k=_matrix(info, 'k', (3, 3)),
        r=_matrix(info, 'r', (3, 3)),
        p=_matrix(info, 'p', (3, 4)),
        binning_x=binning_x,
        binning_y=binning_y,
        x_offset=x,
        y_offset=y,
        roi_width=roi_width,
        roi_height=roi_height,
        full_width=width,
        full_height=height,
    )


def resize_camera_info(info, width: int, height: int):
    """Return a copy of a CameraInfo for its image resized to `width` x `height` pixels.

    `info` is a message (ROS 2 or ROS 1 names) or a dict with a message's field names; it is not changed. K
    and P are scaled plainly, without a half-pixel shift, as image_proc::ResizeNode does (P's Ty too, which
    that node leaves; it is 0 but for vertical stereo). D and R hold for any size. If the image is cropped or
    binned, the ROI and binning are folded into K and P as image_geometry applies them, and the copy describes
    a full frame of the new size: a scaled ROI would have to be rounded to whole pixels. An image that keeps
    its size keeps its CameraInfo, ROI and binning included.

    Raises CameraInfoError as `read_calibration` does, ValueError if the new size is not positive.
    """
    if width <= 0 or height <= 0:
        raise ValueError(f'expected a positive image size, got {width}x{height}')
    calibration = read_calibration(info)
    resized = copy.deepcopy(info)
    if (width, height) == (calibration.width, calibration.height):
        return resized
    k, p = operational_matrices(calibration)
    for field, matrix in (('k', k), ('p', p)):
        if matrix.any():  # one that was never filled may not even be a field
            matrix[0] *= width / calibration.width
            matrix[1] *= height / calibration.height
            _put(resized, field, matrix)
    _put(resized, 'width', int(width))
    _put(resized, 'height', int(height))
    _reset_operational_fields(resized, calibration, width, height)
    return resized


def operational_matrices(calibration: Calibration) -> tuple[np.ndarray, np.ndarray]:
    """Return K (3, 3) and P (3, 4) of the image after ROI and binning, in its pixels.

    As image_geometry's PinholeCameraModel::fromCameraInfo: the principal point moves by the ROI's offset,
    then all is divided by the binning. P is cropped by the raw ROI too, which is exact when the rectified
    image was cropped the same way.
    """
    matrices = calibration.k.copy(), calibration.p.copy()
    for matrix in matrices:
        if matrix.any():  # one that was never filled stays zero
            matrix[0, 2] -= calibration.x_offset
            matrix[1, 2] -= calibration.y_offset
            matrix[0] /= calibration.binning_x
            matrix[1] /= calibration.binning_y
    return matrices


def _reset_operational_fields(resized, calibration: Calibration, width: int, height: int) -> None:
    roi = _get(resized, 'roi', default=None)
    if roi is not None:
        explicit = calibration.is_full_frame and _integer(roi, 'width') > 0
        for name, value in zip(_ROI_FIELDS, (0, 0, width, height) if explicit else (0, 0, 0, 0), strict=True):
            _put(roi, name, value)
    if not calibration.is_full_frame:
        for name in ('binning_x', 'binning_y'):
            if _find(resized, name) is not None:
                _put(resized, name, 1)


def _find(source, field: str) -> str | None:
    """Return the name under which `source` has `field`, or None."""
    for name in _NAMES.get(field, (field,)):
        if name in source if isinstance(source, Mapping) else hasattr(source, name):
            return name
    return None


def _get(source, field: str, default):
    name = _find(source, field)
    if name is None:
        return default
    return source[name] if isinstance(source, Mapping) else getattr(source, name)


def _put(source, field: str, value) -> None:
    name = _find(source, field)
    old = _get(source, field, default=None)
    if isinstance(value, np.ndarray):  # each message library wants its own container back
        flat = value.ravel().tolist()
        if isinstance(old, np.ndarray):
            value = np.array(flat)
        elif isinstance(old, array):
            value = array('d', flat)
        else:
            value = tuple(flat) if isinstance(old, tuple) else flat
    if isinstance(source, Mapping):
        source[name] = value
    else:
        setattr(source, name, value)


def _integer(source, field: str) -> int:
    return int(_get(source, field, default=0))


def _numbers(info, field: str) -> np.ndarray:
    value = _get(info, field, default=())
    if isinstance(value, Mapping):  # camera_calibration's {rows, cols, data}
        value = value.get('data', ())
    try:
        return np.array(value, dtype=np.float64).ravel()
    except (TypeError, ValueError) as error:
        raise CameraInfoError(f'CameraInfo has {field} = {value!r}, expected numbers') from error


def _matrix(info, field: str, shape: tuple[int, int]) -> np.ndarray:
    numbers = _numbers(info, field)
    if numbers.size == 0:
        return np.zeros(shape)
    if numbers.size != shape[0] * shape[1]:
        raise CameraInfoError(
            f'CameraInfo has {numbers.size} numbers in {field}, expected {shape[0] * shape[1]} (row by row)'
        )
    return numbers.reshape(shape)
