"""sensor_msgs/LaserScan to points, by its fields alone: rclpy's, rospy's and rosbags' messages will do."""

from __future__ import annotations

from math import isfinite
from typing import Any

import numpy as np

from depth_anything_ros.messages.errors import PointCloudError

# Drivers disagree whether angle_max is the last beam's or one beyond; in float32 it may be off a little more.
_COUNT_TOLERANCE = 1.5


def scan_to_points(message: Any) -> np.ndarray:
    """Return the measured points as float64 (N, 3) metres in the scan's frame, in the order of the beams, z = 0.

    Angles are counter-clockwise from x about z, their increment may be negative. Left out is what LaserScan.msg
    says to discard: NaN, Inf and ranges outside of range_min to range_max; and range_max itself, which many drivers
    say where nothing came back. Intensities are not looked at.

    Raises PointCloudError if the limits or angles make no sense, or do not give as many beams as there are ranges.
    """
    ranges = np.asarray(message.ranges, np.float64)
    nearest, farthest = float(message.range_min), float(message.range_max)
    if not 0.0 <= nearest < farthest:
        raise PointCloudError(
            f'LaserScan has range_min = {nearest:g} and range_max = {farthest:g}, expected 0 <= range_min < range_max'
        )
    _check_angles(message, ranges.size)
    angles = message.angle_min + np.arange(ranges.size) * message.angle_increment
    valid = np.isfinite(ranges) & (ranges > 0.0) & (ranges >= nearest) & (ranges < farthest)
    ranges, angles = ranges[valid], angles[valid]
    return np.stack([ranges * np.cos(angles), ranges * np.sin(angles), np.zeros(ranges.size)], axis=1)


def _check_angles(message: Any, count: int) -> None:
    first, last, increment = float(message.angle_min), float(message.angle_max), float(message.angle_increment)
    described = f'LaserScan has angle_min = {first:g}, angle_max = {last:g}, angle_increment = {increment:g}'
    if not all(map(isfinite, (first, last, increment))):
        raise PointCloudError(f'{described}, expected finite numbers')
    if count <= 1:
        return
    if increment == 0.0:
        raise PointCloudError(f'{described} and {count} ranges, which would all be one beam')
    beams = (last - first) / increment + 1.0
    if abs(beams - count) > _COUNT_TOLERANCE:
        raise PointCloudError(f'{described}: {beams:.0f} beams, but there are {count} ranges')
