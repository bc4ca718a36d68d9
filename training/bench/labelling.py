"""Pseudo-labels: what of them is measured, and how."""

from __future__ import annotations

from time import perf_counter
from typing import Any

from depth_anything_ros.benchmark.memory import memory
from depth_anything_ros.estimation.backends.torch_backends import torch_precisions
from depth_anything_ros.estimation.devices import resolve_device
from training.data.shards import ShardDataset
from training.errors import DataError
from training.files import Folder
from training.labelling.labeller import Labeller
from training.shard_reports import report_name
from training.stages import label


def precisions(device: str) -> list[str]:
    """fp32, and the reduced precision if the device computes one; raises DeviceUnavailableError."""
    return sorted(torch_precisions('auto', resolve_device(device)), key='fp32'.__ne__)


def measure(settings: label.Settings) -> dict[str, Any]:
    """Label the first shard to warm up, and measure the second; returns figures, JSON values.

    From the shards' bytes to the labels' on disk, in one process, as the stage does it.

    Raises:
        TrainingError: as of Labeller; an image got no label.
    """
    labeller = Labeller(settings)
    warm_up, measured = ShardDataset(settings.shards).shard_names
    labeller.label(warm_up)
    begun = perf_counter()
    labeller.label(measured)
    seconds = perf_counter() - begun
    report = Folder(settings.output).read_json(report_name(measured))
    if report['failed']:
        raise DataError(f'{len(report["failed"])} images got no label: {next(iter(report["failed"].values()))}')
    images = report['labelled']
    return {'images': images, 'seconds': seconds, 'images_per_second': images / seconds, **memory()}
