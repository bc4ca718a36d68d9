"""What is published of a camera: one publisher and one reused message for each topic."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from rclpy.lifecycle import LifecycleNode
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions
from sensor_msgs.msg import CameraInfo, Image, PointCloud2, PointField
from std_msgs.msg import Header

from depth_anything_ros.geometry import Camera, PointCloud, colorize, point_cloud
from depth_anything_ros.messages import depth_to_millimetres, fill_image, fill_point_cloud
from depth_anything_ros.node.settings import Settings

DEPTH, DEPTH_INFO, MILLIMETRES = 'depth/image_rect', 'depth/camera_info', 'depth/image_raw'
SIGMA, COLOR, RELATIVE, POINTS = 'depth/sigma', 'depth/image_color', 'relative/image', 'points'
# What a relative model has only once it is aligned.
METRES = {DEPTH, DEPTH_INFO, MILLIMETRES, SIGMA, POINTS}
_TYPES = {
    DEPTH: Image,
    DEPTH_INFO: CameraInfo,
    MILLIMETRES: Image,
    SIGMA: Image,
    COLOR: Image,
    RELATIVE: Image,
    POINTS: PointCloud2,
}


@dataclass(frozen=True)
class Products:
    """What has been made of a frame.

    image: uint8 RGB. relative: whether the model predicts disparity. disparity: float32 (H, W), larger is nearer.
    depth: float32 (H, W) metres with REP 117's marks, None without metres. sigma: float32 (H, W) metres, NaN where
    depth is not finite; None if nobody asked or knows. camera: None without calibration.
    """

    header: Header
    image: np.ndarray
    relative: bool
    disparity: np.ndarray
    depth: np.ndarray | None
    sigma: np.ndarray | None
    camera: Camera | None

    def possible(self, settings: Settings) -> set[str]:
        """The topics that these can serve."""
        missing = set()
        if not self.relative:
            missing.add(RELATIVE)
        if self.depth is None:
            missing |= METRES
        if self.camera is None:
            missing |= {DEPTH_INFO, POINTS}
        if self.sigma is None:
            missing |= topics_with_sigma(settings)
        return set(_TYPES) - missing


def topics_with_sigma(settings: Settings) -> set[str]:
    """The topics that cannot be served without the uncertainty of depth."""
    return {SIGMA, POINTS} if settings.points_max_relative_sigma > 0.0 else {SIGMA}


def marked_sigma(sigma: np.ndarray | None, depth: np.ndarray) -> np.ndarray | None:
    """The standard deviation of depth, (H, W), with NaN where marked depth is not finite; None if nobody knows it."""
    return None if sigma is None else np.where(np.isfinite(depth), sigma, np.float32(np.nan))


def without_sigma(topics: set[str]) -> str:
    """Why these topics are not served, and what would help."""
    remedy = '; points.max_relative_sigma = 0.0 gives the cloud without' if POINTS in topics else ''
    return f'no {", ".join(sorted(topics))}: nothing says how uncertain this depth is{remedy}'


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

    def publish(self, topics: set[str], made: Products, settings: Settings) -> None:
        """Publish these topics, which must be possible."""
        if RELATIVE in topics:
            self._publish_image(RELATIVE, made.header, made.disparity, '32FC1')
        if COLOR in topics:
            rgb = colorize(made.disparity, settings.colormap)
            self._publish_image(COLOR, made.header, cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), 'bgr8')
        if DEPTH in topics:
            self._publish_image(DEPTH, made.header, _rectified(made.depth, made.camera), '32FC1')
        if DEPTH_INFO in topics:
            made.camera.info.header = made.header
            self._publishers[DEPTH_INFO].publish(made.camera.info)
        if MILLIMETRES in topics:
            self._publish_image(MILLIMETRES, made.header, depth_to_millimetres(made.depth), '16UC1')
        if SIGMA in topics:
            self._publish_image(SIGMA, made.header, _rectified(made.sigma, made.camera), '32FC1')
        if POINTS in topics:
            self._publish_points(made.header, _cloud(made, settings))

    def _publish_image(self, name: str, header: Header, values: np.ndarray, encoding: str) -> None:
        message = self._messages[name]
        message.header = header
        fill_image(message, values, encoding)
        self._publishers[name].publish(message)

    def _publish_points(self, header: Header, cloud: PointCloud) -> None:
        message = self._messages[POINTS]
        message.header = header
        fill_point_cloud(message, cloud.points, cloud.colors, PointField)
        self._publishers[POINTS].publish(message)


def _rectified(values: np.ndarray, camera: Camera | None) -> np.ndarray:
    """Depth, or its uncertainty, which turns with the axis by the same factor."""
    return camera.rectifier(values) if camera and camera.rectifier else values


def _cloud(made: Products, settings: Settings) -> PointCloud:
    depth, rgb = made.depth, None
    if settings.points_max_relative_sigma > 0.0:
        # Where depth is not finite sigma is NaN, and there is no point anyway.
        certain = made.sigma <= settings.points_max_relative_sigma * depth
        depth = np.where(certain, depth, np.float32(np.nan))
    if settings.points_color:
        # At network size the colours follow the depth.
        rgb = made.image if made.image.shape[:2] == depth.shape else cv2.resize(made.image, depth.shape[::-1])
    return point_cloud(
        depth,
        made.camera.model,
        rgb,
        stride=settings.points_stride,
        voxel_m=settings.points_voxel_m,
        organized=settings.points_organized,
    )
