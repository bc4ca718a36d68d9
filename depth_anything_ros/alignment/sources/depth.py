"""Metres from a registered depth image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from depth_anything_ros.alignment.hook import SCALE_REFERENCE, EvidenceError, Samples, View, parameter
from depth_anything_ros.messages import to_depth

# The width-to-height ratio of a registered depth image may differ from the camera's by rounding only.
_ASPECT_TOLERANCE = 0.02


@dataclass(frozen=True)
class SparseDepth:
    """What is kept of a (height, width) depth image: some of its known pixels; rows, columns, depth_m are (N,)."""

    frame_id: str
    height: int
    width: int
    rows: np.ndarray
    columns: np.ndarray
    depth_m: np.ndarray


@dataclass(frozen=True)
class DepthSource:
    """A registered depth image, sparse or dense, of the same camera, of any size with the same field of view."""

    max_samples: int = parameter(5000, 'A denser image is thinned evenly to about this many.', between=(3, 10**7))
    any_frame: bool = parameter(False, "Accept a depth image whose frame_id is not the camera image's.")

    @property
    def topics(self) -> Mapping[str, str]:
        """A depth image, 32FC1 in metres or 16UC1 in millimetres."""
        return {SCALE_REFERENCE: 'sensor_msgs/msg/Image'}

    def read(self, topic: str, message: Any) -> SparseDepth:
        """Keep some of the known pixels; raises messages.ImageError."""
        depth = to_depth(message)
        with np.errstate(invalid='ignore'):
            known = np.flatnonzero((depth > 0.0) & (depth < np.inf))
        known = known[:: max(1, -(-known.size // self.max_samples))]
        rows, columns = np.divmod(known, depth.shape[1])
        return SparseDepth(message.header.frame_id, *depth.shape, rows, columns, depth.ravel()[known])

    def measure(self, evidence: SparseDepth, view: View) -> Samples:
        """Match pixel centres, whatever the two sizes; raises EvidenceError for another frame or other proportions."""
        if not self.any_frame and not (evidence.frame_id and view.frame_id):
            raise EvidenceError(
                'the depth image or the camera image has an empty frame_id, which does not tell whether they are '
                'registered to each other: let their drivers set it, or, if they are, set any_frame (of the node: '
                'alignment.depth.any_frame)'
            )
        if evidence.frame_id != view.frame_id and not self.any_frame:
            raise EvidenceError(
                f"the depth image is in frame '{evidence.frame_id}', the camera image in '{view.frame_id}': not "
                'registered to each other. Register it (depth_image_proc RegisterNode), or, if only the names differ, '
                'set any_frame (of the node: alignment.depth.any_frame)'
            )
        (h, w), (height, width) = (evidence.height, evidence.width), view.values.shape
        if abs(w * height / (h * width) - 1.0) > _ASPECT_TOLERANCE:
            raise EvidenceError(
                f'the depth image is {w}x{h}, the camera image {width}x{height}: other proportions, so the depth is '
                'not registered to this camera. Register it first (depth_image_proc RegisterNode)'
            )
        u = (evidence.columns + 0.5) * (width / w) - 0.5
        v = (evidence.rows + 0.5) * (height / h) - 0.5
        return Samples(np.stack([u, v], axis=1), evidence.depth_m)
