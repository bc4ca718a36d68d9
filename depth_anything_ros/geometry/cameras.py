"""The calibration of a frame: which CameraInfo belongs to it, and what follows from that.

Messages are sensor_msgs/CameraInfo and std_msgs/Header of ROS 2, from rclpy or from rosbags.
"""

from __future__ import annotations

from array import array
from copy import deepcopy
from dataclasses import dataclass
from threading import Lock
from typing import Any

import numpy as np

from depth_anything_ros.geometry.camera import CameraModel
from depth_anything_ros.geometry.camera_info import CameraInfoError, resize_camera_info
from depth_anything_ros.geometry.rectify import DepthRectifier
from depth_anything_ros.lru import LRUDict

# A frame looks for its own only once it is predicted: half a minute at 30 Hz, of 2 kB each.
_REMEMBERED_INFOS = 1000
_REMEMBERED_CAMERAS = 8


class MissingCameraInfoError(CameraInfoError):
    """No CameraInfo serves this frame; the message says why."""


@dataclass(frozen=True)
class Camera:
    """A calibration in the forms that the outputs need.

    model: the geometry of the depth image as predicted. rectifier: makes it rectified, None where it already is.
    info: describes the rectified depth image.
    """

    model: CameraModel
    rectifier: DepthRectifier | None
    info: Any


class Cameras:
    """The last CameraInfo messages, and the cameras made of them. add may be called from another thread than find."""

    def __init__(self, topic: str, *, rectified: bool) -> None:
        """Listen to nothing; topic is for messages. rectified: the images on it are, so P describes them."""
        self._topic = topic
        self.rectified = rectified
        self._lock = Lock()
        self._infos: LRUDict[tuple[int, int], Any] = LRUDict(_REMEMBERED_INFOS)  # by stamp
        self._latest: Any = None
        self._cameras: LRUDict[tuple, Camera] = LRUDict(_REMEMBERED_CAMERAS)

    @property
    def heard(self) -> bool:
        """Whether any calibration has come."""
        return self._latest is not None

    def add(self, info: Any) -> None:
        """Remember a calibration."""
        with self._lock:
            self._infos[_stamp(info.header)] = self._latest = info

    def find(self, header: Any, image_size: tuple[int, int], depth_size: tuple[int, int], *, exact: bool) -> Camera:
        """The camera of the image with this header and (height, width), scaled to the depth image's size.

        A CameraInfo with the image's stamp is preferred; otherwise, unless exact, the latest serves.
        Raises MissingCameraInfoError, and CameraInfoError for one that is wrong.
        """
        info = self._info(header, exact=exact)
        key = (*_content(info), image_size, depth_size, self.rectified)
        if key not in self._cameras:
            self._cameras[key] = self._make(info, image_size, depth_size)
        return self._cameras[key]

    def _info(self, header: Any, *, exact: bool) -> Any:
        with self._lock:
            own, latest = self._infos.get(_stamp(header)), self._latest
        if latest is None:
            raise MissingCameraInfoError(f'no CameraInfo on {self._topic}')
        if own is None and exact:
            raise MissingCameraInfoError(
                f'no CameraInfo on {self._topic} has the stamp of the image: let the driver stamp both alike, or '
                'set exact_sync to false'
            )
        return latest if own is None else own

    def _make(self, info: Any, image_size: tuple[int, int], depth_size: tuple[int, int]) -> Camera:
        info = _with_projection(info)
        model = CameraModel.from_camera_info(info, rectified=self.rectified)
        model.check_image_size(*image_size)
        if depth_size != image_size:
            info = resize_camera_info(info, depth_size[1], depth_size[0])
            model = model.scaled(*depth_size)
        rectifier = None if self.rectified else DepthRectifier.from_camera_info(info)
        return Camera(model, rectifier if rectifier and rectifier.needed else None, _rectified(info))


def _stamp(header: Any) -> tuple[int, int]:
    return header.stamp.sec, header.stamp.nanosec


def _content(info: Any) -> tuple:
    roi = info.roi
    return (
        *(info.width, info.height, info.distortion_model, info.binning_x, info.binning_y),
        *(roi.x_offset, roi.y_offset, roi.width, roi.height),
        *(np.asarray(values).tobytes() for values in (info.k, info.d, info.r, info.p)),
    )


def _with_projection(info: Any) -> Any:
    """The same calibration with P filled from K where a driver left it zero, as an ideal camera of that K has it."""
    if np.any(info.p) or not np.any(info.k):
        return info
    filled = deepcopy(info)
    filled.p = np.hstack([np.reshape(info.k, (3, 3)), np.zeros((3, 1))]).ravel()
    return filled


def _rectified(info: Any) -> Any:
    """The calibration of the rectified image: K is P's, no distortion, no rotation; P stays."""
    ideal = deepcopy(info)
    ideal.k = np.ascontiguousarray(np.reshape(info.p, (3, 4))[:, :3]).ravel()
    ideal.r = np.eye(3).ravel()
    # Consumers refuse an empty name, and image_geometry expects five coefficients with this one.
    ideal.distortion_model = 'plumb_bob'
    ideal.d = array('d', bytes(40)) if isinstance(info.d, array) else np.zeros(5)  # rclpy's container, rosbags's
    return ideal
