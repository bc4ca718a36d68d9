"""What the node listens to: names, types, and subscriptions."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions

from depth_anything_ros.messages import sibling

try:
    from rclpy.event_handler import SubscriptionEventCallbacks, UnsupportedEventTypeError
except ImportError:  # Humble
    from rclpy.qos_event import SubscriptionEventCallbacks, UnsupportedEventTypeError


class MessageTypeError(ValueError):
    """There is no message type of this name here; the message says what to install."""


def message_type(name: str) -> type:
    """The class of a message type such as 'sensor_msgs/msg/Range'; raises MessageTypeError."""
    package, separator, kind = name.partition('/msg/')
    if not (separator and package.isidentifier() and kind.isidentifier()):
        raise MessageTypeError(f"'{name}' is no message type: expected a name such as sensor_msgs/msg/Range")
    try:
        return getattr(import_module(f'{package}.msg'), kind)
    except (ImportError, AttributeError) as error:
        raise MessageTypeError(
            f'there is no message type {name} here ({error}): install the package {package}'
        ) from error


class Subscriptions:
    """Some of a node's subscriptions, which come and go together."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._subscriptions: list[Any] = []

    def add(self, kind: type, topic: str, callback: Callable[[Any], None], on_lost: Callable | None = None) -> None:
        """Listen to a topic at best effort; on_lost: called with the middleware's account of lost messages."""
        # Best effort connects to every driver. The callbacks keep little; the queue is for the moments in which the
        # interpreter is busy, when messages would be overwritten without anybody counting them.
        profile = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)
        overrides = QoSOverridingOptions.with_default_policies()
        events = SubscriptionEventCallbacks(message_lost=on_lost)
        subscribe = self._node.create_subscription
        try:
            subscription = subscribe(
                kind, topic, callback, profile, qos_overriding_options=overrides, event_callbacks=events
            )
        except UnsupportedEventTypeError:  # a middleware that does not count what it loses
            subscription = subscribe(kind, topic, callback, profile, qos_overriding_options=overrides)
        self._subscriptions.append(subscription)

    def __bool__(self) -> bool:
        """Whether there are any."""
        return bool(self._subscriptions)

    def destroy(self) -> None:
        """Listen no longer."""
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)
        self._subscriptions.clear()


def image_topics(node: Node, transport: str, prefix: str) -> tuple[str, str, str]:
    """Where image and camera_info are, by image_transport's rules: siblings, unless remapped apart.

    prefix: what comes before the names, such as 'front/'. Returned between the two: the topic whose name speaks of
    the images, which is that of the raw ones beside compressed ones.
    """
    image = base = node.resolve_topic_name(f'{prefix}image')
    if transport == 'compressed':
        image = _remapped(node, f'{prefix}image/compressed') or f'{base}/compressed'
        base = image.removesuffix('/compressed')
    return image, base, _remapped(node, f'{prefix}camera_info') or sibling(base, 'camera_info')


def _remapped(node: Node, name: str) -> str | None:
    resolved = node.resolve_topic_name(name)
    return resolved if resolved != node.resolve_topic_name(name, only_expand=True) else None
