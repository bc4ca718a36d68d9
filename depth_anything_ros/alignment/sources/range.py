"""Metres from a single cone: sonar, infrared or time of flight."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import cos, hypot, isfinite, isinf, pi, sqrt
from typing import Any

import numpy as np

from depth_anything_ros.alignment.hook import SCALE_REFERENCE, EvidenceError, Prior, View, parameter
from depth_anything_ros.geometry import CameraModel
from depth_anything_ros.geometry.transforms import transform_points
from depth_anything_ros.messages import stamp_ns

# Directions looked at, evenly spread over the cone.
_DIRECTIONS = 4096
_GOLDEN_ANGLE = pi * (3.0 - sqrt(5.0))


@dataclass(frozen=True)
class Echo:
    """What is kept of a Range.

    range_m: distance from the origin of frame_id to the nearest thing in the cone about +x (Range.msg).
    field_of_view: full angle of the cone, radians. range_sigma: what the message says, metres; 0 if nothing.
    """

    range_m: float
    range_sigma: float
    field_of_view: float
    frame_id: str
    stamp_ns: int


@dataclass(frozen=True)
class RangeSource:
    """A sensor_msgs/Range: the nearest thing in a cone is at a known distance. It gives the scale, the shift is held.

    Each point P of the cone's cap, at the range from the sensor, is on the ray of one pixel. The surface of that
    pixel is there or behind it, so scale * disparity + shift <= 1 / P.z, with equality at what sent the echo: the
    scale is the least of (1 / P.z - shift) / disparity over the cap. A low percentile stands for the least, against
    noise in the disparity.

    What the camera sees in the cone and the sensor does not hear, such as a smooth floor, makes the scale too small
    and the depth too large: then set a narrower field_of_view.
    """

    shift: float = parameter(0.0, 'Shift in 1/z = scale * disparity + shift, held, 1/m.', between=(-1e9, 1e9))
    shift_sigma: float = parameter(
        0.1,
        'Standard deviation of the shift of a relative model, which no range measures, 1/m; goes into sigma.',
        between=(0.0, 1e9),
    )
    percentile: float = parameter(
        5.0, 'Share of the cone that may be disparity noise on the near side, percent.', between=(0.0, 50.0)
    )
    relative_sigma: float = parameter(
        0.05,
        'Standard deviation of the range as a fraction of it, besides the variance in the message.',
        between=(1e-4, 1.0),
    )
    field_of_view: float = parameter(
        0.0, "Full angle of the cone, radians; 0: the message's field_of_view.", between=(0.0, pi)
    )
    min_in_view: float = parameter(
        0.9, 'Share of the cone that must be in the image: what is not seen may be what is near.', between=(0.0, 1.0)
    )

    @property
    def topics(self) -> Mapping[str, str]:
        """A single range."""
        return {SCALE_REFERENCE: 'sensor_msgs/msg/Range'}

    def read(self, topic: str, message: Any) -> Echo:
        """Keep a range that was measured; raises EvidenceError."""
        _check_range(float(message.range), float(message.min_range), float(message.max_range))
        variance = float(getattr(message, 'variance', 0.0))  # since Iron
        return Echo(
            range_m=float(message.range),
            range_sigma=sqrt(variance) if 0.0 < variance < np.inf else 0.0,
            field_of_view=self.field_of_view or _checked_field_of_view(float(message.field_of_view)),
            frame_id=message.header.frame_id,
            stamp_ns=stamp_ns(message),
        )

    def measure(self, evidence: Echo, view: View) -> Prior:
        """The scale at which the nearest thing in the cone is at the range; raises EvidenceError, TransformError."""
        inverse_depth, disparity = self._cap(evidence, view)
        least = inverse_depth.min() - self.shift
        if not least > 0.0:
            raise EvidenceError(
                f'at {evidence.range_m:.2f} m a shift of {self.shift:g} 1/m leaves no positive scale; it must be below '
                f'{inverse_depth.min():.3g} 1/m'
            )
        with np.errstate(divide='ignore'):
            scales = (inverse_depth - self.shift) / np.maximum(disparity, 0.0)
        rank = int(self.percentile / 100.0 * (scales.size - 1))
        nearest = np.argpartition(scales, rank)[rank]
        if not isfinite(scales[nearest]):
            raise EvidenceError('the model sees nothing where the sensor does: the disparity is 0 all over the cone')
        if disparity[nearest] <= view.least_disparity:
            raise EvidenceError(
                f'the model sees farther than {view.max_depth_m:g} m, the most that it can say, where the sensor '
                f'measures {evidence.range_m:.2f} m: check the transform, or take a model for larger depths'
            )
        sigma = hypot(self.relative_sigma, evidence.range_sigma / evidence.range_m)
        # scale is proportional to 1/z - shift, so that is what the error of 1/z is a fraction of
        sigma *= inverse_depth[nearest] / (inverse_depth[nearest] - self.shift)
        guessed = self.shift_sigma if view.kind == 'disparity' else 0.0
        return Prior(float(scales[nearest]), float(sigma), self.shift, common_shift_sigma=guessed)

    def _cap(self, echo: Echo, view: View) -> tuple[np.ndarray, np.ndarray]:
        """Inverse depth (N,) in 1/m of points of the cone's cap, and the disparity (N,) where the camera sees them."""
        camera = view.calibrated.scaled(*view.values.shape)
        matrix = view.transforms.lookup(view.frame_id, view.stamp_ns, echo.frame_id, echo.stamp_ns)
        points = transform_points(matrix, echo.range_m * cone_directions(echo.field_of_view, _DIRECTIONS))
        rows, columns, seen = _nearest_pixels(points, camera)
        if not seen.mean() >= max(self.min_in_view, 1.0 / _DIRECTIONS):
            raise EvidenceError(
                f"{seen.mean():.0%} of the cone of '{echo.frame_id}' at {echo.range_m:.2f} m is in the image, expected "
                f'{self.min_in_view:.0%} (min_in_view). If the sensor looks where the camera does, the transform is '
                'wrong; the cone is about +x of its frame'
            )
        disparity = view.disparity[rows, columns]
        known = np.isfinite(disparity)
        if not known.any():
            raise EvidenceError('the disparity is not finite anywhere in the cone')
        return 1.0 / points[seen, 2][known], disparity[known].astype(np.float64)


