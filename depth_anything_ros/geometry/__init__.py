"""Cameras and point clouds: intrinsics, distortion, back-projection, edges. NumPy and OpenCV only."""

from .camera import CameraModel
from .camera_info import CameraInfoError, resize_camera_info
from .cameras import Camera, Cameras, MissingCameraInfoError
from .cloud import PointCloud, backproject, point_cloud
from .colorize import COLORMAPS, colorize
from .depth import edge_mask, mark_depth
from .rectify import DepthRectifier

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
    'mark_depth',
    'point_cloud',
    'resize_camera_info',
]
