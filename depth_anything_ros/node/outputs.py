"""What is published of a camera: one publisher and one reused message for each topic."""

from __future__ import annotations

from collections.abc import Iterable

from rclpy.lifecycle import LifecycleNode
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions
from sensor_msgs.msg import CameraInfo, Image, PointCloud2
from std_msgs.msg import Header

from depth_anything_ros.node.products import COLOR, DEPTH, DEPTH_INFO, MILLIMETRES, POINTS, RELATIVE, SIGMA, Fill

_TYPES = {
    DEPTH: Image,
    DEPTH_INFO: CameraInfo,
    MILLIMETRES: Image,
    SIGMA: Image,
    COLOR: Image,
    RELATIVE: Image,
    POINTS: PointCloud2,
}


class Outputs:
    """The publishers of a camera."""

    def __init__(self, node: LifecycleNode, prefix: str) -> None:
        """Offer all topics, prefix before their names; if one cannot be, none is, and rclpy's error is raised."""
        self._node = node
        self._publishers = {}
        try:
            for name, kind in _TYPES.items():
                self._publishers[name] = self._offer(kind, f'{prefix}{name}')
        except Exception:
            self.destroy()
            raise
        # Publishing is synchronous, so a message and its buffer serve again.
        self._messages = {name: kind() for name, kind in _TYPES.items() if kind is not CameraInfo}

    def _offer(self, kind: type, name: str):
        # A reliable offer serves both kinds of subscriber; a best-effort one gives RViz and depth_image_proc silence.
        # A profile for each, since rclpy writes the user's overrides into it.
        profile = QoSProfile(depth=5, reliability=ReliabilityPolicy.RELIABLE)
        overrides = QoSOverridingOptions.with_default_policies()
        return self._node.create_lifecycle_publisher(kind, name, profile, qos_overriding_options=overrides)

    def wanted(self) -> set[str]:
        """The topics that somebody subscribes to."""
        return {name for name, publisher in self._publishers.items() if publisher.get_subscription_count() > 0}

    def destroy(self) -> None:
        """Withdraw the topics."""
        for publisher in self._publishers.values():
            self._node.destroy_lifecycle_publisher(publisher)
        self._publishers.clear()

    def publish(self, header: Header, contents: Iterable[tuple[str, Fill]], info: CameraInfo | None) -> None:
        """Publish what fills the messages of these topics; info: that of the depth image."""
        for name, fill in contents:
            message = info if name == DEPTH_INFO else self._messages[name]
            message.header = header
            fill(message)
            self._publishers[name].publish(message)
