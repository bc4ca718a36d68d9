"""What is published of a camera: one publisher and one reused message for each topic."""

from __future__ import annotations

from collections.abc import Iterable

from rclpy.lifecycle import LifecycleNode
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
        # The graph's word on our own end too: in a publisher's profile, what nobody set is left open.
        own = self._node.get_name(), self._node.get_namespace()
        topics = (publisher.topic_name for publisher in self._publishers.values())
        ends = (
            (topic, offer, subscriber)
            for topic in topics
            for offer in self._node.get_publishers_info_by_topic(topic)
            if (offer.node_name, offer.node_namespace) == own
            for subscriber in self._node.get_subscriptions_info_by_topic(topic)
        )
        return [
            f'{subscriber.node_namespace.rstrip("/")}/{subscriber.node_name} hears nothing of {topic}: {reason}'
            for topic, offer, subscriber in ends
            if (reason := _refusal(offer, subscriber))
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


def _refusal(offer: TopicEndpointInfo, subscriber: TopicEndpointInfo) -> str:
    """Why this subscriber gets nothing of this publisher; empty if it gets what is published."""
    if subscriber.topic_type != offer.topic_type:
        return f'it wants {subscriber.topic_type}, this is {offer.topic_type}'
    compatibility, reason = qos_check_compatible(offer.qos_profile, subscriber.qos_profile)
    return reason.strip('; ') if compatibility == QoSCompatibility.ERROR else ''
