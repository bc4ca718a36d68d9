"""depth-anything bag: a recording in; a new bag with depth and points beside the old topics out.

The topics and their content are those of the node (README.md).
"""

from __future__ import annotations

import logging
import time
from argparse import Namespace
from dataclasses import replace

from tqdm import tqdm

from depth_anything_ros.bags.errors import BagError
from depth_anything_ros.bags.reading import InputBag, Message
from depth_anything_ros.bags.writing import OutputBag
from depth_anything_ros.cli.bag_outputs import BagOutputs
from depth_anything_ros.cli.bag_topics import BagTopics, choose_topics
from depth_anything_ros.cli.bag_transforms import fixed_transforms
from depth_anything_ros.cli.errors import UsageError
from depth_anything_ros.cli.pipeline import Frame, Pipeline, counts_of
from depth_anything_ros.cli.playback import FRAME_ERRORS, BagImage, Playback, Tally
from depth_anything_ros.cli.sources import choose_sources
from depth_anything_ros.geometry import is_mostly_free, point_cloud
from depth_anything_ros.geometry.transforms import Transforms

_logger = logging.getLogger(__name__)


def run(args: Namespace) -> int:
    """Run the command; raises CommandError and BagError, also if not a single frame could be used."""
    choices = choose_sources(args)
    if len(choices) > 1:
        raise UsageError('one --alignment-source makes the metres of a bag; `depth-anything align` compares several')
    with InputBag(args.input) as bag:
        topics = choose_topics(bag, args, choices)
        if args.namespace is not None:
            topics = replace(topics, namespace=args.namespace.rstrip('/'))
        source, target = args.input.resolve(), args.output.resolve()
        if target == source or target in source.parents:
            raise UsageError(f'--output {args.output} is the input, or holds it')
        extrinsics = fixed_transforms('--extrinsics', args.extrinsics)
        output = OutputBag(args.output, bag.typestore, overwrite=args.overwrite)
        pipeline = Pipeline.from_args(args, choices[0])
        with output:
            worker = _Worker(bag, topics, pipeline, BagOutputs(output, topics, bag.topics), args, extrinsics)
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
        self,
        bag: InputBag,
        topics: BagTopics,
        pipeline: Pipeline,
        outputs: BagOutputs,
        args: Namespace,
        extrinsics: Transforms | None,
    ) -> None:
        self._bag = bag
        self._topics = topics
        self._pipeline = pipeline
        self._outputs = outputs
        self._args = args
        (evidence,) = topics.evidence
        listeners = {topic: [(pipeline.aligner, name)] for name, topic in evidence.items()}
        self._playback = Playback(bag, topics, args, listeners)
        self._transforms = extrinsics or self._playback.transforms
        self._seconds = 0.0
        self._calibrated = False
        self.frames = 0
        self.skipped = Tally()
        self._without_metres = Tally()
        self._without_camera = Tally()
        self._unrectified = Tally()
        self._unknown = Tally()

    def run(self, output: OutputBag) -> None:
        """Copy the bag, and process its frames on the way."""
        with tqdm(total=self._bag.count(self._topics.image), unit='frame', disable=None) as progress:
            for message in self._playback.images(self._bag.copy_to(output)):
                self._process(message)
                progress.update()

    def report(self) -> None:
        """Print the summary, and warn of what is missing."""
        total = self.frames + self.skipped.count
        print(f'{self.frames} of {total} frames, {self._seconds / self.frames:.2f} s per frame: {self._args.output}')
        if self._topics.evidence[0]:
            print(f'alignment: {counts_of(self._pipeline.aligner.state)}')
        for tally, what in (
            (self.skipped, 'skipped'),
            (self._without_metres, 'without metres'),
            (self._without_camera, 'without camera_info and points'),
            (self._unrectified, 'without depth, which would not be rectified as that of the others is'),
            (self._unknown, 'without points'),
        ):
            if tally.count:
                _logger.warning('%d of %d frames %s, first: %s', tally.count, total, what, tally.reason)

    def _process(self, message: Message) -> None:
        start = time.perf_counter()
        try:
            image = self._playback.read(message)
            frame = self._pipeline(
                image.pixels,
                stamp_ns=image.stamp_ns,
                frame_id=image.header.frame_id,
                camera=image.camera.model if image.camera else None,
                transforms=self._transforms,
            )
        except FRAME_ERRORS as error:
            self.skipped.add(str(error))
            return
        self._write(message.time_ns, image, frame)
        self.frames += 1
        self._seconds += time.perf_counter() - start

    def _write(self, time_ns: int, image: BagImage, frame: Frame) -> None:
        header, prediction, depth = image.header, frame.prediction, frame.depth
        if prediction.kind == 'disparity':
            self._outputs.write_relative(header, time_ns, frame.disparity)
        if depth is None:
            self._without_metres.add(self._no_metres())
            return
        camera = image.camera
        if camera is None:
            self._without_camera.add(image.problem)
            # Where frames before it were calibrated, this depth would be in another geometry than theirs.
            if self._calibrated and not self._topics.rectified:
                self._unrectified.add(image.problem)
            else:
                self._outputs.write_depth(header, time_ns, depth)
            return
        self._calibrated = True
        self._outputs.write_depth(header, time_ns, camera.rectifier(depth) if camera.rectifier else depth)
        self._outputs.write_camera_info(header, time_ns, camera.info)
        stride = self._args.stride
        cloud = point_cloud(depth, camera.model, image.pixels, stride)
        if not cloud.is_empty or is_mostly_free(depth, camera.model, stride):
            self._outputs.write_points(header, time_ns, cloud)
        else:
            self._unknown.add(
                'there is no point, and most of the view is unknown, or some of it nearer than --range-min'
            )

    def _no_metres(self) -> str:
        if not (self._args.alignment_source or self._args.scale_reference):
            name = self._pipeline.estimator.source.name
            return f'{name} predicts disparity; give an --alignment-source, or a metric model'
        return self._pipeline.aligner.state.problem


def _reason(worker: _Worker, bag: InputBag) -> str:
    return worker.skipped.reason or bag.damage or 'the topic has no messages'
