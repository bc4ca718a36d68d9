"""How far networks are from a teacher on images that none was trained on: what can be said of a log without metres."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from depth_anything_ros.estimation import PREDICTION_ERRORS, DepthEstimator
from training.data.sample import Dataset
from training.errors import BadSampleError, DataError, TrainingError
from training.evaluation.comparison import Comparison, compare
from training.evaluation.results import ImageScore, Result
from training.evaluation.sequences import sequence_of, stamp_of
from training.losses import affine_invariant_loss

METRIC = 'teacher_disagreement'


def compare_agreement(estimators: Mapping[str, DepthEstimator], dataset: Dataset, name: str) -> Comparison:
    """Compare the second of two networks with the first by their distance to pseudo-labels.

    The distance of an image is `affine_invariant_loss` (V1 paper, equations 1 to 3), so it has no unit.

    Args:
        estimators: two, by name.
        dataset: images with pseudo-labels.
        name: of it.

    Raises:
        DataError: no image can be read.
        TrainingError: a network predicts NaN or infinity, or has too little memory.
    """
    first, second = (_result(model, estimator, dataset, name) for model, estimator in estimators.items())
    return compare(first, second, METRIC)


def _result(model: str, estimator: DepthEstimator, dataset: Dataset, name: str) -> Result:
    scores = []
    for index in range(len(dataset)):
        try:
            sample = dataset[index]
        except BadSampleError:  # counted when it was labelled
            continue
        try:
            prediction = estimator(sample.image)
        except PREDICTION_ERRORS as error:
            raise TrainingError(f'{model} on {sample.key}: {error}') from error
        target = torch.from_numpy(sample.target_disparity())
        distance = _distance(torch.from_numpy(prediction.nearness), target)
        scores.append(
            ImageScore(sample.key, index, {METRIC: distance}, sequence=sequence_of(sample), stamp_ns=stamp_of(sample))
        )
    if not scores:
        raise DataError(f'{name}: no image can be read')
    return Result(model, name, scores)


def _distance(prediction: Tensor, target: Tensor) -> float:
    known = target.isfinite()
    return float(affine_invariant_loss(prediction[None], target.nan_to_num()[None], known[None]))
