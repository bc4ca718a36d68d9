"""sensor_msgs to arrays and back, by their fields alone: neither rclpy nor rosbags is imported."""

from depth_anything_ros.messages.bridge import BridgeReport, bridge_report
from depth_anything_ros.messages.compressed import check_picture, compressed_to_rgb
from depth_anything_ros.messages.errors import (
    ImageError,
    InvalidMessageError,
    MalformedImageError,
    PointCloudError,
    UnsupportedEncodingError,
)
from depth_anything_ros.messages.headers import stamp_ns
from depth_anything_ros.messages.images import to_depth, to_rgb
from depth_anything_ros.messages.laser_scans import scan_to_points
from depth_anything_ros.messages.outgoing import (
    POINT_FIELDS,
    depth_to_millimetres,
    fill_image,
    fill_packed_points,
    fill_point_cloud,
    pack_points,
    unpack_colors,
)
from depth_anything_ros.messages.point_clouds import to_points
from depth_anything_ros.messages.topics import names_rectified_images, sibling

__all__ = [
    'POINT_FIELDS',
    'BridgeReport',
    'ImageError',
    'InvalidMessageError',
    'MalformedImageError',
    'PointCloudError',
    'UnsupportedEncodingError',
    'bridge_report',
    'check_picture',
    'compressed_to_rgb',
    'depth_to_millimetres',
    'fill_image',
    'fill_packed_points',
    'fill_point_cloud',
    'names_rectified_images',
    'pack_points',
    'scan_to_points',
    'sibling',
    'stamp_ns',
    'to_depth',
    'to_points',
    'to_rgb',
    'unpack_colors',
]
