"""What can be published of a frame, and how the host makes it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from depth_anything_ros.alignment import AlignedFrame
from depth_anything_ros.geometry import Camera, PointCloud, colorize, is_mostly_free, mark_depth, point_cloud
from depth_anything_ros.messages import depth_to_millimetres, fill_image, fill_point_cloud

if TYPE_CHECKING:
    from depth_anything_ros.estimation import DepthEstimator, Prediction
    from depth_anything_ros.node.settings import Settings

DEPTH, DEPTH_INFO, MILLIMETRES = 'depth/image_rect', 'depth/camera_info', 'depth/image_raw'
SIGMA, COLOR, RELATIVE, POINTS = 'depth/sigma', 'depth/image_color', 'relative/image', 'points'
# In the order in which they are published.
TOPICS = (RELATIVE, COLOR, DEPTH, DEPTH_INFO, MILLIMETRES, SIGMA, POINTS)
# What a relative model has only once it is aligned.
METRES = {DEPTH, DEPTH_INFO, MILLIMETRES, SIGMA, POINTS}
# Which depth/camera_info describes.
RECTIFIED = {DEPTH, MILLIMETRES, SIGMA}
ENCODINGS = {RELATIVE: '32FC1', COLOR: 'bgr8', DEPTH: '32FC1', MILLIMETRES: '16UC1', SIGMA: '32FC1'}
# In place of a cloud, by Render.
NOTHING_KNOWN = (
    'no cloud: there is no point, and some of the view is nearer than range.min_m, or most of it is unknown or less '
    'certain than points.max_relative_sigma'
)

Fill = Callable[[Any], None]
"""Makes a message say what it is to say; its header is not Fill's."""


@dataclass(frozen=True)
class Products:
    """A frame, with what is known of it, and what may be made of it.

    image: uint8 RGB. aligned: what has become of the prediction. camera: None without calibration. unrectified: the
    image has yet to be rectified, and nothing says how.
    """

    image: np.ndarray
    prediction: Prediction
    aligned: AlignedFrame
    camera: Camera | None
    settings: Settings
    unrectified: bool = False

    def possible(self) -> set[str]:
        """The topics that these can serve."""
        missing = set()
        if self.prediction.kind != 'disparity':
            missing.add(RELATIVE)
        if not self.aligned.is_metric:
            missing |= METRES
        if self.camera is None:
            missing |= {DEPTH_INFO, POINTS}
        if self.unrectified:
            missing |= RECTIFIED
        if not self.aligned.knows_sigma:
            missing |= topics_with_sigma(self.settings)
        return {*TOPICS} - missing


Render = Callable[[Products, set[str]], Iterator[tuple[str, Fill]]]
"""Makes what these topics, which must be possible, say of a frame: one after the other, so that none waits for all.

Not POINTS where there is no point and is_mostly_free is not true: an empty cloud says that the way is free.
"""


def make_render(model: DepthEstimator) -> Render:
    """What makes the products of a model's predictions, where these are."""
    if not model.keeps_on_device:
        return render
    # Not at the top, as in DepthNode: it imports torch.
    from depth_anything_ros.node.device_products import DeviceRender  # noqa: PLC0415

    return DeviceRender(model.device)


def topics_with_sigma(settings: Settings) -> set[str]:
    """The topics that cannot be served without the uncertainty of depth."""
    return {SIGMA, POINTS} if settings.points_max_relative_sigma > 0.0 else {SIGMA}


def without_sigma(topics: set[str]) -> str:
    """Why these topics are not served, and what would help."""
    remedy = '; points.max_relative_sigma = 0.0 gives the cloud without' if POINTS in topics else ''
    return f'no {", ".join(sorted(topics))}: nothing says how uncertain this depth is{remedy}'


def render(made: Products, topics: set[str]) -> Iterator[tuple[str, Fill]]:
    """See Render: with NumPy and OpenCV."""
    settings, disparity = made.settings, made.aligned.disparity
    if RELATIVE in topics:
        yield RELATIVE, image_fill(RELATIVE, disparity)
    if COLOR in topics:
        rgb = colorize(disparity, settings.colormap)
        yield COLOR, image_fill(COLOR, cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))
    if not topics & METRES:
        return
    limits = settings.range_min_m, settings.range_max_m
    depth = mark_depth(made.aligned.depth, *limits, edge_threshold=settings.edge_threshold)
    sigma = _marked(made.aligned.sigma(), depth) if topics & topics_with_sigma(settings) else None
    image = _rectified(depth, made.camera) if topics & {DEPTH, MILLIMETRES} else None
    if DEPTH in topics:
        yield DEPTH, image_fill(DEPTH, image)
    if DEPTH_INFO in topics:
        yield DEPTH_INFO, leave
    if MILLIMETRES in topics:
        yield MILLIMETRES, image_fill(MILLIMETRES, depth_to_millimetres(image))
    if SIGMA in topics:
        yield SIGMA, image_fill(SIGMA, _rectified(sigma, made.camera))
    if POINTS in topics:
        cloud = _cloud(made, depth, sigma)
        if not cloud.is_empty or _is_free(made, depth):
            yield POINTS, partial(fill_point_cloud, points=cloud.points, colors=cloud.colors)


def image_fill(name: str, values: np.ndarray) -> Fill:
    """Puts values into the image of this topic."""
    return partial(fill_image, image=values, encoding=ENCODINGS[name])


def leave(info: Any) -> None:
    """A CameraInfo says all it has to say from the beginning."""


def _marked(sigma: np.ndarray, depth: np.ndarray) -> np.ndarray:
    """The standard deviation of depth, (H, W), with NaN where marked depth is not finite."""
    return np.where(np.isfinite(depth), sigma, np.float32(np.nan))


def _rectified(values: np.ndarray, camera: Camera | None) -> np.ndarray:
    """Depth, or its uncertainty, which turns with the axis by the same factor."""
    return camera.rectifier(values) if camera and camera.rectifier else values


def _is_free(made: Products, depth: np.ndarray) -> bool:
    """See is_mostly_free, of marked depth (H, W): as certainly as the farthest point of a cloud must be."""
    settings, certain = made.settings, None
    if settings.points_max_relative_sigma > 0.0:
        most = settings.points_max_relative_sigma / settings.range_max_m
        certain = made.aligned.alignment.inverse_sigma(made.aligned.disparity) <= most
    return is_mostly_free(depth, made.camera.model, settings.points_stride, certain)


def _cloud(made: Products, depth: np.ndarray, sigma: np.ndarray | None) -> PointCloud:
    settings, rgb = made.settings, None
    if settings.points_max_relative_sigma > 0.0:
        # Where depth is not finite sigma is NaN, and there is no point anyway.
        certain = sigma <= settings.points_max_relative_sigma * depth
        depth = np.where(certain, depth, np.float32(np.nan))
    if settings.points_color:
        # At network size the colours follow the depth.
        rgb = made.image if made.image.shape[:2] == depth.shape else cv2.resize(made.image, depth.shape[::-1])
    return point_cloud(
        depth,
        made.camera.model,
        rgb,
        stride=settings.points_stride,
        voxel_m=settings.points_voxel_m,
        organized=settings.points_organized,
    )
