"""Which way is up: from angles, from a frame, or from an IMU."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import cos, sin
from typing import Any

import numpy as np

from depth_anything_ros.alignment.hook import EvidenceError
from depth_anything_ros.geometry.transforms import rigid_matrix
from depth_anything_ros.messages import stamp_ns

STANDARD_GRAVITY = 9.80665
"""m/s^2."""
_UNIT_TOLERANCE = 0.05
# A robot that brakes hard tilts what its accelerometer calls up by 15 degrees; more is a contradiction.
_MAX_CONTRADICTION_RAD = 0.35
_UNSET_QUATERNIONS = ((0.0, 0.0, 0.0, 0.0), (0.0, 0.0, 0.0, 1.0))


@dataclass(frozen=True)
class Up:
    """A direction in a frame at a time: unit vector (3,), away from the ground.

    sigma_rad: standard deviation of its angle, so far as its source knows it.
    """

    direction: np.ndarray
    frame_id: str
    stamp_ns: int
    sigma_rad: float = 0.0


def up_from_angles(pitch_rad: float, roll_rad: float) -> np.ndarray:
    """The unit vector (3,) that points up, in the optical frame of a camera with this pitch and roll.

    As in a URDF's rpy: the camera's own frame (REP 103: x forward, y left, z up) is level, turned about its x axis
    by the roll and then about the level y axis by the pitch, both right-handed. So a positive pitch looks down, and
    with a positive roll the right-hand side of the image is the lower one. The yaw has no part in it.
    """
    # The last row of Ry(pitch) Rx(roll), which is "up" in the camera's frame; optical is x right, y down, z forward.
    return np.array([-cos(pitch_rad) * sin(roll_rad), -cos(pitch_rad) * cos(roll_rad), -sin(pitch_rad)])


def up_from_imu(message: Any, acceleration_tolerance: float, acceleration_sigma: float) -> Up:
    """Where up is in the frame of a sensor_msgs/Imu.

    Its orientation decides if it has one (REP 145: in a world whose z axis is up), else its acceleration, which at
    rest is g upwards, if its length is within acceleration_tolerance, m/s^2, of g. The length hardly tells whether the
    robot rests: 1 m/s^2 forward tilts it by 6 degrees and adds 0.05 m/s^2. So the angle is as uncertain as the robot's
    own acceleration of standard deviation acceleration_sigma, m/s^2, makes it. Nobody knows which of the two is wrong
    where they contradict each other.

    Raises EvidenceError.
    """
    oriented = _up_from_orientation(message)
    acceleration = np.array([getattr(message.linear_acceleration, axis) for axis in 'xyz'], np.float64)
    length = float(np.linalg.norm(acceleration))
    resting = abs(length - STANDARD_GRAVITY) <= acceleration_tolerance and not _is_marked_absent(
        message.linear_acceleration_covariance
    )
    if oriented is None and not resting:
        raise EvidenceError(
            f'the Imu message has no orientation, and its acceleration of {length:.2f} m/s^2 is not within '
            f'{acceleration_tolerance:g} of gravity: take an IMU with orientation, or a filter such as '
            'imu_filter_madgwick'
        )
    if oriented is not None and resting:
        angle = float(np.arccos(np.clip(oriented @ acceleration / length, -1.0, 1.0)))
        if angle > _MAX_CONTRADICTION_RAD:
            raise EvidenceError(
                f"the Imu message's orientation and its acceleration disagree by {np.degrees(angle):.0f} degrees on "
                'where up is: one of them is not in the frame of the message, or is never filled in'
            )
    if oriented is None:
        sigma_rad = acceleration_sigma / STANDARD_GRAVITY
        return Up(acceleration / length, message.header.frame_id, stamp_ns(message), sigma_rad)
    return Up(oriented, message.header.frame_id, stamp_ns(message))


def _up_from_orientation(message: Any) -> np.ndarray | None:
    quaternion = tuple(float(getattr(message.orientation, axis)) for axis in 'xyzw')
    # A message that nobody filled in has the identity and no covariance; it would mean "level" if it were meant.
    unset = quaternion in _UNSET_QUATERNIONS and not np.any(message.orientation_covariance)
    if unset or _is_marked_absent(message.orientation_covariance):
        return None
    if not abs(float(np.linalg.norm(quaternion)) - 1.0) < _UNIT_TOLERANCE:
        raise EvidenceError(f'the Imu message has an orientation that no rotation is: x, y, z, w = {list(quaternion)}')
    return rigid_matrix((0.0, 0.0, 0.0), quaternion)[2, :3]


def _is_marked_absent(covariance: Sequence[float]) -> bool:
    """Whether a driver says with -1 that it does not measure this."""
    return float(covariance[0]) == -1.0