def cone_directions(field_of_view: float, count: int) -> np.ndarray:
    """Unit vectors (count, 3) evenly spread over a cone about +x with this full angle in radians."""
    steps = (np.arange(count) + 0.5) / count
    x = 1.0 - steps * (1.0 - cos(field_of_view / 2.0))
    radius, angle = np.sqrt(1.0 - x * x), _GOLDEN_ANGLE * np.arange(count)
    return np.stack([x, radius * np.cos(angle), radius * np.sin(angle)], axis=1)


def _nearest_pixels(points: np.ndarray, camera: CameraModel) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows and columns of the points in the image, and which these are, bool (N,)."""
    pixels = camera.project(points)
    with np.errstate(invalid='ignore'):
        seen = ((pixels >= -0.5) & (pixels < (camera.width - 0.5, camera.height - 0.5))).all(axis=1)
    columns, rows = np.rint(pixels[seen]).astype(np.intp).T
    return rows, columns, seen


def _check_range(distance: float, nearest: float, farthest: float) -> None:
    """Raise EvidenceError unless this is a distance, see Range.msg and REP 117."""
    if isinf(distance):
        where = 'farther than it can measure' if distance > 0.0 else 'too near to be measured'
        raise EvidenceError(f'the sensor says that the nearest thing is {where} ({distance:g})')
    if nearest == farthest:
        raise EvidenceError(
            f'the sensor has min_range = max_range = {nearest:g}: it says whether something is nearer, not how near'
        )
    if not (distance > 0.0 and nearest <= distance <= farthest):
        raise EvidenceError(
            f'the range is {distance:g} m, expected min_range to max_range, {nearest:g} m to {farthest:g} m'
        )
    if distance == farthest:
        # Many drivers say so where nothing came back. Taken for a distance it would bring all that is farther near.
        raise EvidenceError(f'the range is max_range, {farthest:g} m: the nearest thing may be farther')


def _checked_field_of_view(angle: float) -> float:
    if not 0.0 < angle <= pi:
        raise EvidenceError(
            f'the message has field_of_view = {angle:g}, expected an angle up to pi; set alignment.range.field_of_view'
        )
    return angle
