"""Where the sky is in real labelled images, by a semantic segmentation model (V1 paper, section 3.1).

Stereo, structure from motion and LiDAR know nothing of the sky, or put noise there. V1 sets its disparity to 0. This
stage writes masks; a data set of a recipe then names their folder as `sky`.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from tqdm import tqdm

from training.data.sample import Dataset
from training.data.shards import TARS, ShardDataset, ShardWriter, encode_png
from training.data.sky import SKY_PART, shard_name
from training.data.spec import DataSpec, make_dataset
from training.errors import BadSampleError, RecipeError
from training.recipe import free
from training.run import Run
from training.segmentation import SkySegmenter
from training.shard_reports import Failures, report_name

_log = logging.getLogger(__name__)
# Different reasons that the manifest lists.
_REASONS = 50


@dataclass
class Settings:
    """Settings of the stage `sky`; config/training/sky.yaml explains each."""

    data: DataSpec = field(default_factory=lambda: DataSpec('folder'))
    output: str = free('')
    model: str = free('nvidia/segformer-b5-finetuned-ade-640-640')
    accept_license: bool = free(False)
    batch_size: int = 1
    shard_size: int = 1000
    max_failed_fraction: float = free(0.01)
    device: str = free('auto')

    def __post_init__(self) -> None:
        """Check the ranges."""
        for name in ('batch_size', 'shard_size'):
            if getattr(self, name) < 1:
                raise ValueError(f'{name} must be at least 1, got {getattr(self, name)}')
        if not 0 <= self.max_failed_fraction <= 1:
            raise ValueError(f'max_failed_fraction must be in [0, 1], got {self.max_failed_fraction}')


def run(settings: Settings) -> dict[str, Any]:
    """Write the masks; returns the finished manifest.

    Shards that are done are not read again. An image that cannot be read has no mask, and is counted by its reason.

    Raises:
        RecipeError: no data or model is named, or the data has masks or pseudo-labels already.
        DataError: the data or the model is not there, the model knows no sky, its licence is not agreed to, too many
            images have no mask.
        TrainingError: as of Run; transformers is not installed.
        OSError: a write failed.
    """
    spec = settings.data
    if not spec.path:
        raise RecipeError('sky: name the labelled images, data.type=TYPE data.path=FOLDER')
    if spec.sky or spec.labels:
        raise RecipeError('sky: the data whose sky is looked for can have neither masks of it nor pseudo-labels')
    dataset = make_dataset(spec)
    segmenter = SkySegmenter(settings.model, settings.device, settings.accept_license)
    inputs = {'data': dataset.fingerprint, 'model': segmenter.fingerprint}
    with Run('sky', settings, inputs, settings.output, writes=TARS) as current:
        if not current.finished:
            current.note(model=settings.model, licence=segmenter.licence)
            reports, failures = _process(dataset, segmenter, settings, current)
            current.note()  # for the seconds
            masks = ShardDataset(settings.output).fingerprint
            current.finish(**_facts(reports, failures, current.manifest['seconds']), masks=masks)
        return current.manifest


def _process(
    dataset: Dataset, segmenter: SkySegmenter, settings: Settings, current: Run
) -> tuple[list[dict[str, Any]], Failures]:
    """The reports of all shards, and what failed."""
    writer, reports = ShardWriter(current.folder), []
    failures = Failures(len(dataset), settings.max_failed_fraction, 'cannot be read', 'masks')
    starts = range(0, len(dataset), settings.shard_size)
    with tqdm(total=len(dataset), desc='sky', unit='image', disable=None) as bar:
        for number, start in enumerate(starts):
            indices = range(start, min(start + settings.shard_size, len(dataset)))
            name = shard_name(number)
            if not writer.done(name):
                _Shard(dataset, segmenter, settings.batch_size).write(name, indices, writer)
            reports.append(current.folder.read_json(report_name(name)))
            bar.update(len(indices))
            current.note(shards=len(reports))
            failures.add(reports[-1])
    return reports, failures


class _Shard:
    """Writes the masks of one shard."""

    def __init__(self, dataset: Dataset, segmenter: SkySegmenter, batch_size: int) -> None:
        self._dataset, self._segmenter, self._batch_size = dataset, segmenter, batch_size
        self._failed: dict[str, str] = {}
        self._with_sky, self._share = 0, 0.0

    def write(self, name: str, indices: Sequence[int], writer: ShardWriter) -> None:
        """Its report is written before the index, which makes the shard count as done."""

        def report(count: int) -> None:
            facts = {'images': count, 'with_sky': self._with_sky, 'sky': self._share, 'failed': self._failed}
            writer.folder.write_json(report_name(name), {'name': name, **facts})

        writer.write(name, self._masks(indices), before_index=report)

    def _masks(self, indices: Sequence[int]) -> Iterator[tuple[str, dict[str, bytes]]]:
        for batch in self._batches(indices):
            masks = self._segmenter([image for _, image in batch])
            for (key, _), mask in zip(batch, masks, strict=True):
                self._with_sky += bool(mask.any())
                self._share += float(mask.mean())
                yield key, {SKY_PART: encode_png(mask.astype(np.uint8) * 255)}

    def _batches(self, indices: Sequence[int]) -> Iterator[list[tuple[str, np.ndarray]]]:
        """Keys and images; those of the next batch are read while the model is at work."""
        chunks = [indices[start : start + self._batch_size] for start in range(0, len(indices), self._batch_size)]
        with ThreadPoolExecutor(1) as reader:
            coming = reader.submit(self._read, chunks[0])
            for following in [*chunks[1:], []]:
                batch, coming = coming.result(), reader.submit(self._read, following)
                if batch:
                    yield batch

    def _read(self, indices: Sequence[int]) -> list[tuple[str, np.ndarray]]:
        read = []
        for index in indices:
            try:
                sample = self._dataset[index]
                read.append((sample.key, sample.image))
            except BadSampleError as error:
                self._failed[self._dataset.key(index)] = str(error)
        return read


def _facts(reports: Sequence[dict[str, Any]], failures: Failures, seconds: float) -> dict[str, Any]:
    images, reasons = sum(report['images'] for report in reports), failures.reasons
    if reasons:
        _log.warning('%d images have no mask, see reports/: %s', failures.count, list(reasons)[:3])
    return {
        'images': images,
        'images_with_sky': sum(report['with_sky'] for report in reports),
        'share_of_sky': round(sum(report['sky'] for report in reports) / images, 4),
        'failed': failures.count,
        # All of them, by key, are in the reports.
        'failed_by_reason': dict(list(reasons.items())[:_REASONS]),
        'images_per_second': round(images / max(seconds, 1e-3), 2),
    }
