"""Metres from a planar laser scan."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from depth_anything_ros.alignment.hook import SCALE_REFERENCE, Samples, View, parameter
from depth_anything_ros.alignment.sources.projection import SensedPoints, project, sensed_points
from depth_anything_ros.messages import scan_to_points, stamp_ns


@dataclass(frozen=True)
class ScanSource:
    """A LaserScan, whose plane the camera sees as a line; all its points are taken to be of the scan's stamp."""

    max_samples: int = parameter(5000, 'Of the points in the image about this many are used.', between=(3, 10**7))
    occlusion: float = parameter(
        0.1,
        'A point is left out as hidden if points on two sides of it are nearer by more than this fraction of their '
        'inverse depth; 0: none is.',
        between=(0.0, 1.0),
    )

    @property
    def topics(self) -> Mapping[str, str]:
        """A scan."""
        return {SCALE_REFERENCE: 'sensor_msgs/msg/LaserScan'}

    def read(self, topic: str, message: Any) -> SensedPoints:
        """Keep the measured points; raises messages.PointCloudError, and EvidenceError if there are none."""
        return sensed_points(scan_to_points(message), message.header.frame_id, stamp_ns(message))

    def measure(self, evidence: SensedPoints, view: View) -> Samples:
        """Those that the camera sees; raises EvidenceError, TransformError."""
        return project(evidence, view, self.max_samples, self.occlusion)
