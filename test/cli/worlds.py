"""A scene whose depth is known, and a network that knows it up to what real ones do not."""

import numpy as np
from recordings import HEIGHT, WIDTH, K

from depth_anything_ros.estimation import Prediction
from depth_anything_ros.estimation.prediction import Timings

SCALE, SHIFT = 0.4, 0.05
# A LiDAR's axes (x ahead, y left, z up), 0.2 m above and 0.3 m behind the camera, in the camera's optical frame.
LIDAR_POSITION, LIDAR_QUATERNION = (0.0, -0.2, -0.3), (0.5, -0.5, 0.5, 0.5)
LIDAR_TO_CAMERA = np.array([[0, -1, 0, 0], [0, 0, -1, -0.2], [1, 0, 0, -0.3], [0, 0, 0, 1.0]])
POSE = (*LIDAR_POSITION, *LIDAR_QUATERNION)


def depth_of(index):
    """Metres, float64 (H, W): a floor, a slanted wall, and a box that comes nearer from frame to frame."""
    v, u = np.mgrid[:HEIGHT, :WIDTH].astype(float)
    depth = 6.0 + u / 16
    floor = v > 30
    depth[floor] = np.minimum(depth, 1.2 * 61 / np.maximum(v - 25, 1e-3))[floor]
    depth[10:34, 20:34] = 2.5 - 0.02 * index
    return depth


def picture_of(index):
    """An image that only says which frame it is."""
    return np.full((HEIGHT, WIDTH, 3), index, np.uint8)


def points_of(depth):
    """The surface in the LiDAR's frame, float64 (H * W, 3), pixel by pixel."""
    fx, fy, cx, cy = K[0], K[4], K[2], K[5]
    v, u = np.mgrid[:HEIGHT, :WIDTH]
    camera = np.stack([(u - cx) / fx * depth, (v - cy) / fy * depth, depth], axis=-1).reshape(-1, 3)
    return (camera - LIDAR_TO_CAMERA[:3, 3]) @ LIDAR_TO_CAMERA[:3, :3]


class Oracle:
    """An estimator that predicts the inverse depth of a frame, with a flickering scale and shift, and noise.

    noise: standard deviation, as a fraction of the inverse depth. calls: how many images it has seen.
    """

    def __init__(self, kind='disparity', noise=0.02, flicker=0.0, scale=SCALE, shift=SHIFT):
        self.kind = kind
        self.canonical_focal_px = self.max_depth_m = None
        self.source = self
        self.name = 'oracle'
        self.calls = 0
        self._settings = noise, flicker, scale, shift

    def __call__(self, image):
        self.calls += 1
        return Prediction(self.values(int(image[0, 0, 0])), self.kind, (42, 56), Timings(0.0, 0.0, 0.0))

    def values(self, index):
        noise, flicker, scale, shift = self._settings
        random = np.random.default_rng(index)
        depth = depth_of(index)
        if self.kind == 'depth':
            return (depth * 1.1).astype(np.float32)
        inverse = (1.0 + noise * random.standard_normal(depth.shape)) / depth
        scale_error, shift_error = flicker * random.standard_normal(2)
        return ((inverse - shift - 0.05 * shift_error) / scale * (1.0 + scale_error)).astype(np.float32)
