"""Pseudo-labels, and for V1 labelled data too -> a student (V1 paper, section 3.2 and 3.3; V2 paper, section 5)."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from depth_anything_ros.checkpoints.catalogue import forbids_commercial_use
from depth_anything_ros.network import DepthAnything, weights_fingerprint
from training.data.loading import Stream, check_division
from training.data.spec import DataSpec, make_datasets
from training.errors import RecipeError
from training.files import Folder
from training.initial import frozen_encoder
from training.launch import run_training, starting_network
from training.objectives import LABELLED, UNLABELLED, StudentObjective
from training.recipe import free
from training.run import MANIFEST
from training.settings import RelativeSettings
from training.trainer import Task, check_parts
from training.validation import relative_validation

INITIAL = 'initial'


@dataclass
class Settings(RelativeSettings):
    """Settings of a student; the recipes v1-student-* and v2-student-* explain each."""

    unlabelled: list[DataSpec] = field(default_factory=list)
    labelled: list[DataSpec] = field(default_factory=list)
    reset_head: bool = False
    labelled_per_batch: int = 0
    labelled_weight: float = 1.0
    unlabelled_weight: float = 1.0
    trim: float = 0.1
    alignment_weight: float = 1.0
    alignment_margin: float = 0.85
    frozen_encoder: str = free(INITIAL)
    strong: bool = True
    strong_labelled: bool = False
    cutmix: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check(lambda value: value >= 0, 'at least 0', 'labelled_per_batch', 'labelled_weight', 'alignment_weight')
        self._check(lambda value: value > 0, 'more than 0', 'unlabelled_weight')
        self._check(lambda value: 0 <= value <= 1, 'in [0, 1]', 'cutmix')
        self._check(lambda value: -1 <= value <= 1, 'in [-1, 1], a cosine', 'alignment_margin')
        if self.labelled_per_batch >= self.batch_size:
            raise ValueError(
                f'labelled_per_batch must leave some of batch_size to the pseudo-labels, got {self.labelled_per_batch} '
                f'of {self.batch_size}'
            )


def run(settings: Settings) -> dict[str, Any]:
    """Train; returns the finished manifest. Errors as of run_training."""
    return run_training('student', settings, prepare)


def check(settings: Settings) -> tuple[DepthAnything, dict[str, str]]:
    """Raise in one process what run would, as far as can be told before there are pseudo-labels.

    Returns the network that it starts from, and the fingerprints of the inputs that are there.
    """
    network = starting_network(settings, reset_head=settings.reset_head)
    settings.crop(network.multiple)
    _check_labelled(settings)
    inputs = _weights(network, _frozen(settings, network))
    if settings.labelled:
        inputs[LABELLED] = make_datasets(settings.labelled).fingerprint
    unlabelled = settings.batch_size - settings.labelled_per_batch
    for name, count, cutmix in (
        (UNLABELLED, unlabelled, settings.cutmix),
        (LABELLED, settings.labelled_per_batch, 0.0),
    ):
        check_division(name, count, cutmix, 1)
        check_parts(name, count, settings.accumulate, 1)
    return network, inputs


def prepare(settings: Settings) -> Task:
    """Open the data and build the network; raises RecipeError or DataError."""
    network = starting_network(settings, reset_head=settings.reset_head)
    streams = _streams(settings, network.multiple)
    inputs = {stream.name: stream.dataset.fingerprint for stream in streams}
    frozen = _frozen(settings, network)
    inputs |= _weights(network, frozen)
    objective = StudentObjective(
        frozen,
        settings.labelled_weight,
        settings.unlabelled_weight,
        settings.gradient_weight,
        settings.alignment_weight,
        settings.alignment_margin,
        settings.trim,
        settings.edge_weight,
    )
    return Task(
        network,
        streams,
        objective,
        inputs,
        licence=strictest_licence([network.source.licence, *_label_licences(settings.unlabelled)]),
        frozen=[] if frozen is None else [frozen],
        validation=relative_validation(settings, network.multiple, mask_sky=settings.mask_sky),
    )


def _weights(network: DepthAnything, frozen: nn.Module | None) -> dict[str, str]:
    """Their fingerprints."""
    found = {'initial_weights': weights_fingerprint(network)}
    return found if frozen is None else {**found, 'frozen_encoder': weights_fingerprint(frozen)}


def _check_labelled(settings: Settings) -> None:
    if bool(settings.labelled) != bool(settings.labelled_per_batch):
        raise RecipeError('labelled data and labelled_per_batch go together: give both, or neither')
    idle = [name for name in ('edge_weight', 'strong_labelled') if getattr(settings, name) and not settings.labelled]
    if idle:
        raise RecipeError(f'{" and ".join(idle)}: of labelled data, and there is none')


def _streams(settings: Settings, multiple: int) -> list[Stream]:
    _check_labelled(settings)
    view = settings.view(multiple, strong=settings.strong, mask_sky=False)
    count = settings.batch_size - settings.labelled_per_batch
    streams = [Stream(UNLABELLED, make_datasets(settings.unlabelled), count, view, settings.cutmix)]
    if settings.labelled:
        labelled_view = settings.view(multiple, strong=settings.strong_labelled, mask_sky=settings.mask_sky)
        streams.append(Stream(LABELLED, make_datasets(settings.labelled), settings.labelled_per_batch, labelled_view))
    return streams


def _frozen(settings: Settings, network: DepthAnything) -> nn.Module | None:
    """The encoder whose features the student's are held to: always of its own architecture, so that sizes agree."""
    if not settings.alignment_weight:
        return None
    if settings.frozen_encoder == INITIAL:
        return copy.deepcopy(network.encoder).eval().requires_grad_(False)
    return frozen_encoder(settings.architecture, settings.frozen_encoder)


def _label_licences(specs: Sequence[DataSpec]) -> list[str | None]:
    """The licences of the teachers' weights, as the stage label notes them; None where nothing is noted."""
    folders = [Folder(spec.labels) for spec in specs if spec.labels]
    return [folder.read_json(MANIFEST).get('licence') if folder.exists(MANIFEST) else None for folder in folders]


def strictest_licence(licences: Sequence[str | None]) -> str | None:
    """The licence of weights that were made of others: the first that forbids commercial use, else the first known.

    None if one is unknown and none forbids it.
    """
    forbidding = [licence for licence in licences if licence is not None and forbids_commercial_use(licence)]
    if forbidding:
        return forbidding[0]
    return None if None in licences else next(iter(licences), None)
