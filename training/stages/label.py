"""A teacher over shards -> pseudo-labels (V1 paper, section 3.2; V2 paper, section 5), through Ray Data.

A shard is the unit of work: whoever labels it writes all of it, so that it is there whole or not at all. The teacher
sees the images as they are; perturbations are the student's.
"""

from __future__ import annotations

import importlib
import itertools
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from tqdm import tqdm

from training.data.shards import TARS, ShardDataset, ShardWriter
from training.labelling.labeller import Labeller
from training.recipe import free
from training.run import Run, check_complete
from training.shard_reports import Failures, report_name
from training.teachers import TeacherSpec, teacher_facts

_log = logging.getLogger(__name__)


@dataclass
class Settings(TeacherSpec):
    """Settings of the stage `label`; those of the teacher first, see TeacherSpec.

    Attributes:
        shards: folder or URL of what is to be labelled.
        split: only the shards of this split; '' for all.
        output: folder or URL of the labels.
        batch_size: images that the teacher sees at once, of neighbours of one size.
        max_failed_fraction: share of images without a label above which the stage ends with an error.
        workers: teachers side by side, each a Ray actor; 0: one, in this process, without Ray.
        cpus_per_worker, gpus_per_worker: what Ray reserves for each; on a CPU the first is also a worker's threads.
            gpus_per_worker below 0: 1 where there are GPUs.
        ray_address: of a cluster (`auto`: that of this machine); '': a Ray of its own on this machine.
    """

    shards: str = free('')
    split: str = ''
    output: str = free('')
    batch_size: int = 1
    max_failed_fraction: float = free(0.01)
    workers: int = free(1)
    cpus_per_worker: float = free(1.0)
    gpus_per_worker: float = free(-1.0)
    ray_address: str = free('')

    def __post_init__(self) -> None:
        """Check the ranges."""
        self.check()
        if self.batch_size < 1:
            raise ValueError(f'batch_size must be at least 1, got {self.batch_size}')
        if not 0 <= self.max_failed_fraction <= 1:
            raise ValueError(f'max_failed_fraction must be in [0, 1], got {self.max_failed_fraction}')
        if self.workers < 0 or self.cpus_per_worker <= 0:
            raise ValueError('workers must be at least 0, and cpus_per_worker more than 0')


def run(settings: Settings) -> dict[str, Any]:
    """Label the shards; returns the finished manifest.

    The labels of a shard are the same bytes for any number of workers, and after any number of interruptions, on one
    type of processor and with as many threads. A shard that is done is not read again. An image that cannot be read or
    for which the teacher gives no finite number has no label, and is counted by its reason.

    Raises:
        RecipeError, DataError: as open_teacher; there are no shards; too many images have no label.
        MismatchError: a stage has yet to finish the shards.
        RecipeError, TrainingError: as of Run; Ray cannot start its workers.
        OSError: a write failed, for every attempt.
    """
    dataset = ShardDataset(settings.shards, settings.split)
    check_complete(settings.shards)
    fingerprint, licence = teacher_facts(settings)
    inputs = {'shards': dataset.fingerprint, 'teacher': fingerprint}
    with Run('label', settings, inputs, settings.output, writes=TARS) as current:
        if not current.finished:
            current.note(teacher={'name': settings.teacher, 'fingerprint': fingerprint}, licence=licence)
            labelled, failures = _label(dataset, settings, current)
            current.finish(**_facts(labelled, failures, current))
        return current.manifest


def _label(dataset: ShardDataset, settings: Settings, current: Run) -> tuple[int, Failures]:
    """Label what is not labelled yet; returns how many labels there are, and what failed."""
    writer = ShardWriter(current.folder)
    sizes = dict(zip(dataset.shard_names, dataset.shard_sizes, strict=True))
    done = [name for name in sizes if writer.done(name)]
    if done:
        _log.info('%d of %d shards are labelled already', len(done), len(sizes))
    missing = [name for name in sizes if name not in {*done}]
    failures, labelled = Failures(len(dataset), settings.max_failed_fraction, 'have no label', 'labels'), 0
    with tqdm(total=len(dataset), desc='label', unit='image', disable=None) as bar:
        for number, name in enumerate(itertools.chain(done, _process(missing, settings)), 1):
            bar.update(sizes[name])
            report = current.folder.read_json(report_name(name))
            labelled += report['labelled']
            current.note(shards=number)
            failures.add(report)
    return labelled, failures


def _process(names: Sequence[str], settings: Settings) -> Iterable[str]:
    """Label the shards, and give the name of each that is done."""
    if not names:
        return []
    if settings.workers:
        # Only now: it takes seconds, and a machine that labels in one process need not have it.
        pool = importlib.import_module('training.labelling.ray_pool')
        return pool.label_with_ray(names, settings)
    return map(Labeller(settings).label, names)


def _facts(labelled: int, failures: Failures, current: Run) -> dict[str, Any]:
    if failures.count:
        _log.warning('%d images have no label: %s', failures.count, failures.reasons)
    current.note()  # for the seconds
    return {
        'images': labelled,
        'failed': failures.count,
        'failed_by_reason': failures.reasons,
        'images_per_second': round(labelled / max(current.manifest['seconds'], 1e-3), 2),
    }
