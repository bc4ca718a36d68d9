"""Labelled data -> a relative network that labels other images (V1 paper, section 3.1; V2 paper, section 5)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from depth_anything_ros.network import weights_fingerprint
from training.data.loading import Stream
from training.data.spec import DataSpec, make_datasets
from training.launch import run_training, starting_network
from training.objectives import LABELLED, MEAN, MEDIAN, TeacherObjective
from training.settings import RelativeSettings
from training.trainer import Task
from training.validation import relative_validation


@dataclass
class Settings(RelativeSettings):
    """Settings of a teacher; the recipes v1-teacher and v2-teacher explain each."""

    data: list[DataSpec] = field(default_factory=list)
    normalisation: str = MEDIAN
    strong: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.trim and self.edge_weight:
            raise ValueError('trim and edge_weight do not go together: residuals at outlines are the largest')
        self._check(lambda value: value in (MEDIAN, MEAN), f'{MEDIAN} or {MEAN}', 'normalisation')
        if self.trim and self.normalisation == MEAN:
            raise ValueError(f'trim and normalisation={MEAN} do not go together: a mean square leaves no residual out')


def run(settings: Settings) -> dict[str, Any]:
    """Train; returns the finished manifest. Errors as of run_training."""
    return run_training('teacher', settings, prepare)


def prepare(settings: Settings) -> Task:
    """Open the data and build the network; raises RecipeError or DataError."""
    dataset = make_datasets(settings.data)
    network = starting_network(settings)
    view = settings.view(network.multiple, strong=settings.strong, mask_sky=settings.mask_sky)
    return Task(
        network,
        [Stream(LABELLED, dataset, settings.batch_size, view)],
        TeacherObjective(settings.gradient_weight, settings.trim, settings.edge_weight, settings.normalisation),
        {'data': dataset.fingerprint, 'initial_weights': weights_fingerprint(network)},
        licence=network.source.licence,
        validation=relative_validation(settings, network.multiple, mask_sky=settings.mask_sky),
    )
