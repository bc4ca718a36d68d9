"""Cameras and point clouds: intrinsics, distortion, back-projection, edges. NumPy and OpenCV only."""

from depth_anything_ros.geometry.camera import CameraModel
from depth_anything_ros.geometry.camera_info import CameraInfoError, resize_camera_info
from depth_anything_ros.geometry.cameras import Camera, Cameras, MissingCameraInfoError
from depth_anything_ros.geometry.cloud import PointCloud, backproject, is_mostly_free, point_cloud
from depth_anything_ros.geometry.colorize import COLORMAPS, colorize
from depth_anything_ros.geometry.depth import edge_mask, mark_depth
from depth_anything_ros.geometry.rectify import DepthRectifier

__all__ = [
    'COLORMAPS',
    'Camera',
    'CameraInfoError',
    'CameraModel',
    'Cameras',
    'DepthRectifier',
    'MissingCameraInfoError',
    'PointCloud',
    'backproject',
    'colorize',
    'edge_mask',
    'is_mostly_free',
    'mark_depth',
    'point_cloud',
    'resize_camera_info',
]
