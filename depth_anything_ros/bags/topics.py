"""The message types that are read from bags, and which topics belong together."""

from __future__ import annotations

from depth_anything_ros.messages import sibling

IMAGE = 'sensor_msgs/msg/Image'
COMPRESSED_IMAGE = 'sensor_msgs/msg/CompressedImage'
CAMERA_INFO = 'sensor_msgs/msg/CameraInfo'
POINT_CLOUD = 'sensor_msgs/msg/PointCloud2'
TF_MESSAGE = 'tf2_msgs/msg/TFMessage'
_TRANSPORT = '/compressed'


def base_topic(topic: str, kind: str) -> str:
    """The topic whose namespace and name count: image_transport names the compressed image below the raw one."""
    return topic.removesuffix(_TRANSPORT) if kind == COMPRESSED_IMAGE else topic


def camera_info_topic(topic: str, kind: str) -> str:
    """Where the calibration of the images on a topic is published, by image_transport's convention."""
    return sibling(base_topic(topic, kind), 'camera_info')
