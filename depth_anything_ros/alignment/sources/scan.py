"""Metres from a planar laser scan."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from depth_anything_ros.alignment.hook import SCALE_REFERENCE
from depth_anything_ros.alignment.sources.projection import ProjectedSource, SensedPoints, sensed_points
from depth_anything_ros.messages import scan_to_points, stamp_ns


@dataclass(frozen=True)
class ScanSource(ProjectedSource):
    """A LaserScan, whose plane the camera sees as a line; all its points are taken to be of the scan's stamp."""

    @property
    def topics(self) -> Mapping[str, str]:
        """A scan."""
        return {SCALE_REFERENCE: 'sensor_msgs/msg/LaserScan'}

    def read(self, topic: str, message: Any) -> SensedPoints:
        """Keep the measured points; raises messages.PointCloudError, and EvidenceError if there are none."""
        return sensed_points(scan_to_points(message), message.header.frame_id, stamp_ns(message))
