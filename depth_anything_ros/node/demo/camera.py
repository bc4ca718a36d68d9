"""The demo's camera driver: publishes the scene until it is stopped."""

from __future__ import annotations

import sys

from rclpy.node import Node
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import CameraInfo, Image

from depth_anything_ros.messages import fill_image
from depth_anything_ros.node.demo.scene import motorcycle
from depth_anything_ros.node.trials import spin_until_told

RATE_HZ = 10.0
FRAME_ID = 'camera_optical_frame'


class Camera(Node):
    """image_rect, camera_info and a sparse scale_reference, stamped alike, at best effort as drivers do."""

    def __init__(self) -> None:
        super().__init__('camera')
        scene = motorcycle()
        self._image, self._reference, self._info = Image(), Image(), scene.info
        fill_image(self._image, scene.image, 'rgb8')
        fill_image(self._reference, scene.sparse, '32FC1')
        self._outputs = [
            (self.create_publisher(Image, 'image_rect', qos_profile_sensor_data), self._image),
            (self.create_publisher(CameraInfo, 'camera_info', qos_profile_sensor_data), self._info),
            (self.create_publisher(Image, 'scale_reference', qos_profile_sensor_data), self._reference),
        ]
        self.create_timer(1.0 / RATE_HZ, self._publish)

    def _publish(self) -> None:
        stamp = self.get_clock().now().to_msg()
        for publisher, message in self._outputs:
            message.header.stamp = stamp
            message.header.frame_id = FRAME_ID
            publisher.publish(message)


def main() -> int:
    """Publish until told to stop."""
    return spin_until_told(Camera)


if __name__ == '__main__':
    sys.exit(main())
