"""A teacher over shards -> pseudo-labels (V1 paper, section 3.2; V2 paper, section 5), through Ray Data.

A shard is the unit of work: whoever labels it writes all of it, so that it is there whole or not at all. The teacher
sees the images as they are; perturbations are the student's.
"""

from __future__ import annotations

import importlib
import itertools
import logging
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from tqdm import tqdm

from training.data.shards import ShardDataset, ShardWriter, read_shard_names
from training.errors import DataError
from training.labelling.labeller import REPORTS, Labeller, report_name
from training.recipe import free
from training.run import Run
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
        TrainingError: as of Run; Ray cannot start its workers.
        OSError: a write failed, for every attempt.
    """
    dataset = ShardDataset(settings.shards, settings.split)
    fingerprint, licence = teacher_facts(settings)
    inputs = {'shards': dataset.fingerprint, 'teacher': fingerprint}
    with Run('label', settings, inputs, settings.output) as current:
        if not current.finished:
            current.note(teacher={'name': settings.teacher, 'fingerprint': fingerprint}, licence=licence)
            current.folder.remove_unfinished(REPORTS)
            names = read_shard_names(dataset.folder, settings.split)
            reports = _label(names, settings, current)
            current.finish(**_facts(reports, current))
        return current.manifest


def _label(names: Sequence[str], settings: Settings, current: Run) -> list[dict[str, Any]]:
    """The reports of all shards, in their order."""
    writer = ShardWriter(current.folder)
    done = [name for name in names if writer.done(name)]
    if done:
        _log.info('%d of %d shards are labelled already', len(done), len(names))
    sizes = dict(zip(names, ShardDataset(settings.shards, settings.split).shard_sizes, strict=True))
    total = sum(sizes.values())
    reports = {}
    with tqdm(total=total, desc='label', unit='image', disable=None) as bar:
        for name in itertools.chain(done, _process([name for name in names if name not in {*done}], settings)):
            bar.update(sizes[name])
            reports[name] = current.folder.read_json(report_name(name))
            current.note(shards=len(reports))
            # At once, and not after a week with a teacher that gives nothing but NaN.
            _check(list(reports.values()), total, settings.max_failed_fraction)
    return [reports[name] for name in names]


def _process(names: Sequence[str], settings: Settings) -> Iterable[str]:
    """Label the shards, and give the name of each that is done."""
    if not names:
        return []
    if settings.workers:
        # Only now: it takes seconds, and a machine that labels in one process need not have it.
        pool = importlib.import_module('training.labelling.ray_pool')
        return pool.label_with_ray(names, settings)
    labeller = Labeller(settings, settings.shards, settings.output, settings.batch_size)
    return map(labeller.label, names)


def _reasons(reports: Sequence[dict[str, Any]]) -> dict[str, int]:
    """How many images have no label, by why."""
    texts = (text.removeprefix(f'{key}: ') for report in reports for key, text in report['failed'].items())
    return dict(sorted(Counter(texts).items()))


def _check(reports: Sequence[dict[str, Any]], total: int, max_failed_fraction: float) -> None:
    reasons = _reasons(reports)
    failed = sum(reasons.values())
    if failed > max_failed_fraction * total or failed == total:
        said = '; '.join(f'{count} x {reason}' for reason, count in list(reasons.items())[:3])
        raise DataError(
            f'{failed} of {total} images have no label, more than max_failed_fraction={max_failed_fraction}: {said}. '
            'The labels that there are stay: allow more, or mend the cause and name another output'
        )


def _facts(reports: Sequence[dict[str, Any]], current: Run) -> dict[str, Any]:
    labelled, reasons = sum(report['labelled'] for report in reports), _reasons(reports)
    if reasons:
        _log.warning('%d images have no label: %s', sum(reasons.values()), reasons)
    current.note()  # for the seconds
    return {
        'images': labelled,
        'failed': sum(reasons.values()),
        'failed_by_reason': reasons,
        'images_per_second': round(labelled / max(current.manifest['seconds'], 1e-3), 2),
    }
