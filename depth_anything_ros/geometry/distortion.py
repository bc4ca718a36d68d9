"""Lens distortion on the plane z = 1, forward and exact inverse.

OpenCV's own inverses stop after 5 (undistortPoints) or 10 (fisheye) iterations and answer for pixels that no
ray reaches; depth needs neither a wrong ray nor an invented one. Here the radial profile, sampled once, gives
each point its start on the branch that contains the optical axis, and Newton's method gives the digits.
"""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from depth_anything_ros.geometry.camera_info import CameraInfoError

# Rays steeper than this have no usable Z: at 89 degrees one metre along the ray is 17 mm of depth.
_MAX_ANGLE = math.radians(89.0)
# Samples of the radial profile, 0.02 degrees apart: enough for Newton to need two or three steps.
_PROFILE_SAMPLES = 4096
_MAX_STEPS = 20
# On the plane z = 1; at a focal length of 1000 px this is 1e-9 px.
_TOLERANCE = 1e-12

Points = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class PolynomialDistortion:
    """`plumb_bob` and `rational_polynomial`: OpenCV's k1 k2 p1 p2 k3, k4 k5 k6, s1 s2 s3 s4, taux tauy.

    `coefficients` are all 14, in that order, zeros where the camera has fewer. Source: OpenCV's documentation
    of calib3d, "Detailed Description"; the tilted sensor: Louhichi et al. 2007, as cited there.
    """

    coefficients: tuple[float, ...]

    def distort(self, x: np.ndarray, y: np.ndarray) -> Points:
        """Distort points (N,) of the plane z = 1; NaN beyond the radius where the lens model folds back."""
        limit = self._profile[0][-1]
        inside = x * x + y * y <= limit * limit
        x, y = np.where(inside, x, np.nan), np.where(inside, y, np.nan)
        x, y, _ = self._bend(x, y)
        return _transform(self._tilt, x, y)

    def undistort(self, x: np.ndarray, y: np.ndarray) -> Points:
        """Invert `distort` for points (N,); NaN where no point of the plane z = 1 is distorted to (x, y)."""
        x, y = _transform(np.linalg.inv(self._tilt), x, y)
        radii, distorted_radii = self._profile
        distorted_radius = np.hypot(x, y)
        radius = np.interp(distorted_radius, distorted_radii, radii, right=np.nan)
        ratio = np.divide(radius, distorted_radius, out=np.ones_like(radius), where=distorted_radius > 0)
        u, v = x * ratio, y * ratio
        with np.errstate(all='ignore'):  # a point at the fold may diverge: it is marked below
            for _ in range(_MAX_STEPS):
                bent_x, bent_y, (xx, xy, yx, yy) = self._bend(u, v)
                dx, dy = x - bent_x, y - bent_y
                error = np.maximum(np.abs(dx), np.abs(dy))
                if not (error > _TOLERANCE).any():
                    break
                determinant = xx * yy - xy * yx
                u = u + (yy * dx - xy * dy) / determinant
                v = v + (xx * dy - yx * dx) / determinant
        # Slow convergence or a flipped Jacobian means a point at or past the fold.
        valid = (error <= 1e3 * _TOLERANCE) & (np.hypot(u, v) <= radii[-1]) & (xx * yy > xy * yx)
        return np.where(valid, u, np.nan), np.where(valid, v, np.nan)

    @cached_property
    def _profile(self) -> Points:
        radii = np.tan(np.linspace(0.0, _MAX_ANGLE, _PROFILE_SAMPLES))
        return _increasing_part(radii, radii * self._radial(radii * radii)[0])

    def _radial(self, r2: np.ndarray) -> Points:
        """Radial factor and its derivative with respect to r^2."""
        k1, k2, _, _, k3, k4, k5, k6 = self.coefficients[:8]
        above = 1.0 + r2 * (k1 + r2 * (k2 + r2 * k3))
        below = 1.0 + r2 * (k4 + r2 * (k5 + r2 * k6))
        above_slope = k1 + r2 * (2.0 * k2 + r2 * 3.0 * k3)
        below_slope = k4 + r2 * (2.0 * k5 + r2 * 3.0 * k6)
        factor = above / below
        return factor, (above_slope - factor * below_slope) / below

    def _bend(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray, tuple[np.ndarray, ...]]:
        """All but the tilt, with the Jacobian (dx/dx, dx/dy, dy/dx, dy/dy)."""
        p1, p2 = self.coefficients[2:4]
        s1, s2, s3, s4 = self.coefficients[8:12]
        r2 = x * x + y * y
        factor, slope = self._radial(r2)
        bent_x = x * factor + 2.0 * p1 * x * y + p2 * (r2 + 2.0 * x * x) + r2 * (s1 + s2 * r2)
        bent_y = y * factor + p1 * (r2 + 2.0 * y * y) + 2.0 * p2 * x * y + r2 * (s3 + s4 * r2)
        mixed = 2.0 * (x * y * slope + p1 * x + p2 * y)
        prism_x, prism_y = 2.0 * (s1 + 2.0 * s2 * r2), 2.0 * (s3 + 2.0 * s4 * r2)
        jacobian = (
            factor + 2.0 * x * x * slope + 2.0 * p1 * y + 6.0 * p2 * x + prism_x * x,
            mixed + prism_x * y,
            mixed + prism_y * x,
            factor + 2.0 * y * y * slope + 6.0 * p1 * y + 2.0 * p2 * x + prism_y * y,
        )
        return bent_x, bent_y, jacobian

    @property
    def _tilt(self) -> np.ndarray:
        tau_x, tau_y = self.coefficients[12:14]
        cos_x, sin_x, cos_y, sin_y = math.cos(tau_x), math.sin(tau_x), math.cos(tau_y), math.sin(tau_y)
        about_x = np.array([[1.0, 0.0, 0.0], [0.0, cos_x, sin_x], [0.0, -sin_x, cos_x]])
        about_y = np.array([[cos_y, 0.0, -sin_y], [0.0, 1.0, 0.0], [sin_y, 0.0, cos_y]])
        rotation = about_y @ about_x
        projection = np.array(
            [[rotation[2, 2], 0.0, -rotation[0, 2]], [0.0, rotation[2, 2], -rotation[1, 2]], [0.0, 0.0, 1.0]]
        )
        return projection @ rotation


