"""Metres from a point cloud."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from depth_anything_ros.alignment.hook import SCALE_REFERENCE, parameter
from depth_anything_ros.alignment.sources.projection import ProjectedSource, SensedPoints, sensed_points
from depth_anything_ros.messages import stamp_ns, to_points


@dataclass(frozen=True)
class PointsSource(ProjectedSource):
    """A PointCloud2 of any sensor, LiDAR or SLAM, in any frame that TF knows."""

    occlusion: float = parameter(
        0.1,
        'A point is left out as hidden if points on two sides of it are nearer by more than this fraction of their '
        'inverse depth; 0: none is. Set 0 for landmarks that this camera tracks.',
        between=(0.0, 1.0),
    )

    @property
    def topics(self) -> Mapping[str, str]:
        """A cloud with fields x, y, z in metres."""
        return {SCALE_REFERENCE: 'sensor_msgs/msg/PointCloud2'}

    def read(self, topic: str, message: Any) -> SensedPoints:
        """Keep the measured points; raises messages.PointCloudError, and EvidenceError if there are none."""
        return sensed_points(to_points(message), message.header.frame_id, stamp_ns(message))
