"""From a prediction and the truth to an image's scores."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from depth_anything_ros.estimation import Prediction
from training.data.sample import Sample
from training.errors import BadSampleError, RecipeError
from training.evaluation.protocol import TRUTH_OF_PAIRS, Protocol
from training.evaluation.truth import Truth, true_depth, true_pairs
from training.metrics import (
    ConstantPredictionError,
    align_disparity,
    boundary_f1,
    da2k_accuracy,
    depth_metrics,
)


@dataclass(frozen=True)
class ToMetres:
    """How the predictions of one image, or of its neighbours in time, become depth.

    by: `disparity` (1 / depth = scale * disparity + shift) or `depth` (depth = scale * depth).
    near, far: metres that the depth is limited to.
    inverted: the best fit has a negative scale. constant: the prediction has one value. Either way there is nothing to
    align, and the depth is the one constant that fits best: a fit with a negative scale would show an upside-down
    prediction as a good one.
    """

    by: str
    scale: float
    shift: float
    near: float
    far: float
    inverted: bool = False
    constant: bool = False

    @property
    def usable(self) -> bool:
        """Whether the prediction has a part in the depth."""
        return not (self.inverted or self.constant)

    def __call__(self, values: np.ndarray, kind: str) -> np.ndarray:
        """Depth in metres, float64, of predicted values of any shape and of this kind (`disparity` or `depth`)."""
        if self.by == 'depth':
            return np.clip(self.scale * values.astype(np.float64), self.near, self.far)
        inverse = self.scale * _disparity(values, kind, self.near) + self.shift
        return np.clip(1.0 / np.maximum(inverse, 1.0 / self.far), self.near, self.far)


@dataclass(frozen=True)
class Scored:
    """An image's scores, and what they came from. Of pairs there is neither a truth nor a way to metres.

    weight: of the image in the mean over images: 1, or of pairs their number, since the paper's is over pairs.
    """

    scores: dict[str, float]
    weight: float
    truth: Truth | None = None
    to_metres: ToMetres | None = None

    @property
    def facts(self) -> dict[str, Any]:
        """What else is known about the image."""
        if self.to_metres is None:
            return {}
        fit = self.to_metres
        return {'scale': fit.scale, 'shift': fit.shift, 'inverted': fit.inverted, 'constant': fit.constant}


def check_served(kind: str, protocol: Protocol, what: str) -> None:
    """Raise RecipeError if a network of this kind cannot be evaluated by the protocol."""
    if kind == 'disparity' and protocol.alignment != 'disparity' and protocol.truth != TRUTH_OF_PAIRS:
        raise RecipeError(
            f'{what}: alignment {protocol.alignment!r} is for metric networks; a relative one has no metres without '
            "alignment: 'disparity'"
        )


def score(prediction: Prediction, sample: Sample, protocol: Protocol) -> Scored:
    """Score one image.

    Raises:
        BadSampleError: its truth cannot be used (NoTruthError where there is none).
    """
    if protocol.truth == TRUTH_OF_PAIRS:
        pairs = true_pairs(sample)
        try:
            return Scored({'da2k': da2k_accuracy(prediction.nearness, pairs)}, float(len(pairs)))
        except ValueError as error:
            raise BadSampleError(f'{sample.key}: {error}') from error
    truth = true_depth(sample, protocol)
    to_metres = fit(truth.at(prediction.values), prediction.kind, truth.depth, protocol)
    depth = to_metres(truth.at(prediction.values), prediction.kind)
    scores = depth_metrics(depth, truth.depth, np.ones(depth.shape, bool))
    if protocol.edges:
        sharpness = boundary_f1(to_metres(prediction.values, prediction.kind), sample.depth, truth.where)
        if sharpness is not None:
            scores['boundary_f1'] = sharpness
    return Scored(scores, 1.0, truth, to_metres)


def fit(values: np.ndarray, kind: str, depth: np.ndarray, protocol: Protocol) -> ToMetres:
    """Align predicted values (N,) of this kind with true depths (N,), as the protocol says."""
    limits = {'near': protocol.min_depth, 'far': protocol.max_depth if protocol.clip == 'range' else float(depth.max())}
    if protocol.alignment == 'none':
        return ToMetres('depth', 1.0, 0.0, **limits)
    if protocol.alignment == 'median':
        factor = float(np.median(depth / np.maximum(values, protocol.min_depth)))
        return ToMetres('depth', factor, 0.0, **limits)
    disparity = _disparity(values, kind, protocol.min_depth)
    try:
        scale, shift = found = align_disparity(disparity, depth, np.ones(depth.shape, bool))
    except ConstantPredictionError:
        return ToMetres('disparity', 0.0, float(np.mean(1.0 / depth)), **limits, constant=True)
    if found.inverted:
        return ToMetres('disparity', 0.0, float(np.mean(1.0 / depth)), **limits, inverted=True)
    return ToMetres('disparity', scale, shift, **limits)


def _disparity(values: np.ndarray, kind: str, near: float) -> np.ndarray:
    values = values.astype(np.float64)
    return values if kind == 'disparity' else 1.0 / np.maximum(values, near)
