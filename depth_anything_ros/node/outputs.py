"""What is published of a camera: one publisher and one reused message for each topic."""

from __future__ import annotations

from collections.abc import Iterable

from rclpy.lifecycle import LifecycleNode
from rclpy.publisher import Publisher
from rclpy.qos import QoSCompatibility, QoSProfile, ReliabilityPolicy, qos_check_compatible
from rclpy.qos_overriding_options import QoSOverridingOptions
from rclpy.topic_endpoint_info import TopicEndpointInfo
from sensor_msgs.msg import CameraInfo, Image, PointCloud2
from std_msgs.msg import Header

from depth_anything_ros.node.products import COLOR, DEPTH, DEPTH_INFO, MILLIMETRES, POINTS, RELATIVE, SIGMA, Fill

try:
    from rclpy.event_handler import PublisherEventCallbacks
except ImportError:  # Humble
    from rclpy.qos_event import PublisherEventCallbacks

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
        # rclpy's events for what `unheard` says would more than double what the executor costs.
        events = PublisherEventCallbacks(use_default_callbacks=False)
        return self._node.create_lifecycle_publisher(
            kind, name, profile, event_callbacks=events, qos_overriding_options=overrides
        )

    def wanted(self) -> set[str]:
        """The topics that somebody subscribes to."""
        return {name for name, publisher in self._publishers.items() if publisher.get_subscription_count() > 0}

    def unheard(self) -> list[str]:
        """Which subscribers get nothing, for they ask for what is not offered, and what that is."""
        ends = (
            (publisher, subscriber)
            for publisher in self._publishers.values()
            for subscriber in self._node.get_subscriptions_info_by_topic(publisher.topic_name)
        )
        return [
            f'{end.node_namespace.rstrip("/")}/{end.node_name} hears nothing of {publisher.topic_name}: {reason}'
            for publisher, end in ends
            if (reason := _refusal(publisher, end))
        ]

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


def _refusal(publisher: Publisher, subscriber: TopicEndpointInfo) -> str:
    """Why this subscriber gets nothing; empty if it gets what is published."""
    kind = publisher.msg_type
    offered = f'{kind.__module__.split(".")[0]}/msg/{kind.__name__}'
    if subscriber.topic_type != offered:
        return f'it wants {subscriber.topic_type}, this is {offered}'
    compatibility, reason = qos_check_compatible(publisher.qos_profile, subscriber.qos_profile)
    return reason.strip('; ') if compatibility == QoSCompatibility.ERROR else ''
