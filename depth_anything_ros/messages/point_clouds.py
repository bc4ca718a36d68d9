"""sensor_msgs/PointCloud2 to an array, by its fields alone: rclpy's, rospy's and rosbags' messages will do."""

from __future__ import annotations

from typing import Any

import numpy as np

from depth_anything_ros.messages.errors import PointCloudError

# sensor_msgs/PointField: INT8 = 1 to FLOAT64 = 8.
_DATATYPES = {1: 'i1', 2: 'u1', 3: 'i2', 4: 'u2', 5: 'i4', 6: 'u4', 7: 'f4', 8: 'f8'}


def to_points(message: Any) -> np.ndarray:
    """Return x, y, z of all points as (N, 3) metres, row after row, a copy; NaN and Inf are kept.

    float32 where that holds all values of the three fields, else float64. The fields may be of any datatype and
    in any order, between others; padding of points and rows and the byte order are read as what they are.

    Raises PointCloudError if a field is missing or does not fit into a point, or if `data` ends early.
    """
    width, height = int(message.width), int(message.height)
    step, row_step = int(message.point_step), int(message.row_step)
    dtype = _point_dtype(message, step)
    if height <= 1:
        row_step = width * step  # there is no next row, and some drivers leave it 0
    if row_step < width * step:
        raise PointCloudError(f'PointCloud2 has a row_step of {row_step} bytes, but {width} points need {width * step}')
    size, needed = memoryview(message.data).nbytes, (max(height, 1) - 1) * row_step + width * step
    if width * height and size < needed:
        raise PointCloudError(
            f'PointCloud2 of {width}x{height} points has {size} bytes of data, expected at least {needed}'
        )
    if not width * height:
        return np.empty((0, 3), np.float32)
    cloud = np.ndarray((height, width), dtype, buffer=message.data, strides=(row_step, step))
    points = np.empty((height, width, 3), np.result_type(np.float32, *(dtype[axis] for axis in 'xyz')))
    with np.errstate(invalid='ignore'):  # padding may hold signalling NaNs
        for index, axis in enumerate('xyz'):
            points[..., index] = cloud[axis]
    return points.reshape(-1, 3)


def _point_dtype(message: Any, step: int) -> np.dtype:
    """Where x, y and z are in a point."""
    fields = {field.name: field for field in message.fields}
    missing = [axis for axis in 'xyz' if axis not in fields]
    if missing:
        raise PointCloudError(f'PointCloud2 has the fields {", ".join(fields) or "none"}, but not {", ".join(missing)}')
    order = '>' if message.is_bigendian else '<'
    formats, offsets = [], []
    for axis in 'xyz':
        offset, datatype = int(fields[axis].offset), int(fields[axis].datatype)
        if datatype not in _DATATYPES:
            raise PointCloudError(f'field {axis} of a PointCloud2 has datatype {datatype}, expected 1 to 8')
        formats.append(order + _DATATYPES[datatype])
        offsets.append(offset)
        end = offset + np.dtype(formats[-1]).itemsize
        if offset < 0 or end > step:
            raise PointCloudError(f'field {axis} of a PointCloud2 ends at byte {end} of a point of {step} bytes')
    return np.dtype({'names': ['x', 'y', 'z'], 'formats': formats, 'offsets': offsets, 'itemsize': step})
