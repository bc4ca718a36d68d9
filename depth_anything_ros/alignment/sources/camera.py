"""Metres from a metric model that was trained with another focal length."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite, sqrt

from depth_anything_ros.alignment.alignment import Alignment
from depth_anything_ros.alignment.hook import EvidenceError, FrameSource, View, parameter


@dataclass(frozen=True)
class CameraSource(FrameSource):
    """The focal length: takes out of a metric model the error that another camera than the training's makes.

    A network measures objects in pixels of what it sees. An object of size s at z covers f * s / z of them, and a
    network trained with the focal length f_c takes that for f_c * s / z': it says z' = z * f_c / f, too near through a
    long lens and too far through a wide one. So 1/z = (f_c / f) * 1/z'. Nothing but the scale is corrected.

    f is the geometric mean of fx and fy, in pixels of what the network saw; of a lens with distortion that of K, which
    holds at the image's centre.
    """

    canonical_focal_px: float = parameter(
        0.0,
        'Focal length that a metric model was trained with, in pixels of the image that the network saw; 0: the one '
        'that is known of the model.',
        between=(0.0, 1e5),
    )

    def __post_init__(self) -> None:
        """Raises ValueError for a focal length that none is."""
        if not (isfinite(self.canonical_focal_px) and self.canonical_focal_px >= 0.0):
            raise ValueError(f'canonical_focal_px must be positive, or 0, got {self.canonical_focal_px}')

    def measure(self, evidence: None, view: View) -> Alignment:
        """The scale f_c / f; raises EvidenceError for a relative model, and while a focal length is unknown."""
        if view.kind != 'depth':
            raise EvidenceError(
                'alignment.source camera corrects metric models only, and this one predicts relative disparity: '
                'choose a metric model, or a source that measures, such as ground, range or points'
            )
        canonical_px = self.canonical_focal_px or view.canonical_focal_px
        if not canonical_px:
            raise EvidenceError(
                'nobody knows which focal length this model was trained with: set alignment.camera.canonical_focal_px '
                'to it, in pixels of the image that the network saw'
            )
        if view.network_size is None:
            raise EvidenceError('the size at which the network saw the image is unknown, and so is its focal length')
        seen = view.calibrated.scaled(*view.network_size)
        return Alignment(scale=canonical_px / sqrt(seen.fx * seen.fy), shift=0.0)
