"""What the node publishes: one publisher and one reused message for each topic."""

from __future__ import annotations

import cv2
import numpy as np
from rclpy.lifecycle import LifecycleNode
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions
from sensor_msgs.msg import CameraInfo, Image, PointCloud2, PointField
from std_msgs.msg import Header

from depth_anything_ros.geometry import PointCloud, colorize
from depth_anything_ros.messages import depth_to_millimetres, fill_image, fill_point_cloud

DEPTH, DEPTH_INFO, MILLIMETRES = 'depth/image_rect', 'depth/camera_info', 'depth/image_raw'
COLOR, RELATIVE, POINTS = 'depth/image_color', 'relative/image', 'points'
# What a relative model has only once it is aligned.
METRES = {DEPTH, DEPTH_INFO, MILLIMETRES, POINTS}
_TYPES = {
    DEPTH: Image,
    DEPTH_INFO: CameraInfo,
    MILLIMETRES: Image,
    COLOR: Image,
    RELATIVE: Image,
    POINTS: PointCloud2,
}


class Outputs:
    """The node's publishers. Each method publishes only if somebody subscribes."""

    def __init__(self, node: LifecycleNode) -> None:
        self._node = node
        self._publishers = {name: self._offer(kind, name) for name, kind in _TYPES.items()}
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

    def publish_image(self, name: str, header: Header, values: np.ndarray, encoding: str) -> None:
        """Publish an array in this encoding."""
        message = self._messages[name]
        message.header = header
        fill_image(message, values, encoding)
        self._publishers[name].publish(message)

    def publish_millimetres(self, header: Header, depth: np.ndarray) -> None:
        """Publish depth in metres as REP 118's 16UC1."""
        self.publish_image(MILLIMETRES, header, depth_to_millimetres(depth), '16UC1')

    def publish_color(self, header: Header, nearness: np.ndarray, colormap: str) -> None:
        """Publish values of which larger is nearer as a picture."""
        rgb = colorize(nearness, colormap)
        self.publish_image(COLOR, header, cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), 'bgr8')

    def publish_info(self, header: Header, info: CameraInfo) -> None:
        """Publish the calibration of the depth image."""
        info.header = header
        self._publishers[DEPTH_INFO].publish(info)

    def publish_points(self, header: Header, cloud: PointCloud) -> None:
        """Publish a cloud in the camera's optical frame."""
        message = self._messages[POINTS]
        message.header = header
        fill_point_cloud(message, cloud.points, cloud.colors, PointField)
        self._publishers[POINTS].publish(message)
