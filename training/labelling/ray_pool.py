"""Labelling with Ray Data: on this machine or on a cluster, with the same command."""

from __future__ import annotations

import dataclasses
import logging
import os
import pickle
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import ray
import torch
from ray.data import ActorPoolStrategy, DataContext, from_items

from training.errors import TrainingError
from training.labelling.labeller import Labeller

if TYPE_CHECKING:
    from training.stages.label import Settings


def label_with_ray(names: Sequence[str], settings: Settings) -> Iterator[str]:
    """Label the shards in settings.workers actors, and give the name of each that is done, in the order of its end.

    A worker that dies (for want of memory, or with its machine) is started again by Ray, which says so, and its shard
    is begun anew. Raises what Labeller does, and TrainingError for what Ray itself cannot do.
    """
    if settings.ray_address:
        # Workers of a Ray that runs already are elsewhere.
        here = {name: _absolute(getattr(settings, name)) for name in ('shards', 'output')}
        teacher = _absolute(settings.teacher)
        # Otherwise the name of a published model.
        here |= {'teacher': teacher} if os.path.exists(teacher) else {}
        settings = dataclasses.replace(settings, **here)
        ray.init(address=settings.ray_address, logging_level=logging.WARNING)
    else:
        ray.init(address='local', include_dashboard=False, logging_level=logging.WARNING)
    try:
        yield from _label(names, settings)
    except ray.exceptions.RayError as error:
        raise TrainingError(f'a worker failed: {str(error).strip().splitlines()[-1][:300]}') from error
    finally:
        ray.shutdown()


def _absolute(path: str) -> str:
    """A local path, wherever it is used; a URL as it is."""
    return path if '://' in path else os.path.abspath(os.path.expanduser(path))


def _label(names: Sequence[str], settings: Settings) -> Iterator[str]:
    DataContext.get_current().enable_progress_bars = False
    gpus = settings.gpus_per_worker
    if gpus < 0:
        gpus = 1.0 if ray.cluster_resources().get('GPU') else 0.0
    # A block for each shard: what is begun, and tried again, alone.
    shards = from_items([{'name': name} for name in names], override_num_blocks=len(names))
    done = shards.map(
        _Actor,
        fn_constructor_args=(settings,),
        compute=ActorPoolStrategy(size=min(settings.workers, len(names))),
        num_cpus=settings.cpus_per_worker,
        num_gpus=gpus,
    )
    for row in done.iter_rows():
        if row['error']:
            raise pickle.loads(row['error'])
        yield row['name']


class _Actor:
    """A Labeller as Ray Data calls it. It hands over its errors as data: raised, Ray would make text of them."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._labeller: Labeller | None = None

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        name = row['name']
        try:
            if self._labeller is None:
                # Ray leaves it at what OMP_NUM_THREADS of the driver says, if that is set: workers would share cores.
                torch.set_num_threads(max(1, int(self._settings.cpus_per_worker)))
                self._labeller = Labeller(self._settings)
            self._labeller.label(name)
        except (TrainingError, OSError) as error:
            return {'name': name, 'error': pickle.dumps(error)}
        return {'name': name, 'error': b''}
