"""The topic `alignment`: what holds now, for whoever comes late as well."""

from __future__ import annotations

from threading import Lock

from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions

from depth_anything_ros.node.diagnostics import AlignmentReport
from depth_anything_ros.node.logs import without_numbers


class AlignmentTopic:
    """Publishes the alignment, latched, when it, its level or its message changes. Safe across threads.

    A diagnostic_msgs/DiagnosticArray, since it carries a stamp, whether the numbers hold and why not, and the numbers
    by name, and every tool shows it.
    """

    def __init__(self, node: Node, prefix: str, status_name: str) -> None:
        """Offer the topic; prefix: what comes before its name. status_name: what the report is called."""
        # No lifecycle publisher: it also says that the node is not active.
        self._node = node
        profile = QoSProfile(
            depth=1, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL
        )
        self._publisher = node.create_publisher(
            DiagnosticArray,
            f'{prefix}alignment',
            profile,
            qos_overriding_options=QoSOverridingOptions.with_default_policies(),
        )
        self._name = status_name
        self._lock = Lock()
        self._said: tuple | None = None

    def wanted(self) -> bool:
        """Whether somebody subscribes."""
        return self._publisher.get_subscription_count() > 0

    def announce(self, report: AlignmentReport, stamp_ns: int, frame_id: str) -> None:
        """Publish the report if it says something new; stamp_ns, frame_id: of the last frame.

        The message is stamped with the time of the evidence, or of the frame where there is none.
        """
        current = report.current
        level, message = report.verdict()
        # The covariance grows from frame to frame; what depth comes from does not.
        numbers = current and (current.stamp_ns, current.scale, current.shift, current.field)
        says = level, without_numbers(message), numbers
        with self._lock:
            if says == self._said:
                return
            self._said = says
            array = DiagnosticArray(status=[report.exact_status(self._name)])
            array.header.frame_id = frame_id
            time_ns = stamp_ns if current is None or current.stamp_ns is None else current.stamp_ns
            array.header.stamp = Time(sec=time_ns // 1_000_000_000, nanosec=time_ns % 1_000_000_000)
            self._publisher.publish(array)

    def destroy(self) -> None:
        """Withdraw the topic."""
        self._node.destroy_publisher(self._publisher)
