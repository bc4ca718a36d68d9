"""A relative network and depth in metres -> a metric network (V2's metric_depth/train.py)."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np

from depth_anything_ros.network import weights_fingerprint
from training.data.augmentation import TrainView, covering_size
from training.data.loading import Stream
from training.data.sample import Dataset
from training.data.spec import DataSpec, make_datasets
from training.errors import BadSampleError, RecipeError
from training.launch import run_training, starting_network
from training.losses import silog_loss
from training.objectives import LABELLED, MetricObjective
from training.settings import TrainSettings
from training.trainer import Task
from training.validation import Validation

# Samples whose focal length is looked at, and by how much their median may differ from the recipe's.
_FOCAL_SAMPLES, _FOCAL_TOLERANCE = 20, 0.05


@dataclass
class Settings(TrainSettings):
    """Settings of a metric network; the recipes metric-indoor and metric-outdoor explain each."""

    data: list[DataSpec] = field(default_factory=list)
    reset_head: bool = True
    min_depth: float = 0.001
    max_depth: float = 20.0
    canonical_focal_px: float = 0.0
    silog_lambda: float = 0.5
    flip: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check(lambda value: value >= 0, 'at least 0', 'canonical_focal_px')
        self._check(lambda value: 0 <= value <= 1, 'in [0, 1]', 'silog_lambda', 'flip')
        if self.sizes and self.canonical_focal_px:
            raise ValueError('with sizes the network sees images with several focal lengths: canonical_focal_px is one')
        if not 0 < self.min_depth < self.max_depth:
            raise ValueError(f'expected 0 < min_depth < max_depth in metres, got {self.min_depth} and {self.max_depth}')


def run(settings: Settings) -> dict[str, Any]:
    """Train; returns the finished manifest. Errors as of run_training."""
    return run_training('metric', settings, prepare)


def prepare(settings: Settings) -> Task:
    """Open the data and build the network; raises RecipeError or DataError."""
    dataset = make_datasets(settings.data)
    network = starting_network(settings, reset_head=settings.reset_head, max_depth=settings.max_depth)
    # Of the images that it is trained on now, whatever the architecture's own were.
    focal_px = settings.canonical_focal_px or None
    network.architecture = replace(network.architecture, canonical_focal_px=focal_px)
    view = TrainView(
        size=settings.crop(network.multiple),
        multiple=network.multiple,
        target='depth',
        flip=settings.flip,
        min_depth=settings.min_depth,
        max_depth=settings.max_depth,
    )
    if focal_px:
        _check_focal_length(focal_px, dataset, view)
    validation = None
    if settings.validation:
        loss = partial(silog_loss, lambd=settings.silog_lambda)
        validation = Validation(make_datasets(settings.validation), replace(view, crop='centre', flip=0.0), loss)
    return Task(
        network,
        [Stream(LABELLED, dataset, settings.batch_size, view)],
        MetricObjective(settings.silog_lambda),
        {'data': dataset.fingerprint, 'initial_weights': weights_fingerprint(network)},
        licence=network.source.licence,
        validation=validation,
    )


def _check_focal_length(canonical_px: float, dataset: Dataset, view: TrainView) -> None:
    """Raise RecipeError unless the network sees the images with this focal length: the node scales its metres by it."""
    seen = []
    for index in np.linspace(0, len(dataset) - 1, min(_FOCAL_SAMPLES, len(dataset))).astype(int).tolist():
        try:
            sample = dataset[index]
        except BadSampleError:  # the training counts those
            continue
        if 'K' in sample.meta:
            height, width = sample.image.shape[:2]
            rows, columns = covering_size(height, width, view.shape, view.multiple)
            fx, fy = sample.meta['K'][0][0] * columns / width, sample.meta['K'][1][1] * rows / height
            seen.append(math.sqrt(fx * fy))
    if not seen:
        return
    median_px = float(np.median(seen))
    if abs(median_px / canonical_px - 1) > _FOCAL_TOLERANCE:
        raise RecipeError(
            f'canonical_focal_px is {canonical_px:g}, but the network sees the images of data with a focal length of '
            f'{median_px:.2f} px (median of {len(seen)}): set it to that, or to 0 if they are of several cameras'
        )
