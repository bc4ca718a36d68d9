"""The new topics of a bag, by the names and with the content that the node gives them."""

from __future__ import annotations

from typing import Any

import numpy as np

from depth_anything_ros.bags.errors import BagError
from depth_anything_ros.bags.topics import IMAGE
from depth_anything_ros.bags.writing import OutputBag
from depth_anything_ros.cli.bag_topics import BagTopics
from depth_anything_ros.geometry import PointCloud
from depth_anything_ros.messages import fill_image, fill_point_cloud

DEPTH, DEPTH_INFO, RELATIVE, POINTS = 'depth/image_rect', 'depth/camera_info', 'relative/image', 'points'
_POINT_CLOUD = 'sensor_msgs/msg/PointCloud2'


class BagOutputs:
    """Writes messages with the header and the log time of the image that they come from."""

    def __init__(self, bag: OutputBag, topics: BagTopics, taken) -> None:
        """taken: the topics that the bag has already; raises BagError if one of ours is among them."""
        self._bag = bag
        self._topics = topics
        self._types = bag.typestore.types
        for name in (DEPTH, DEPTH_INFO, RELATIVE, POINTS):
            if topics.output(name) in taken:
                raise BagError(f'the bag has {topics.output(name)} already: name another place with --namespace')

    def write_depth(self, header: Any, time_ns: int, depth: np.ndarray) -> None:
        """Write depth, float32 (H, W), in metres."""
        self._write_image(DEPTH, header, time_ns, depth)

    def write_relative(self, header: Any, time_ns: int, disparity: np.ndarray) -> None:
        """Write disparity, float32 (H, W)."""
        self._write_image(RELATIVE, header, time_ns, disparity)

    def write_camera_info(self, header: Any, time_ns: int, info: Any) -> None:
        """Write the calibration of the depth image."""
        info.header = header
        self._bag.write(self._topics.output(DEPTH_INFO), time_ns, info)

    def write_points(self, header: Any, time_ns: int, cloud: PointCloud) -> None:
        """Write a cloud in the camera's optical frame."""
        message = self._types[_POINT_CLOUD](
            header=header,
            height=0,
            width=0,
            fields=[],
            is_bigendian=False,
            point_step=0,
            row_step=0,
            data=np.empty(0, np.uint8),
            is_dense=False,
        )
        fill_point_cloud(message, cloud.points, cloud.colors, self._types['sensor_msgs/msg/PointField'])
        self._write(POINTS, time_ns, message)

    def _write_image(self, name: str, header: Any, time_ns: int, values: np.ndarray) -> None:
        message = self._types[IMAGE](
            header=header, height=0, width=0, encoding='', is_bigendian=0, step=0, data=np.empty(0, np.uint8)
        )
        fill_image(message, values, '32FC1')
        self._write(name, time_ns, message)

    def _write(self, name: str, time_ns: int, message: Any) -> None:
        # Filled for rclpy, which wants array.array; rosbags wants NumPy.
        message.data = np.frombuffer(message.data, np.uint8)
        self._bag.write(self._topics.output(name), time_ns, message)
