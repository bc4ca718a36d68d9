"""depth-anything bag: a recording in; a new bag with depth and points beside the old topics out.

The topics and their content are those of the node (README.md).
"""

from __future__ import annotations

import logging
import time
from argparse import Namespace
from collections import deque
from typing import Any

from tqdm import tqdm

from depth_anything_ros.cli.bag_outputs import BagOutputs
from depth_anything_ros.cli.bag_topics import COMPRESSED_IMAGE, BagTopics, choose_topics
from depth_anything_ros.cli.bags import BagError, InputBag, Message, MessageError, OutputBag
from depth_anything_ros.cli.errors import UsageError
from depth_anything_ros.cli.pipeline import Frame, Pipeline
from depth_anything_ros.estimation import PREDICTION_ERRORS
from depth_anything_ros.geometry import Camera, CameraInfoError, Cameras, point_cloud
from depth_anything_ros.messages import ImageError, compressed_to_rgb, stamp_ns, to_depth, to_rgb

_logger = logging.getLogger(__name__)

_FRAME_ERRORS = (MessageError, ImageError, *PREDICTION_ERRORS)
# A frame waits this long, in log time, for the CameraInfo and the depth of its moment: drivers publish them apart.
_LOOK_AHEAD_NS = 100_000_000


def run(args: Namespace) -> int:
    """Run the command; raises CommandError, also if not a single frame could be used."""
    with InputBag(args.input) as bag:
        topics = choose_topics(bag, args)
        if args.output.exists() and args.output.samefile(args.input):
            raise UsageError(f'--output {args.output} is the input')
        if args.scale_reference and args.scale is not None:
            raise UsageError('--scale-reference and --scale exclude each other')
        output = OutputBag(args.output, bag.typestore, overwrite=args.overwrite)
        pipeline = Pipeline.from_args(args, aligned_to_depth=topics.scale_reference is not None)
        with output:
            worker = _Worker(bag, topics, pipeline, BagOutputs(output, topics, bag.topics), args)
            worker.run(output)
            if not worker.frames:
                raise BagError(f'{args.input}: no frame of {topics.image} could be used: {_reason(worker, bag)}')
    worker.report()
    if bag.damage:
        _logger.warning('%s: %s', args.input, bag.damage)
    return 0


class _Worker:
    """Takes frames from a bag, and writes what follows from them. frames: how many were processed."""

    def __init__(
        self, bag: InputBag, topics: BagTopics, pipeline: Pipeline, outputs: BagOutputs, args: Namespace
    ) -> None:
        self._bag = bag
        self._topics = topics
        self._pipeline = pipeline
        self._outputs = outputs
        self._args = args
        self._cameras = Cameras(topics.camera_info, rectified=topics.rectified)
        self._seconds = 0.0
        self.frames = 0
        self.skipped = _Tally()
        self._without_metres = _Tally()
        self._without_camera = _Tally()

    def run(self, output: OutputBag) -> None:
        """Copy the bag, and process its frames on the way."""
        first = self._bag.first(self._topics.camera_info)
        if first is not None:
            self._add_camera_info(first)
        waiting: deque[Message] = deque()
        with tqdm(total=self._bag.count(self._topics.image), unit='frame', disable=None) as progress:
            for message in self._bag.copy_to(output):
                while waiting and message.time_ns > waiting[0].time_ns + _LOOK_AHEAD_NS:
                    self._process(waiting.popleft())
                    progress.update()
                if message.topic == self._topics.image:
                    waiting.append(message)
                elif message.topic == self._topics.camera_info:
                    self._add_camera_info(message)
                elif message.topic == self._topics.scale_reference:
                    self._add_reference(message)
            for message in waiting:
                self._process(message)
                progress.update()

    def report(self) -> None:
        """Print the summary, and warn of what is missing."""
        total = self.frames + self.skipped.count
        print(f'{self.frames} of {total} frames, {self._seconds / self.frames:.2f} s per frame: {self._args.output}')
        for tally, what in (
            (self.skipped, 'skipped'),
            (self._without_metres, 'without metres'),
            (self._without_camera, 'without camera_info and points'),
        ):
            if tally.count:
                _logger.warning('%d of %d frames %s, first: %s', tally.count, total, what, tally.reason)

    def _process(self, message: Message) -> None:
        start = time.perf_counter()
        try:
            image_message = self._bag.deserialize(message)
            decode = compressed_to_rgb if message.kind == COMPRESSED_IMAGE else to_rgb
            image = decode(image_message)
            frame = self._pipeline(image, stamp_ns(image_message))
        except _FRAME_ERRORS as error:
            self.skipped.add(str(error))
            return
        self._write(image_message.header, message.time_ns, image, frame)
        self.frames += 1
        self._seconds += time.perf_counter() - start

    def _write(self, header: Any, time_ns: int, image, frame: Frame) -> None:
        prediction, depth = frame.prediction, frame.depth
        if prediction.kind == 'disparity':
            self._outputs.write_relative(header, time_ns, prediction.values)
        if depth is None:
            self._without_metres.add(self._no_metres())
            return
        camera = self._find_camera(header, image.shape[:2])
        rectified = camera.rectifier(depth) if camera and camera.rectifier else depth
        self._outputs.write_depth(header, time_ns, rectified)
        if camera:
            self._outputs.write_camera_info(header, time_ns, camera.info)
            self._outputs.write_points(header, time_ns, point_cloud(depth, camera.model, image, self._args.stride))

    def _no_metres(self) -> str:
        if self._topics.scale_reference is None:
            name = self._pipeline.estimator.source.name
            return f'{name} predicts disparity; give --scale and --shift, --scale-reference, or a metric model'
        return self._pipeline.aligner.state.problem

    def _find_camera(self, header: Any, size: tuple[int, int]) -> Camera | None:
        try:
            return self._cameras.find(header, size, size, exact=False)
        except CameraInfoError as error:
            self._without_camera.add(str(error))
            return None

    def _add_camera_info(self, message: Message) -> None:
        try:
            self._cameras.add(self._bag.deserialize(message))
        except MessageError as error:
            _logger.warning('%s', error)

    def _add_reference(self, message: Message) -> None:
        try:
            reference = self._bag.deserialize(message)
            self._pipeline.aligner.add_evidence(stamp_ns(reference), to_depth(reference))
        except (MessageError, ImageError) as error:
            self._pipeline.aligner.refuse_evidence(str(error))


class _Tally:
    """How often something happened, and why the first time."""

    def __init__(self) -> None:
        self.count = 0
        self.reason = ''

    def add(self, reason: str) -> None:
        """Count one."""
        self.reason = self.reason or reason
        self.count += 1


def _reason(worker: _Worker, bag: InputBag) -> str:
    return worker.skipped.reason or bag.damage or 'the topic has no messages'
