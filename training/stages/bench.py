"""How fast this machine trains: the student's step in its variants, and pseudo-labels, on data that it makes up.

Each variant is a process of its own, one after another, since a GPU has the memory for one. Nothing is left of them but
the figures.
"""

from __future__ import annotations

import itertools
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from tqdm import tqdm

from depth_anything_ros import checkpoints
from depth_anything_ros.benchmark.machine import machine
from depth_anything_ros.benchmark.report import write_report
from training.bench import labelling, processes, student_step
from training.bench.data import IMAGE_SIZE, write_data
from training.bench.report import markdown
from training.data.spec import DataSpec
from training.errors import TrainingError
from training.initial import RANDOM, initial_network
from training.recipe import as_dict
from training.stages import label, student

# By then the precision has been checked on an image, and a graph captured: see GraphBackend.
_WARM_UP_BATCHES = 4
_SHARDS, _LABELS, _TEACHER, _OUTPUT = 'shards', 'labels', 'teacher.safetensors', 'output'


@dataclass
class Settings:
    """Settings of the measurement.

    Attributes:
        architecture: of the student, and of the teacher that labels; both with random weights, which take as long.
        size: [height, width] of the student's crop; the teacher's images have its shorter side.
        batch_size: images a step.
        steps: that are measured, of each variant.
        workers: numbers of processes that load, and all variants are measured with each. 0: the training itself loads
            a batch when it needs it. The plain variant with the first of them is what the speed-ups are over.
        mixed_precision: bf16 or fp16, of all variants but the first.
        device: auto (a GPU if there is one) or cpu.
        labelled_images: that are measured, of each teacher.
        label_batch_sizes: images that a teacher sees at once; each in fp32, and in the device's reduced precision.
        json, markdown: files to write; '' for none.
    """

    architecture: str = 'v2-small'
    size: list[int] = field(default_factory=lambda: [518, 518])
    batch_size: int = 8
    steps: int = 20
    workers: list[int] = field(default_factory=lambda: [0, 4])
    mixed_precision: Literal['bf16', 'fp16'] = 'bf16'
    device: Literal['auto', 'cpu'] = 'auto'
    labelled_images: int = 64
    label_batch_sizes: list[int] = field(default_factory=lambda: [1, 8])
    json: str = ''
    markdown: str = ''

    def __post_init__(self) -> None:
        """Check the ranges that the stages' own settings do not."""
        if self.batch_size % 2:
            raise ValueError(f'batch_size must be even, for the pairs of CutMix, got {self.batch_size}')
        if min(self.steps, self.labelled_images) < 1:
            raise ValueError('steps and labelled_images must be at least 1')
        if not self.workers or not self.label_batch_sizes:
            raise ValueError('workers and label_batch_sizes must each have a number')
        # Theirs are those of the student's.
        for workers in self.workers:
            replace(_student(self, Path(), self.steps), workers=workers)
        if min(self.label_batch_sizes) < 1:
            raise ValueError(f'label_batch_sizes must be at least 1, got {self.label_batch_sizes}')


def run(settings: Settings) -> dict[str, Any]:
    """Measure, print Markdown tables, write the files that are asked for; returns the report, JSON values.

    Raises:
        RecipeError: there is no such architecture, or the size does not fit it.
        TrainingError: nothing could be measured.
        OSError: the data or a report cannot be written.
    """
    begun = time.perf_counter()
    processes.prepare([student_step.__name__, labelling.__name__])
    with tempfile.TemporaryDirectory(prefix='depth-anything-train-bench-') as name:
        folder = Path(name)
        _prepare(settings, folder)
        student_cases, label_cases = student_step_cases(settings, folder), labelling_cases(settings, folder)
        with tqdm(total=len(student_cases) + len(label_cases), desc='bench', unit='case', disable=None) as bar:
            steps = [_measured(student_step.measure, *case, folder, bar) for case in student_cases]
            labels = [_measured(labelling.measure, *case, folder, bar) for case in label_cases]
    reasons = [result.get('reason') for result in (*steps, *labels)]
    if all(reasons):
        raise TrainingError('; '.join(dict.fromkeys(reasons)))
    report = {
        'machine': machine(),
        'settings': as_dict(settings),
        'image_size': [*IMAGE_SIZE],
        'student': _with_speed_up(steps, 'samples_per_second'),
        'labelling': _with_speed_up(labels, 'images_per_second'),
        'seconds': time.perf_counter() - begun,
    }
    write_report(report, markdown(report), _path(settings.json), _path(settings.markdown))
    return report


