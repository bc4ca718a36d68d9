"""depth-anything align: a recording in; how good sources of metres would have been on it out."""

from __future__ import annotations

import logging
from argparse import Namespace
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

from tqdm import tqdm

from depth_anything_ros.alignment import Aligner, AlignmentSource, source_types
from depth_anything_ros.bags.errors import BagError
from depth_anything_ros.bags.reading import InputBag, Message
from depth_anything_ros.bags.topics import IMAGE
from depth_anything_ros.cli import align_report
from depth_anything_ros.cli.bag_topics import BagTopics, choose_topics
from depth_anything_ros.cli.bag_transforms import fixed_transforms
from depth_anything_ros.cli.errors import CommandError, UsageError
from depth_anything_ros.cli.pipeline import check_correction, check_range, make_estimator, make_view
from depth_anything_ros.cli.playback import FRAME_ERRORS, Playback, Tally
from depth_anything_ros.cli.sources import Choice, choose_sources, make_with, split_parameters
from depth_anything_ros.cli.trial import Trial
from depth_anything_ros.estimation import DepthEstimator

_logger = logging.getLogger(__name__)

# What reads the truth, by the type of its topic.
_TRUTH_SOURCES = {IMAGE: 'depth', 'sensor_msgs/msg/PointCloud2': 'points', 'sensor_msgs/msg/LaserScan': 'scan'}


def run(args: Namespace) -> int:
    """Run the command; raises CommandError and BagError, also if not a single frame could be judged."""
    choices = choose_sources(args)
    _check(args, choices)
    with InputBag(args.input) as bag:
        truth_topic, parameters = (None, {}) if args.truth is None else split_parameters(args.truth)
        topics = choose_topics(bag, args, choices, truth_topic, _TRUTH_SOURCES)
        truth = truth_topic and make_with('--truth', _TRUTH_SOURCES[bag.topics[truth_topic]], parameters)
        worker = _Worker(bag, topics, choices, truth, args)
        estimator = make_estimator(args, args.backend)
        check_correction(estimator, choices, args)
        worker.run(estimator)
        skipped = worker.skipped
        if skipped.count == worker.frames:
            reason = skipped.reason or bag.damage or 'the topic has no messages'
            raise BagError(f'{args.input}: no frame of {topics.image} could be used: {reason}')
    align_report.print_frames(worker.trials, quiet=args.quiet)
    align_report.print_overall(worker.trials)
    if args.csv is not None:
        align_report.write_csv(args.csv, worker.trials)
    if args.plot is not None:
        from depth_anything_ros.cli.align_plot import write_plot  # noqa: PLC0415

        write_plot(args.plot, worker.trials)
    if skipped.count:
        _logger.warning('%d of %d frames skipped, first: %s', skipped.count, worker.frames, skipped.reason)
    if bag.damage:
        _logger.warning('%s: %s', args.input, bag.damage)
    _check_judged(worker.trials)
    return 0


class _Worker:
    """Takes frames from a bag, and tries every source on each. frames: how many there were."""

    def __init__(
        self,
        bag: InputBag,
        topics: BagTopics,
        choices: Sequence[Choice],
        truth: AlignmentSource | None,
        args: Namespace,
    ) -> None:
        limits_m = (args.range_min, args.range_max)
        self.trials = [Trial(choice, truth, args.held_out, limits_m) for choice in choices]
        self.frames = 0
        self.skipped = Tally()
        self._bag = bag
        self._topics = topics
        listeners: dict[str, list[tuple[Aligner, str]]] = defaultdict(list)
        for trial, evidence in zip(self.trials, topics.evidence, strict=True):
            for topic, listener in trial.listeners(evidence, topics.truth):
                listeners[topic].append(listener)
        self._playback = Playback(bag, topics, args, listeners)
        tree = self._playback.transforms
        self._transforms = fixed_transforms('--extrinsics', args.extrinsics) or tree
        own = self._transforms if topics.truth is None else tree
        self._truth_transforms = fixed_transforms('--truth-extrinsics', args.truth_extrinsics) or own

    def run(self, estimator: DepthEstimator) -> None:
        """Play the bag; raises NoTruthError for a source that only --truth can judge."""
        with tqdm(total=self._bag.count(self._topics.image), unit='frame', disable=None) as progress:
            for message in self._playback.images(self._bag.messages(self._topics.read)):
                self.frames += 1
                self._process(message, estimator)
                progress.update()

    def _process(self, message: Message, estimator: DepthEstimator) -> None:
        try:
            image = self._playback.read(message)
            prediction = estimator(image.pixels)
        except FRAME_ERRORS as error:
            self.skipped.add(str(error))
            return
        camera = image.camera.model if image.camera else None
        view = make_view(
            estimator, prediction, image.pixels, image.stamp_ns, image.header.frame_id, camera, self._transforms
        )
        truth_view = replace(view, transforms=self._truth_transforms)
        for trial in self.trials:
            trial(view, truth_view)


def _check(args: Namespace, choices: Sequence[Choice]) -> None:
    """Raise UsageError for what cannot be, before any work."""
    check_range(args)
    if not 0.0 < args.held_out < 1.0:
        raise UsageError(f'expected --held-out between 0 and 1, got {args.held_out:g}')
    if args.truth_extrinsics is not None and args.truth is None:
        raise UsageError('--truth-extrinsics goes with --truth')
    for path in (args.csv, args.plot):
        if path is not None and path.exists() and not args.overwrite:
            raise CommandError(f'{path} exists already: give --overwrite to replace it')
    if args.plot is not None:
        align_report.check_plot(args.plot)
    if args.truth is None:
        for choice in choices:
            _check_own_truth(choice)


def _check_own_truth(choice: Choice) -> None:
    # The floor is found in the prediction itself, so its samples agree with it whatever the truth is.
    if not choice.source.topics or isinstance(choice.source, source_types()['ground']):
        raise UsageError(
            f'alignment source {choice.label} has no measured depth that could be held out: name the truth with '
            '--truth TOPIC (a depth image, PointCloud2 or LaserScan)'
        )


def _check_judged(trials: Sequence[Trial]) -> None:
    unjudged = [trial for trial in trials if not any(row.judged for row in trial.rows)]
    for trial in unjudged:
        without = next((row for row in trial.rows if not row.metres), None)
        reason = trial.rows[-1].truth_problem if without is None else without.reason
        message = f'{trial.label}: no frame has both metres and truth: {reason}'
        if len(unjudged) == len(trials):
            raise CommandError(message)
        _logger.warning('%s', message)
