"""The hook: what a source of metres is given, and what it gives back. Third parties write sources against this."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, Field, dataclass, field, fields
from functools import cached_property
from math import inf, isfinite
from typing import Any, Protocol

import numpy as np

from depth_anything_ros.alignment.alignment import Alignment
from depth_anything_ros.geometry import CameraModel
from depth_anything_ros.geometry.transforms import NoTransforms, Transforms

SCALE_REFERENCE = 'scale_reference'
"""The topic on which built-in sources expect their evidence."""

# A metric model's depth is a sigmoid's share of its maximum: from here on it says "far", and no distance.
_SATURATED = 0.98


class EvidenceError(ValueError):
    """The evidence cannot be used; the message says why, and what would help."""


@dataclass(frozen=True)
class Samples:
    """Known depths at pixels of the disparity image.

    pixels: (N, 2), u to the right and v down, pixel centres at integers. depth_m: (N,) along the optical axis.
    weights: (N,) relative, positive; None if all count alike.
    shift_sigma, scale_sigma: standard deviations, in 1/m and as a fraction, of what all samples have in common and the
    fit therefore cannot see, such as an error of the pose that they come from. They do not average out over time.
    What lies outside the image or is not finite and positive is left out by the fit.
    """

    pixels: np.ndarray
    depth_m: np.ndarray
    weights: np.ndarray | None = None
    shift_sigma: float = 0.0
    scale_sigma: float = 0.0

    def in_image(self, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Rows and columns (M,) of the pixels nearest to those in an image of (height, width), and which, bool (N,)."""
        pixels = np.asarray(self.pixels, np.float64)
        with np.errstate(invalid='ignore'):
            nearest = np.rint(pixels)
            inside = ((nearest >= 0) & (nearest < size[::-1])).all(axis=1)
        columns, rows = nearest[inside].astype(np.intp).T
        return rows, columns, inside


@dataclass(frozen=True)
class Prior:
    """What is known of 1/z = scale * disparity + shift itself, without the fit: a Gaussian on (log scale, shift).

    scale: 1/m per unit of disparity. scale_sigma: its standard deviation as a fraction. shift, shift_sigma: 1/m.
    common_shift_sigma: of a shift that is assumed, 1/m: what all such priors have in common does not average out.
    """

    scale: float
    scale_sigma: float
    shift: float = 0.0
    shift_sigma: float = 0.0
    common_shift_sigma: float = 0.0

    def __post_init__(self) -> None:
        """Raises EvidenceError for numbers that no knowledge has."""
        deviations = (self.scale_sigma, self.shift_sigma, self.common_shift_sigma)
        finite = all(map(isfinite, (self.scale, self.shift, *deviations)))
        if not (finite and self.scale > 0.0 and min(deviations) >= 0.0):
            raise EvidenceError(f'expected a positive scale, and deviations that are not negative, got {self}')


@dataclass(frozen=True)
class View:
    """A predicted frame, as a source sees it.

    values: float32 (H, W), what the model predicts, and kind, which is 'disparity' or 'depth' (metres). On a GPU values
    and disparity serve as arrays: what is indexed is copied to the host, and np.asarray copies all of it.
    stamp_ns, frame_id: of the image. camera: the geometry of the values, None while it is not known.
    transforms: where other frames are. network_size: (height, width) of what the network saw, None if unknown.
    canonical_focal_px: the focal length that a metric model assumes, in pixels of what it saw, None if unknown.
    image: the picture itself, uint8 RGB (h, w, 3) of the same field of view, None if it is not at hand. image_size: its
    (height, width), None if unknown; the values may be fewer, and camera is theirs.
    max_depth_m: the largest depth that a metric model can say, None if unknown.
    stabilised_by: gain and offset that the stabilizer has applied to what the model predicts, as disparity.
    """

    values: np.ndarray
    kind: str = 'disparity'
    stamp_ns: int = 0
    frame_id: str = ''
    camera: CameraModel | None = None
    transforms: Transforms = field(default_factory=NoTransforms)
    network_size: tuple[int, int] | None = None
    canonical_focal_px: float | None = None
    image: np.ndarray | None = None
    max_depth_m: float | None = None
    stabilised_by: tuple[float, float] = (1.0, 0.0)
    image_size: tuple[int, int] | None = None

    @cached_property
    def disparity(self) -> np.ndarray:
        """What is aligned: float32 (H, W) disparity; of a metric model 1 / its depth, in 1/m."""
        if self.kind == 'disparity':
            return self.values
        with np.errstate(divide='ignore'):
            return np.float32(1.0) / self.values

    @property
    def least_disparity(self) -> float:
        """The disparity at and below which a metric model is saturated and tells no distance; -inf if there is none."""
        if self.kind == 'disparity' or self.max_depth_m is None:
            return -inf
        gain, offset = self.stabilised_by
        return gain / (_SATURATED * self.max_depth_m) + offset

    @property
    def calibrated(self) -> CameraModel:
        """The camera; raises EvidenceError while there is none."""
        if self.camera is None:
            raise EvidenceError('this source needs the CameraInfo of the image, and there is none')
        return self.camera


class AlignmentSource(Protocol):
    """A source of metres: a dataclass whose fields are its parameters, `alignment.<name>.<field>` in ROS.

    Its constructor raises ValueError for parameters that do not go together. Methods may be called from different
    threads: `read` as messages arrive, `measure` where frames are worked on.
    """

    @property
    def topics(self) -> Mapping[str, str]:
        """What to subscribe to: message type, such as 'sensor_msgs/msg/Range', by topic name, relative.

        Empty if the frame itself is enough: then `measure` is called for every frame, with None.
        """

    def read(self, topic: str, message: Any) -> Any:
        """Make a message into the little that must be kept until the frame of its moment is there.

        Raises EvidenceError, or messages' errors.
        """

    def measure(self, evidence: Any, view: View) -> Samples | Prior | Alignment:
        """Say what the evidence tells of this frame, which is of the same moment.

        Samples are fitted and tracked over time, a Prior is tracked. An Alignment is taken as it is: for this frame,
        or, if it comes from a message, until the next one or until it is too old.
        Raises EvidenceError, TransformError, or AlignmentError.
        """


class FrameSource:
    """Base of sources that need no message: the frame is enough."""

    @property
    def topics(self) -> Mapping[str, str]:
        """None."""
        return {}

    def read(self, topic: str, message: Any) -> Any:
        """There is never a message."""
        raise EvidenceError('this source takes no evidence')


def parameter(
    default: Any,
    description: str,
    *,
    between: tuple[float, float] | None = None,
    choices: tuple[str, ...] | None = None,
) -> Any:
    """A field of a source's dataclass: a parameter with its default, what it means, and what it may be.

    default: bool, int, float, str, or a tuple of floats.
    """
    return field(default=default, metadata={'description': description, 'between': between, 'choices': choices})


def parameters_of(source_type: type) -> tuple[Field, ...]:
    """The parameters of a source: the fields of its dataclass; raises TypeError for one without a default."""
    for item in fields(source_type):
        if item.default is MISSING:
            raise TypeError(f'{source_type.__qualname__}.{item.name} has no default')
    return fields(source_type)
