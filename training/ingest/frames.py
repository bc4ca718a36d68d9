"""A bag's frames, one by one, each with what is known of it, or why it is dropped. Nothing but these is in memory."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from depth_anything_ros.alignment.hook import View
from depth_anything_ros.bags.errors import MessageError
from depth_anything_ros.bags.pictures import decode
from depth_anything_ros.bags.reading import InputBag, Message
from depth_anything_ros.bags.topics import COMPRESSED_IMAGE, TF_MESSAGE, base_topic
from depth_anything_ros.bags.transforms import BagTransforms
from depth_anything_ros.geometry import Camera, CameraInfoError, Cameras
from depth_anything_ros.messages import ImageError, names_rectified_images, stamp_ns
from training.data.readers.base import camera_matrix
from training.data.sample import Sample
from training.data.shards import encode_sample
from training.ingest.filters import FrameFilter
from training.ingest.metric_depth import MetricDepth
from training.ingest.rectification import rectify_image, rectify_points
from training.ingest.settings import Settings
from training.ingest.splitting import GAP, TimeBlocks
from training.ingest.topics import BagPlan

# Sensors are published apart, a LiDAR's sweep up to a tenth of a second after its stamp, and recorders lag: a frame
# waits so long, in log time, for what was measured at its moment.
_LATENCY_NS = 400_000_000
_TF, _TF_STATIC = '/tf', '/tf_static'
_JPEG, _EXIF = b'\xff\xd8\xff', b'Exif\0\0'
# Where a JPEG's first segments are, EXIF among them.
_JPEG_HEAD = 1 << 16


@dataclass
class Frame:
    """A frame of a bag.

    dropped: why, '' if it is kept. split: where it then belongs. sample: if it is kept, and parts: its files.
    image: uint8 RGB (H, W, 3), None if it could not be decoded. measured: as of a Verdict. where: it is, for people.
    """

    topic: str
    dropped: str
    split: str = ''
    sample: Sample | None = None
    parts: dict[str, bytes] | None = None
    image: np.ndarray | None = None
    measured: str = ''
    where: str = ''


class FrameReader:
    """Plays a bag. problems: what could not be used, how often, by reason; frames that are dropped are not in it."""

    def __init__(self, bag: InputBag, plan: BagPlan, blocks: TimeBlocks, settings: Settings) -> None:
        self._bag, self._plan, self._settings = bag, plan, settings
        window_ns = int(settings.max_time_difference_s * 1e9)
        self._look_ahead_ns = _LATENCY_NS + window_ns
        self._blocks = blocks
        # A frame is looked at that long after it came, and its evidence may have come that long before.
        self._metric = MetricDepth(plan, settings, 2 * self._look_ahead_ns)
        self._transforms = BagTransforms(bag, _TF_STATIC, settings.fixed_frame)
        self._filters = {topic: FrameFilter(settings) for topic in plan.images}
        self._counts: Counter[str] = Counter()
        self._cameras = {topic: self._open_camera(topic) for topic in plan.images}
        # A raw topic and a rectified one, colour and grey: several may have one calibration.
        self._topics_of_info: dict[str, list[str]] = {}
        for topic, info in plan.images.items():
            if info:
                self._topics_of_info.setdefault(info, []).append(topic)
        self.problems: Counter[str] = Counter()

    def __iter__(self) -> Iterator[Frame]:
        """The frames in the order of log time; where the bag is damaged this ends, and the bag's `damage` says why."""
        for message in self._ripe():
            yield self._read(message)
        self.problems.update(self._metric.problems)

    def _open_camera(self, topic: str) -> Cameras:
        info, kind = self._plan.images[topic], self._bag.topics[topic]
        cameras = Cameras(info, rectified=names_rectified_images(base_topic(topic, kind)))
        # The first calibration may be logged after the first image.
        first = self._bag.first(info) if info else None
        if first is not None:
            cameras.add(self._bag.deserialize(first))
        return cameras

    def _ripe(self) -> Iterator[Message]:
        """The messages of images, each once everything of its moment has been read."""
        waiting: deque[Message] = deque()
        tf = {_TF} if self._bag.topics.get(_TF) == TF_MESSAGE else set()
        topics = {*self._plan.images, *self._topics_of_info, *self._metric.topics, *tf}
        for message in self._bag.messages(topics):
            while waiting and message.time_ns > waiting[0].time_ns + self._look_ahead_ns:
                yield waiting.popleft()
            if message.topic in self._plan.images:
                waiting.append(message)
            elif message.topic == _TF:
                self._transforms.add(message)
            else:
                self._add(message)
        yield from waiting

    def _add(self, message: Message) -> None:
        """A calibration or a measurement."""
        try:
            content = self._bag.deserialize(message)
        except MessageError as error:
            self.problems[str(error)] += 1
            return
        if message.topic in self._topics_of_info:
            for topic in self._topics_of_info[message.topic]:
                self._cameras[topic].add(content)
        else:
            self._metric.add(message.topic, message.time_ns, content)

    def _read(self, message: Message) -> Frame:
        topic, sequence = message.topic, self._counts[message.topic]
        self._counts[topic] += 1
        split = self._blocks.split_at(message.time_ns)
        if split == GAP:
            return Frame(topic, GAP)
        try:
            content = self._bag.deserialize(message)
            stamp = stamp_ns(content) or message.time_ns  # drivers that never fill the stamp
            if self._filters[topic].too_soon(stamp):
                return Frame(topic, 'too_soon')
            image = decode(content, message.kind)
        except (MessageError, ImageError) as error:
            self.problems[f'{topic}: {error}'[:300]] += 1
            return Frame(topic, 'undecodable')
        where = f'{self._plan.bag.name} {(message.time_ns - self._plan.start_ns) / 1e9:.1f} s'
        camera = self._camera(topic, content.header, image)
        if camera is None and self._settings.undistort:
            return Frame(topic, 'uncalibrated', image=image, where=where)
        dropped, measured = self._filters[topic].judge(image, stamp)
        if dropped:
            return Frame(topic, dropped, image=image, measured=measured, where=where)
        sample = self._sample(message, sequence, stamp, content, image, camera)
        # Only what is neither undistorted nor resized is what its bytes say.
        kept_bytes = bytes(content.data) if sample.image is image and _upright_jpeg(message.kind, content) else None
        suffix = 'jpg' if kept_bytes else self._settings.encoding
        parts = encode_sample(sample, kept_bytes, suffix)
        return Frame(topic, '', split, sample, parts, sample.image, measured, where)

    def _camera(self, topic: str, header: Any, image: np.ndarray) -> Camera | None:
        size = image.shape[:2]
        if not self._plan.images[topic]:
            return None
        try:
            return self._cameras[topic].find(header, size, size, exact=False)
        except CameraInfoError as error:
            self.problems[f'{topic}: {error}'[:300]] += 1
            return None

    def _sample(
        self, message: Message, sequence: int, stamp: int, content: Any, image: np.ndarray, camera: Camera | None
    ) -> Sample:
        """Measure, undistort and resize, in this order."""
        height, width = image.shape[:2]
        model = camera.model if camera else None
        nothing = np.broadcast_to(np.float32(0), (height, width))
        frame_id = content.header.frame_id
        view = View(nothing, 'depth', stamp, frame_id, model, self._transforms.tree)
        points, valid = self._metric.of(view), None
        if camera and camera.rectifier and self._settings.undistort:
            image, valid = rectify_image(image, camera.rectifier)
            points = None if points is None else rectify_points(points, camera.rectifier)
            model = camera.rectifier.rectified
        image, points, valid, scale = shrink(image, points, valid, self._settings.max_size)
        name = self._plan.bag.name
        place = message.topic.strip('/').replace('.', '_')
        return Sample(
            key=f'{name}/{place}/{sequence:07d}',
            image=image,
            points=None if points is None or not len(points) else points.astype(np.float32),
            valid=None if valid is None or valid.all() else valid,
            meta={
                'bag': name,
                'topic': message.topic,
                'stamp_ns': stamp,
                'sequence': sequence,
                'frame_id': frame_id,
                **_calibration(model, scale),
            },
        )


