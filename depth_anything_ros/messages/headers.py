"""The header that every image, calibration and cloud has."""

from typing import Any


def stamp_ns(message: Any) -> int:
    """The stamp of a message with a std_msgs/Header, in nanoseconds; drivers may send negative ones."""
    stamp = message.header.stamp
    return stamp.sec * 1_000_000_000 + stamp.nanosec
