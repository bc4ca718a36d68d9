"""The benchmark's camera driver: one picture again and again, at a rate, until it is told to stop.

Run with a JSON object of size [width, height] and rate_hz.
"""

from __future__ import annotations

import json
import sys

from rclpy.node import Node
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import CameraInfo, Image

from depth_anything_ros.benchmark.picture import made_up_picture
from depth_anything_ros.messages import fill_image
from depth_anything_ros.node.trials import pinhole, spin_until_told

_FIELD_OF_VIEW = 0.6  # half the width over the focal length: 62 degrees


class Camera(Node):
    """image and camera_info, stamped alike, at best effort as drivers do."""

    def __init__(self, size: tuple[int, int], rate_hz: float) -> None:
        super().__init__('camera')
        width, height = size
        self._image = Image()
        self._info = pinhole(width, height, width / (2 * _FIELD_OF_VIEW), ((width - 1) / 2, (height - 1) / 2))
        fill_image(self._image, made_up_picture(height, width), 'rgb8')
        self._images = self.create_publisher(Image, 'image', qos_profile_sensor_data)
        self._infos = self.create_publisher(CameraInfo, 'camera_info', qos_profile_sensor_data)
        self.create_timer(1.0 / rate_hz, self._publish)

    def _publish(self) -> None:
        for message in (self._info, self._image):
            message.header.frame_id = 'camera_optical_frame'
        stamp = self.get_clock().now().to_msg()
        self._info.header.stamp = self._image.header.stamp = stamp
        self._infos.publish(self._info)
        self._images.publish(self._image)


def main() -> int:
    """Publish until told to stop."""
    options = json.loads(sys.argv[1])
    return spin_until_told(lambda: Camera(tuple(options['size']), options['rate_hz']))


if __name__ == '__main__':
    sys.exit(main())
