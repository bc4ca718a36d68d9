"""A bag played to the alignment: each frame once everything of its moment has been read."""

from __future__ import annotations

import logging
from argparse import Namespace
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from depth_anything_ros.alignment import Aligner
from depth_anything_ros.bags.errors import MessageError
from depth_anything_ros.bags.pictures import decode
from depth_anything_ros.bags.reading import InputBag, Message
from depth_anything_ros.bags.transforms import BagTransforms
from depth_anything_ros.cli.bag_topics import BagTopics
from depth_anything_ros.estimation import PREDICTION_ERRORS
from depth_anything_ros.geometry import Camera, CameraInfoError, Cameras
from depth_anything_ros.messages import ImageError, stamp_ns

_logger = logging.getLogger(__name__)

FRAME_ERRORS = (MessageError, ImageError, *PREDICTION_ERRORS)
"""What ends the work on a frame; the next one may be fine."""

# A frame waits this long, in log time, for the CameraInfo, the evidence and the transforms of its moment: they are
# published apart.
_LOOK_AHEAD_NS = 100_000_000


@dataclass(frozen=True)
class BagImage:
    """A decoded frame. pixels: uint8 RGB (H, W, 3). camera: None where problem says why there is none."""

    header: Any
    stamp_ns: int
    pixels: np.ndarray
    camera: Camera | None
    problem: str


class Playback:
    """Plays messages: calibrations, transforms and evidence go where they belong, images come out."""

    def __init__(
        self,
        bag: InputBag,
        topics: BagTopics,
        args: Namespace,
        listeners: Mapping[str, Sequence[tuple[Aligner, str]]],
    ) -> None:
        """listeners: by topic of the bag, the aligners that it is evidence for, and their name for it."""
        self._bag = bag
        self._topics = topics
        self._listeners = listeners
        self._cameras = Cameras(topics.camera_info, rectified=topics.rectified)
        self._transforms = BagTransforms(bag, topics.tf_static, args.fixed_frame)
        self.transforms = self._transforms.tree

    def images(self, messages: Iterable[Message]) -> Iterator[Message]:
        """Yield the messages of images, in the order of log time, each when it is ripe for `read`."""
        first = self._bag.first(self._topics.camera_info)
        if first is not None:
            self._add_camera_info(first)
        waiting: deque[Message] = deque()
        for message in messages:
            while waiting and message.time_ns > waiting[0].time_ns + _LOOK_AHEAD_NS:
                yield waiting.popleft()
            if message.topic == self._topics.image:
                waiting.append(message)
            elif message.topic == self._topics.camera_info:
                self._add_camera_info(message)
            elif message.topic == self._topics.tf:
                self._transforms.add(message)
            if message.topic in self._listeners:
                self._add_evidence(message)
        yield from waiting

    def read(self, message: Message) -> BagImage:
        """Decode an image and find its calibration; raises those of FRAME_ERRORS that are not of the network."""
        image_message = self._bag.deserialize(message)
        pixels = decode(image_message, message.kind)
        header, size = image_message.header, pixels.shape[:2]
        try:
            camera, problem = self._cameras.find(header, size, size, exact=False), ''
        except CameraInfoError as error:
            camera, problem = None, str(error)
        return BagImage(header, stamp_ns(image_message), pixels, camera, problem)

    def _add_camera_info(self, message: Message) -> None:
        try:
            self._cameras.add(self._bag.deserialize(message))
        except MessageError as error:
            _logger.warning('%s', error)

    def _add_evidence(self, message: Message) -> None:
        listeners = self._listeners[message.topic]
        try:
            evidence = self._bag.deserialize(message)
        except MessageError as error:
            for aligner, _ in listeners:
                aligner.refuse_evidence(str(error))
            return
        for aligner, name in listeners:
            aligner.add_message(name, evidence)


class Tally:
    """How often something happened, and why the first time."""

    def __init__(self) -> None:
        self.count = 0
        self.reason = ''

    def add(self, reason: str) -> None:
        """Count one."""
        self.reason = self.reason or reason
        self.count += 1
