"""From an image to depth, as the command line asks for it: the way of a frame, without ROS."""

from __future__ import annotations

import logging
from argparse import Namespace
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from depth_anything_ros.alignment import Aligner, AlignmentState, View, source_types
from depth_anything_ros.checkpoints import name_or_default
from depth_anything_ros.cli.errors import CommandError, UsageError
from depth_anything_ros.cli.sources import Choice, fixed_choice
from depth_anything_ros.estimation import UNAVAILABLE_ERRORS, DepthEstimator, Prediction
from depth_anything_ros.geometry import CameraModel, mark_depth
from depth_anything_ros.geometry.transforms import NoTransforms, Transforms

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Frame:
    """A predicted image.

    disparity: float32 (H, W), what metres are made of. depth: float32 (H, W) metres with REP 117's marks, None where
    nothing gives metres.
    """

    prediction: Prediction
    disparity: np.ndarray
    depth: np.ndarray | None


class Pipeline:
    """The estimator, the alignment and the marking of depth, with one set of options.

    aligner: what makes metres of the predictions; evidence is added to it.
    """

    def __init__(self, estimator: DepthEstimator, aligner: Aligner, args: Namespace) -> None:
        """Take range_min, range_max (metres) and edge_threshold from args."""
        self.estimator = estimator
        self.aligner = aligner
        self._args = args

    @classmethod
    def from_args(cls, args: Namespace, choice: Choice | None = None) -> Pipeline:
        """Check the options and load the model; choice: what gives metres, otherwise --scale and --shift say it.

        Raises UsageError, and CommandError if the model cannot be had.
        """
        check_depth_options(args)
        choice = choice or fixed_choice(args)
        estimator = make_estimator(args, args.backend)
        check_correction(estimator, [choice], args)
        return cls(estimator, Aligner(choice.source, choice.settings), args)

    def __call__(
        self,
        image: np.ndarray,
        *,
        stamp_ns: int = 0,
        frame_id: str = '',
        camera: CameraModel | None = None,
        transforms: Transforms | None = None,
    ) -> Frame:
        """Predict a uint8 RGB (H, W, 3) image; raises estimation.PREDICTION_ERRORS.

        stamp_ns, frame_id, camera and transforms are what sources of metres may need, see alignment's View.
        """
        prediction = self.estimator(image)
        view = make_view(self.estimator, prediction, image, stamp_ns, frame_id, camera, transforms)
        aligned = self.aligner.align(view)
        depth = aligned.depth
        if depth is not None:
            args = self._args
            depth = mark_depth(depth, args.range_min, args.range_max, edge_threshold=args.edge_threshold)
        return Frame(prediction, aligned.disparity, depth)


def make_view(
    estimator: DepthEstimator,
    prediction: Prediction,
    image: np.ndarray,
    stamp_ns: int,
    frame_id: str,
    camera: CameraModel | None,
    transforms: Transforms | None,
) -> View:
    """A predicted frame as sources of metres see it; transforms None: nothing is known of other frames."""
    return View(
        prediction.values,
        prediction.kind,
        stamp_ns,
        frame_id,
        camera,
        transforms or NoTransforms(),
        prediction.network_size,
        estimator.canonical_focal_px,
        image,
        estimator.max_depth_m,
        image_size=image.shape[:2],
    )


def counts_of(state: AlignmentState) -> str:
    """What became of the evidence, in words."""
    return f"{state.fits} fits, {state.gated} gated, {state.refused} refused, {state.unmatched} of no frame's moment"


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


def check_correction(estimator: DepthEstimator, choices: Iterable[Choice], args: Namespace) -> None:
    """Say which of the choices a metric model does not heed.

    Raises UsageError for --scale and --shift, and warns of a source whose evidence would correct it.
    """
    if estimator.kind != 'depth':
        return
    name = estimator.source.name
    if args.scale is not None:
        raise UsageError(f'--scale and --shift are for a relative model, and {name} is a metric one: leave them out')
    # The camera source corrects it in any case, and none never.
    heeded = source_types()['none'], source_types()['camera']
    if not all(choice.settings.correct_metric_model or isinstance(choice.source, heeded) for choice in choices):
        _logger.warning('%s is a metric model and believed as it is; --set correct_metric_model=true aligns it', name)


def check_depth_options(args: Namespace) -> None:
    """Raise UsageError for a range or an edge threshold that cannot be."""
    check_range(args)
    if not args.edge_threshold >= 0.0:
        raise UsageError(f'expected --edge-threshold >= 0, got {args.edge_threshold:g}')


def check_range(args: Namespace) -> None:
    """Raise UsageError unless 0 <= --range-min < --range-max."""
    if not 0.0 <= args.range_min < args.range_max:
        raise UsageError(
            f'expected 0 <= --range-min < --range-max, got {args.range_min:g} and {args.range_max:g} metres'
        )