def student_step_cases(settings: Settings, folder: Path) -> list[tuple[dict[str, Any], student_step.Case]]:
    """What each variant is called, and what its measurement takes; folder: of the data."""
    variants = student_step.variants(settings.mixed_precision)
    cases = []
    for workers, (name, changes) in itertools.product(settings.workers, variants.items()):
        warm_up = student_step.warm_up_steps(workers)
        training = replace(_student(settings, folder, warm_up + settings.steps), workers=workers, **changes)
        cases.append(({'variant': name, 'workers': workers}, student_step.Case(training, warm_up)))
    return cases


def labelling_cases(settings: Settings, folder: Path) -> list[tuple[dict[str, Any], label.Settings]]:
    """What each way to label is called, and what its measurement takes; folder: of the data."""
    cases = []
    for precision, batch_size in itertools.product(labelling.precisions(settings.device), settings.label_batch_sizes):
        one = label.Settings(
            teacher=str(folder / _TEACHER),
            input_size=min(settings.size),
            device=settings.device,
            precision=precision,
            shards=str(folder / _SHARDS),
            output=str(folder / _OUTPUT),
            batch_size=batch_size,
            workers=0,
        )
        cases.append(({'precision': precision, 'batch_size': batch_size}, one))
    return cases


def _student(settings: Settings, folder: Path, steps: int) -> student.Settings:
    """V2's student, which saves and shows nothing between its first step and its last."""
    return student.Settings(
        unlabelled=[DataSpec('shards', str(folder / _SHARDS), labels=str(folder / _LABELS))],
        output=str(folder / _OUTPUT),
        architecture=settings.architecture,
        encoder=RANDOM,
        size=settings.size,
        steps=steps,
        batch_size=settings.batch_size,
        device=settings.device,
        checkpoint_every=steps,
        log_every=steps,
        picture_every=steps,
    )


def _prepare(settings: Settings, folder: Path) -> None:
    """Write the images, their labels and the teacher."""
    network = initial_network(settings.architecture, RANDOM)
    _student(settings, folder, settings.steps).crop(network.multiple)  # refuses a size that does not fit
    counts = {
        'train-000000': _WARM_UP_BATCHES * max(settings.label_batch_sizes),
        'train-000001': settings.labelled_images,
    }
    write_data(folder / _SHARDS, folder / _LABELS, counts, min(settings.size), network.multiple)
    checkpoints.save(network, folder / _TEACHER)


def _measured(
    measure: Callable[[Any], dict[str, Any]], what: dict[str, Any], case: Any, folder: Path, bar: tqdm
) -> dict[str, Any]:
    """What it is with what was found of it."""
    found = processes.in_process(measure, case)
    # What the next one finds there it would go on with.
    shutil.rmtree(folder / _OUTPUT, ignore_errors=True)
    bar.update()
    return {**what, **found}


def _with_speed_up(results: Sequence[dict[str, Any]], rate: str) -> list[dict[str, Any]]:
    """The results with their rate over that of the first, None if that was not measured."""
    first = results[0].get(rate)
    return [
        result if 'reason' in result else {**result, 'speed_up': result[rate] / first if first else None}
        for result in results
    ]


def _path(file: str) -> Path | None:
    return Path(os.path.expanduser(file)) if file else None
