"""From an image to depth, as the command line asks for it: the way of a frame, without ROS."""

from __future__ import annotations

from argparse import Namespace
from dataclasses import dataclass

import numpy as np

from depth_anything_ros.alignment import (
    Aligner,
    AlignmentSource,
    DegenerateEvidenceError,
    DepthSource,
    FixedSource,
    NoSource,
)
from depth_anything_ros.checkpoints import name_or_default
from depth_anything_ros.cli.errors import CommandError, UsageError
from depth_anything_ros.estimation import UNAVAILABLE_ERRORS, DepthEstimator, Prediction
from depth_anything_ros.geometry import mark_depth


@dataclass(frozen=True)
class Frame:
    """A predicted image. depth: float32 (H, W) metres with REP 117's marks, None where nothing gives metres."""

    prediction: Prediction
    depth: np.ndarray | None


class Pipeline:
    """The estimator, the alignment and the marking of depth, with one set of options.

    aligner: what gives a relative model its metres; evidence is added to it.
    """

    def __init__(self, estimator: DepthEstimator, aligner: Aligner, args: Namespace) -> None:
        """Take range_min, range_max (metres) and edge_threshold from args."""
        self.estimator = estimator
        self.aligner = aligner
        self._args = args

    @classmethod
    def from_args(cls, args: Namespace, *, aligned_to_depth: bool = False) -> Pipeline:
        """Check the options and load the model; aligned_to_depth: metres come from a registered depth image.

        Raises UsageError, and CommandError if the model cannot be had.
        """
        _check_depth_options(args)
        source = _make_source(args, aligned_to_depth)
        return cls(make_estimator(args, args.backend), Aligner(source), args)

    def __call__(self, image: np.ndarray, stamp_ns: int = 0) -> Frame:
        """Predict a uint8 RGB (H, W, 3) image taken at this time; raises estimation.PREDICTION_ERRORS."""
        prediction = self.estimator(image)
        if prediction.kind == 'depth':
            depth = prediction.values
        else:
            alignment = self.aligner.update(stamp_ns, prediction.values)
            depth = alignment.depth(prediction.values) if alignment else None
        if depth is not None:
            args = self._args
            depth = mark_depth(depth, args.range_min, args.range_max, edge_threshold=args.edge_threshold)
        return Frame(prediction, depth)


def make_estimator(args: Namespace, backend: str) -> DepthEstimator:
    """Load the model that the options name.

    Raises UsageError for options that do not fit it, and CommandError if it cannot be had.
    """
    try:
        return DepthEstimator(
            name_or_default(args.model, args.checkpoint),
            args.checkpoint or None,
            args.device,
            args.precision,
            backend,
            args.input_size,
            accept_license=args.accept_license,
        )
    except UNAVAILABLE_ERRORS as error:
        raise CommandError(str(error)) from error
    except ValueError as error:  # a precision or an input size that cannot be
        raise UsageError(str(error)) from error


def _check_depth_options(args: Namespace) -> None:
    if not 0.0 <= args.range_min < args.range_max:
        raise UsageError(
            f'expected 0 <= --range-min < --range-max, got {args.range_min:g} and {args.range_max:g} metres'
        )
    if not args.edge_threshold >= 0.0:
        raise UsageError(f'expected --edge-threshold >= 0, got {args.edge_threshold:g}')
    if (args.scale is None) != (args.shift is None):
        raise UsageError('--scale and --shift go together: 1 / depth = scale * disparity + shift')


def _make_source(args: Namespace, aligned_to_depth: bool) -> AlignmentSource:
    if aligned_to_depth:
        return DepthSource()
    if args.scale is None:
        return NoSource()
    try:
        return FixedSource(args.scale, args.shift)
    except DegenerateEvidenceError as error:
        raise UsageError(f'--scale, --shift: {error}') from error
