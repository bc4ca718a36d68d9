"""The student's step: what of it is measured, and how."""

from __future__ import annotations

import itertools
import operator
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from depth_anything_ros.benchmark.memory import memory
from depth_anything_ros.benchmark.report import percentiles
from training.launch import make_accelerator
from training.stages import student
from training.trainer import Progress, Trainer

_PERCENTILES = (50, 95)
# In the first of them the network is compiled, memory is taken and kernels are chosen.
_WARM_UP_STEPS = 3
# Batches that each of the loader's workers has ready, torch's default.
_AHEAD = 2


def variants(mixed_precision: str) -> dict[str, dict[str, Any]]:
    """The settings of each variant by its name; from the third on those of the one before and another."""
    added: dict[str, dict[str, Any]] = {
        'eager, fp32': {},
        f'eager, {mixed_precision}': {'mixed_precision': mixed_precision},
        '+ fused optimiser': {'fused_optimizer': True},
        '+ channels-last': {'channels_last': True},
        '+ compile': {'compile': True},
    }
    return dict(zip(added, itertools.accumulate(added.values(), operator.or_), strict=True))


def warm_up_steps(workers: int) -> int:
    """Steps that are not measured: those of the batches, too, that were loaded while the network was compiled."""
    return max(_WARM_UP_STEPS, _AHEAD * workers)


@dataclass(frozen=True)
class Case:
    """A training whose steps are measured.

    Attributes:
        settings: its steps are those of the warm-up and those that are measured.
        warm_up: number of the former, at least 1.
    """

    settings: student.Settings
    warm_up: int


def measure(case: Case) -> dict[str, Any]:
    """Train, and give the figures of the steps after the warm-up, JSON values; errors as of Trainer."""
    seconds, waiting = [], []

    def watch(progress: Progress) -> None:
        seconds.append(progress.seconds)
        waiting.append(progress.waiting_s)

    settings = case.settings
    accelerator = make_accelerator(settings)
    trainer = Trainer(student.prepare(settings), settings, accelerator, Path(settings.output), 'bench')
    trainer.train(watch)
    found = figures(seconds, waiting, case.warm_up, settings.batch_size)
    return {'device': str(accelerator.device), 'first_step_s': seconds[0], **found, **memory()}


def figures(seconds: Sequence[float], waiting: Sequence[float], warm_up: int, batch_size: int) -> dict[str, Any]:
    """Of the steps after the warm-up.

    Args:
        seconds: from the first batch to the end of each step.
        waiting: those of them in which there was no batch.
        warm_up: number of steps that do not count, at least 1.
        batch_size: samples a step.
    """
    steps_s = np.diff(seconds[warm_up - 1 :])
    total_s = float(steps_s.sum())
    samples = batch_size * len(steps_s)
    return {
        'samples': samples,
        'seconds': total_s,
        'samples_per_second': samples / total_s,
        'step_ms': percentiles(1e3 * steps_s, _PERCENTILES),
        'loader_share': (waiting[-1] - waiting[warm_up - 1]) / total_s,
    }