def _calibration(model: Any, scale: float) -> dict[str, Any]:
    """K of the stored image, and the distortion that is left in it."""
    if model is None:
        return {}
    known = {'K': camera_matrix(model.fx, model.fy, model.cx, model.cy, scale)}
    if model.distortion is None:
        return known
    lens = 'equidistant' if len(model.distortion.coefficients) == 4 else 'rational_polynomial'
    return {**known, 'distortion_model': lens, 'D': list(model.distortion.coefficients)}


def shrink(
    image: np.ndarray, points: np.ndarray | None, valid: np.ndarray | None, most: int
) -> tuple[np.ndarray, np.ndarray | None, np.ndarray | None, float]:
    """All at a shorter side of `most` pixels, if it is longer (0: as it is), and the scale."""
    height, width = image.shape[:2]
    shorter = min(height, width)
    if not most or shorter <= most:
        return image, points, valid, 1.0
    scale = most / shorter
    size = round(width * scale), round(height * scale)
    image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    if points is not None:
        points = points * (scale, scale, 1.0) + ((scale - 1) / 2, (scale - 1) / 2, 0.0)
    if valid is not None:  # whole pixels only: a part of a border is border
        valid = cv2.resize(valid.astype(np.float32), size, interpolation=cv2.INTER_AREA) > 0.999
    return image, points, valid, scale


def _upright_jpeg(kind: str, content: Any) -> bool:
    """Whether a message's bytes are a file of this very picture: readers of files turn it by its EXIF, ROS does not.

    Nor do they know of red and blue exchanged, or of a Bayer mosaic.
    """
    if kind != COMPRESSED_IMAGE or 'compressed rgb' in content.format or content.format.startswith('bayer_'):
        return False
    head = bytes(content.data[:_JPEG_HEAD])
    return head.startswith(_JPEG) and _EXIF not in head
