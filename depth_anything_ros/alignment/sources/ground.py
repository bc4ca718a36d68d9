"""Metres from the floor: the camera's height above it, and the direction of gravity."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil, hypot, isfinite, pi, sqrt
from typing import Any

import numpy as np

from depth_anything_ros.alignment.floor import find_floor
from depth_anything_ros.alignment.hook import EvidenceError, Samples, View, parameter
from depth_anything_ros.alignment.sources.gravity import Up, up_from_angles, up_from_imu

IMU = 'imu'
"""The topic of gravity, where it comes from an IMU."""

# Of the image this many pixels are looked at, and this many must lie below the horizon.
_GRID = 6000
_MIN_PIXELS = 200
# tan of the angle below the horizon from which floor is looked for: up to 20 camera heights away. A degree of error
# in the gravity direction is a third of this.
_MIN_DEPRESSION = 0.05


@dataclass(frozen=True)
class GroundSource:
    """A flat floor that the camera sees from a known height.

    With n, the unit vector down, in the optical frame, and r a pixel's ray, scaled to z = 1, the floor is at
    1/z = (n . r) / height. The pixels that fit this up to scale and shift are the samples.

    Up and height come from transforms where the parameters say so: with alignment.extrinsics that pose is base_frame's,
    or, for gravity = imu, the IMU's.

    The errors of gravity direction and height are not in the samples and cannot be seen in them: an error e of the
    pitch, radians, shifts 1/z by e / height, so that at z the depth is wrong by the fraction z * e / height. What is
    expected of them goes into sigma.
    """

    height_m: float = parameter(
        0.0, 'Height of the camera above the floor, m; 0: its height above base_frame, from TF.', between=(0.0, 1000.0)
    )
    gravity: str = parameter(
        'tf',
        'Where up comes from: tf, the z axis of base_frame; imu, the topic imu, with height_m; parameters, pitch_rad '
        'and roll_rad.',
        choices=('tf', 'imu', 'parameters'),
    )
    base_frame: str = parameter(
        'base_footprint', 'Frame on the floor with its z axis up, for gravity = tf and height_m = 0.'
    )
    pitch_rad: float = parameter(
        0.0, "The camera's pitch, positive looking down, for gravity = parameters.", between=(-pi / 2, pi / 2)
    )
    roll_rad: float = parameter(
        0.0,
        "The camera's roll, positive with the image's right-hand side lower, for gravity = parameters.",
        between=(-pi, pi),
    )
    min_share: float = parameter(
        0.2, 'How much of what is below the horizon must be floor, as a fraction.', between=(0.05, 1.0)
    )
    acceleration_tolerance: float = parameter(
        0.3,
        'For gravity = imu without orientation: by how much the length of the acceleration may differ from g, m/s^2.',
        between=(0.0, 10.0),
    )
    acceleration_sigma: float = parameter(
        0.5,
        "For gravity = imu without orientation: standard deviation of the robot's own acceleration, m/s^2, which tilts "
        'what is taken for up; goes into sigma.',
        between=(0.0, 10.0),
    )
    gravity_sigma_rad: float = parameter(
        0.01, 'Standard deviation of the gravity direction; goes into sigma.', between=(0.0, 1.0)
    )
    height_sigma_m: float = parameter(
        0.02, "Standard deviation of the camera's height; goes into sigma.", between=(0.0, 100.0)
    )

    def __post_init__(self) -> None:
        """Raises ValueError for parameters that are out of range or do not go together."""
        if self.gravity not in ('tf', 'imu', 'parameters'):
            raise ValueError(f"gravity must be tf, imu or parameters, got '{self.gravity}'")
        if not (isfinite(self.height_m) and self.height_m >= 0.0):
            raise ValueError(f'height_m must be positive, or 0 to take it from TF, got {self.height_m}')
        if not (isfinite(self.pitch_rad) and abs(self.pitch_rad) <= pi / 2 and isfinite(self.roll_rad)):
            raise ValueError(
                f'pitch_rad must be within pi/2 and roll_rad finite, got {self.pitch_rad} and {self.roll_rad}'
            )
        if self.gravity != 'parameters' and (self.pitch_rad or self.roll_rad):
            raise ValueError(f'pitch_rad and roll_rad are used with gravity = parameters, and it is {self.gravity}')
        if self.gravity == 'imu' and not self.height_m:
            raise ValueError(
                'gravity = imu needs height_m: one transform, such as alignment.extrinsics, cannot be that of the IMU '
                'and of base_frame'
            )
        if self._uses_base_frame and not self.base_frame:
            raise ValueError('base_frame is empty, and height or gravity are to come from it')
        if not 0.05 <= self.min_share <= 1.0:
            raise ValueError(f'min_share must be within 0.05 and 1, got {self.min_share}')
        if not self.acceleration_tolerance >= 0.0:
            raise ValueError(f'acceleration_tolerance must not be negative, got {self.acceleration_tolerance}')
        if not self.acceleration_sigma >= 0.0:
            raise ValueError(f'acceleration_sigma must not be negative, got {self.acceleration_sigma}')

    @property
    def topics(self) -> Mapping[str, str]:
        """The IMU, if gravity comes from there."""
        return {IMU: 'sensor_msgs/msg/Imu'} if self.gravity == 'imu' else {}

    @property
    def _uses_base_frame(self) -> bool:
        return self.gravity == 'tf' or not self.height_m

    def read(self, topic: str, message: Any) -> Up:
        """Where up is in the IMU's frame; raises EvidenceError if the message does not tell."""
        return up_from_imu(message, self.acceleration_tolerance, self.acceleration_sigma)

    def measure(self, evidence: Up | None, view: View) -> Samples:
        """The pixels that show the floor; raises EvidenceError if there is none, and TransformError."""
        up, height_m = self._up_and_height(evidence, view)
        height, width = view.values.shape
        step = max(1, ceil(sqrt(height * width / _GRID)))
        rows, columns = np.mgrid[step // 2 : height : step, step // 2 : width : step].reshape(2, -1)
        depression = view.calibrated.rays(height, width)[rows, columns] @ -up
        disparity = view.disparity[rows, columns].astype(np.float64)
        usable = np.isfinite(disparity) & np.isfinite(depression)
        rows, columns, depression, disparity = (a[usable] for a in (rows, columns, depression, disparity))
        below = depression > _MIN_DEPRESSION
        _check_horizon(below, rows.size)
        inverse = depression / height_m
        weights = find_floor(disparity, inverse, below, self.min_share)
        floor = weights > 0.0
        return Samples(
            np.stack([columns, rows], axis=1)[floor],
            1.0 / inverse[floor],
            weights[floor],
            shift_sigma=hypot(self.gravity_sigma_rad, evidence.sigma_rad if evidence else 0.0) / height_m,
            scale_sigma=self.height_sigma_m / height_m,
        )

    def _up_and_height(self, evidence: Up | None, view: View) -> tuple[np.ndarray, float]:
        """The unit vector up (3,) in the camera's optical frame, and the camera's height above the floor in metres."""
        pose = None
        if self._uses_base_frame:
            pose = view.transforms.lookup(view.frame_id, view.stamp_ns, self.base_frame, view.stamp_ns)
        if self.gravity == 'tf':
            up = pose[:3, 2]
        elif self.gravity == 'imu':
            up = _rotate_to_camera(evidence, view)
        else:
            up = up_from_angles(self.pitch_rad, self.roll_rad)
        return up, self.height_m or self._height_above_base(pose)

    def _height_above_base(self, pose: np.ndarray) -> float:
        height_m = float(-pose[:3, 2] @ pose[:3, 3])
        if not height_m > 0.0:
            raise EvidenceError(
                f"the camera is {height_m:.3f} m above '{self.base_frame}': expected a frame on the floor with its z "
                'axis up; set alignment.ground.base_frame or alignment.ground.height_m'
            )
        return height_m


def _rotate_to_camera(up: Up, view: View) -> np.ndarray:
    to_camera = view.transforms.lookup(view.frame_id, view.stamp_ns, up.frame_id, up.stamp_ns)
    return to_camera[:3, :3] @ up.direction


def _check_horizon(below: np.ndarray, pixels: int) -> None:
    seen = np.count_nonzero(below)
    if seen < _MIN_PIXELS:
        raise EvidenceError(
            f'{seen} of {pixels} pixels lie below the horizon, at least {_MIN_PIXELS} needed: turn the camera down, or '
            'correct the gravity direction'
        )