@dataclass(frozen=True)
class EquidistantDistortion:
    """`equidistant`, OpenCV's fisheye: radius t (1 + k1 t^2 + k2 t^4 + k3 t^6 + k4 t^8), t the ray's angle.

    Kannala and Brandt 2006, equation 6, with k1 = 1, as cv::fisheye has it. Four zeros are the ideal
    equidistant lens, not a pinhole.
    """

    coefficients: tuple[float, ...]

    def distort(self, x: np.ndarray, y: np.ndarray) -> Points:
        """Distort points (N,) of the plane z = 1; NaN beyond the angle at which the lens model folds back."""
        radius = np.hypot(x, y)
        angle = np.arctan(radius)
        distorted = np.where(angle <= self._profile[0][-1], self._bend(angle)[0], np.nan)
        return _rescale(x, y, radius, distorted)

    def undistort(self, x: np.ndarray, y: np.ndarray) -> Points:
        """Invert `distort` for points (N,); NaN where no ray under 89 degrees is distorted to (x, y)."""
        angles, distorted_radii = self._profile
        distorted = np.hypot(x, y)
        angle = np.interp(distorted, distorted_radii, angles, right=np.nan)
        with np.errstate(all='ignore'):  # a point at the fold may diverge: it is marked below
            for _ in range(_MAX_STEPS):
                bent, slope = self._bend(angle)
                error = distorted - bent
                if not (np.abs(error) > _TOLERANCE).any():
                    break
                angle = angle + error / slope
        valid = (np.abs(error) <= 1e3 * _TOLERANCE) & (angle <= angles[-1]) & (slope > 0)
        return _rescale(x, y, distorted, np.where(valid, np.tan(angle), np.nan))

    @cached_property
    def _profile(self) -> Points:
        angles = np.linspace(0.0, _MAX_ANGLE, _PROFILE_SAMPLES)
        return _increasing_part(angles, self._bend(angles)[0])

    def _bend(self, angle: np.ndarray) -> Points:
        """Distorted radius and its derivative with respect to the angle."""
        k1, k2, k3, k4 = self.coefficients
        t2 = angle * angle
        radius = angle * (1.0 + t2 * (k1 + t2 * (k2 + t2 * (k3 + t2 * k4))))
        slope = 1.0 + t2 * (3.0 * k1 + t2 * (5.0 * k2 + t2 * (7.0 * k3 + t2 * 9.0 * k4)))
        return radius, slope


Distortion = PolynomialDistortion | EquidistantDistortion

# sensor_msgs/distortion_models.hpp, and the lengths of D that OpenCV defines for each.
_LENGTHS = {
    'plumb_bob': (4, 5),
    'rational_polynomial': (8, 12, 14),
    'equidistant': (4,),
    'fisheye': (4,),
}


def distortion_from_calibration(model: str, d: np.ndarray) -> Distortion | None:
    """Return the distortion that a CameraInfo names, None if its polynomial is the identity.

    `d` has shape (N,). Raises CameraInfoError if the model is unknown, or the coefficients are not finite or
    not as many as the model has.
    """
    if not np.isfinite(d).all():
        raise CameraInfoError(f'CameraInfo has d = {d.tolist()}, expected finite numbers; calibrate the camera')
    if not model and not d.any():
        return None
    if model not in _LENGTHS:
        raise CameraInfoError(
            f'CameraInfo has distortion_model {model!r} with {d.size} coefficients, expected one of '
            f'{", ".join(_LENGTHS)}; rectify the image first and use the rectified image instead'
        )
    is_fisheye = model in ('equidistant', 'fisheye')
    if not is_fisheye and not d.any():
        return None
    if d.size not in _LENGTHS[model]:
        lengths = ' or '.join(str(length) for length in _LENGTHS[model])
        raise CameraInfoError(
            f'CameraInfo has {d.size} coefficients in d for distortion_model {model!r}, expected {lengths}; '
            'name the model that the camera was calibrated with'
        )
    if is_fisheye:
        return EquidistantDistortion(tuple(d.tolist()))
    return PolynomialDistortion(tuple(np.pad(d, (0, 14 - d.size)).tolist()))


def _increasing_part(argument: np.ndarray, value: np.ndarray) -> Points:
    """Cut a sampled function at its first sample that does not increase: up to there it has an inverse."""
    falls = np.flatnonzero(~(np.diff(value) > 0))
    end = falls[0] + 1 if falls.size else len(value)
    return argument[:end], value[:end]


def _rescale(x: np.ndarray, y: np.ndarray, radius: np.ndarray, new_radius: np.ndarray) -> Points:
    """Move points to a new distance from the centre; the centre itself stays."""
    ratio = np.divide(new_radius, radius, out=np.ones_like(radius), where=radius > 0)
    return x * ratio, y * ratio


def _transform(homography: np.ndarray, x: np.ndarray, y: np.ndarray) -> Points:
    w = homography[2, 0] * x + homography[2, 1] * y + homography[2, 2]
    return (
        (homography[0, 0] * x + homography[0, 1] * y + homography[0, 2]) / w,
        (homography[1, 0] * x + homography[1, 1] * y + homography[1, 2]) / w,
    )
