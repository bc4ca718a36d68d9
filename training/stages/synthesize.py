"""Synthetic scenes with exact depth -> shards: endless training data for a machine that has no data set.

The scenes (training.synthesis) are textured triangles whose first hits are found by Embree and shaded here, with shadow
rays. Depth needs nothing more, and a network learns as much from it: the same views path-traced by Blender took some
thirty times as long and taught no more (docs/tiny/trials.md).

View j of scene i is a function of the settings, i and j, and not of how many scenes, views, shards and processes there
are: the shards are the same bytes however many processes make them, and after any interruption. (On one type of
processor: another one's vector instructions may round otherwise.)
"""

from __future__ import annotations

import math
import multiprocessing
import os
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from importlib.util import find_spec
from multiprocessing.connection import wait
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from tqdm import tqdm

from training.data.shards import TARS, ShardDataset, ShardWriter, encode_jpeg, encode_sample
from training.errors import TrainingError
from training.files import Folder
from training.recipe import free
from training.run import Run

if TYPE_CHECKING:
    from training.synthesis.library import Library
    from training.synthesis.photos import Photos

KINDS = ('room', 'corridor', 'street', 'yard', 'tabletop')
TRAIN, HELD_OUT = 'train', 'held_out'
_GOLDEN = (math.sqrt(5) - 1) / 2
_PERCENTILES = (1, 25, 50, 75, 99)
# Pictures of each kind whose depth the manifest's percentiles are of.
_MEASURED = 64
# Degrees across: a pinhole camera that is wider bends space beyond what lenses do.
_WIDEST = 140


@dataclass
class Settings:
    """Settings of the stage `synthesize`.

    Attributes:
        textures: a folder or URL of pictures to use on walls, posters and things; '' for procedural textures alone.
        things: a folder of furniture libraries of Sweet Home 3D (.sh3f), whose models stand in the scenes beside
            procedural ones; '' for procedural ones alone.
        output: folder or URL of the shards.
        scenes: how many worlds are built.
        views_per_scene: pictures of each.
        size: height and width in pixels.
        field_of_view: narrowest and widest of the pictures, in degrees across; drawn evenly.
        seed: other scenes for each.
        kinds: the share of each kind of scene, in any unit.
        held_out_fraction: of the scenes, for the split `held_out`; the others are the split `train`.
        shard_size: pictures in a shard; whole scenes, at least one.
        supersampling: n: pixels at edges get the mean colour of n x n rays. Depth is always that of the pixel's centre.
        workers: processes; 0: this one.
    """

    textures: str = free('')
    things: str = free('')
    output: str = free('')
    scenes: int = 1000
    views_per_scene: int = 8
    size: list[int] = field(default_factory=lambda: [384, 512])
    field_of_view: list[float] = field(default_factory=lambda: [50.0, 110.0])
    seed: int = 0
    kinds: dict[str, float] = field(
        default_factory=lambda: {'room': 4.0, 'corridor': 1.5, 'street': 3.0, 'yard': 2.0, 'tabletop': 1.5}
    )
    held_out_fraction: float = 0.05
    shard_size: int = 400
    supersampling: int = 2
    workers: int = free(2)

    def __post_init__(self) -> None:
        """Check the ranges."""
        for name in ('scenes', 'views_per_scene', 'shard_size', 'supersampling'):
            if getattr(self, name) < 1:
                raise ValueError(f'{name} must be at least 1')
        if min(self.seed, self.workers) < 0:
            raise ValueError('seed and workers cannot be negative')
        if len(self.size) != 2 or min(self.size) < 16:
            raise ValueError(f'size is [height, width], each at least 16 pixels, not {self.size}')
        if len(self.field_of_view) != 2 or not 0 < self.field_of_view[0] <= self.field_of_view[1] <= _WIDEST:
            raise ValueError(
                f'field_of_view is [narrowest, widest], above 0 and at most {_WIDEST} degrees, not {self.field_of_view}'
            )
        if unknown := {*self.kinds} - {*KINDS}:
            raise ValueError(f'kinds: there is no {min(unknown)!r}, only {", ".join(KINDS)}')
        shares = self.kinds.values()
        if not all(math.isfinite(share) and share >= 0 for share in shares) or not sum(shares) > 0:
            raise ValueError(f'kinds: shares are not negative, and one is positive, not {self.kinds}')
        if not 0 <= self.held_out_fraction < 1:
            raise ValueError('held_out_fraction is from 0 up to, not including, 1')
        held_out = sum(is_held_out(scene, self.held_out_fraction) for scene in range(self.scenes))
        if held_out == self.scenes or (self.held_out_fraction > 0 and not held_out):
            raise ValueError(
                f'held_out_fraction {self.held_out_fraction} of {self.scenes} scenes leaves a split empty: '
                'more scenes, or another fraction (0 for no held_out split)'
            )


def is_held_out(scene: int, fraction: float) -> bool:
    """Whether a scene is of the split held_out: such scenes are spread evenly."""
    return _held_out_before(scene + 1, fraction) > _held_out_before(scene, fraction)


def _held_out_before(scene: int, fraction: float) -> int:
    return math.floor(round(scene * fraction, 9))  # rounded, as 100 * 0.29 is 28.999999999999996


def kind_of(scene: int, settings: Settings) -> str:
    """The kind of a scene: multiples of the golden ratio keep even a small split close to the shares asked for."""
    kinds, held_out_before = settings.kinds, _held_out_before(scene, settings.held_out_fraction)
    number = held_out_before if is_held_out(scene, settings.held_out_fraction) else scene - held_out_before
    place = (np.random.default_rng(settings.seed).random() + number * _GOLDEN) % 1 * sum(kinds.values())
    names = [name for name in KINDS if kinds.get(name, 0) > 0]
    ends = np.cumsum([kinds[name] for name in names])
    return names[min(int(np.searchsorted(ends, place, side='right')), len(names) - 1)]


def run(settings: Settings) -> dict[str, Any]:
    """Write the shards, or those of them that are missing.

    Returns:
        The manifest: `images` and `scenes` by split and kind, `images_per_second`, percentiles of depth by kind in
        metres and the share of sky, `unreadable_textures`, and `shards`, the fingerprint of the result.

    Raises:
        TrainingError: trimesh or embreex is missing; a process was killed.
        DataError: `textures` holds no pictures, or hardly any that can be read; `things` no library.
        MismatchError: the output is of another recipe.
        OSError: the disk is full.
    """
    if missing := [name for name in ('trimesh', 'embreex') if find_spec(name) is None]:
        raise TrainingError(f'synthesize needs {" and ".join(missing)}: pip install {" ".join(missing)}')
    from training.synthesis.library import Library  # noqa: PLC0415
    from training.synthesis.photos import Photos  # noqa: PLC0415

    photos = Photos.find(settings.textures) if settings.textures else None
    library = Library.find(settings.things) if settings.things else None
    found = {'textures': photos, 'things': library}
    inputs = {name: source.fingerprint for name, source in found.items() if source is not None}
    with Run('synthesize', settings, inputs, settings.output, writes=TARS) as run:
        if not run.finished:
            _write_shards(run, settings, photos, library)
            run.finish(**_facts(settings, run))
        return run.manifest


@dataclass(frozen=True)
class _Job:
    """A shard to write: picklable, so that any process can."""

    name: str
    scenes: list[int]
    settings: Settings
    photos: Photos | None
    library: Library | None


def _jobs(settings: Settings, photos: Photos | None, library: Library | None) -> Iterator[_Job]:
    """All shards, the same whatever is done already."""
    whole = max(1, settings.shard_size // settings.views_per_scene)
    for split in (HELD_OUT, TRAIN):
        scenes = [
            scene
            for scene in range(settings.scenes)
            if is_held_out(scene, settings.held_out_fraction) == (split == HELD_OUT)
        ]
        for number, start in enumerate(range(0, len(scenes), whole)):
            yield _Job(f'{split}-{number:06d}', scenes[start : start + whole], settings, photos, library)


def _write_shards(run: Run, settings: Settings, photos: Photos | None, library: Library | None) -> None:
    writer = ShardWriter(run.folder)
    jobs = list(_jobs(settings, photos, library))
    left = [job for job in jobs if not writer.done(job.name)]
    views = settings.views_per_scene
    total = settings.scenes * views
    done = total - views * sum(len(job.scenes) for job in left)
    unreadable = set(run.manifest.get('unreadable_textures', ()))
    with tqdm(total=total, initial=done, desc='synthesize', unit='image') as bar:
        for job, found in _results(left, settings.workers):
            unreadable |= found
            bar.update(len(job.scenes) * views)
            run.note(unreadable_textures=sorted(unreadable))


def _results(jobs: list[_Job], workers: int) -> Iterator[tuple[_Job, set[str]]]:
    """Each job as it is done, with the textures that it found unreadable."""
    if workers == 0 or len(jobs) < 2:
        yield from ((job, _write_shard(job)) for job in jobs)
        return
    # Spawned, not forked: a fork of a process in which torch or Embree run threads may hang.
    context = multiprocessing.get_context('spawn')
    with ProcessPoolExecutor(min(workers, len(jobs)), context, _begin_worker) as pool:
        futures = {pool.submit(_write_shard, job): job for job in jobs}
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
        except BrokenProcessPool as error:
            raise TrainingError(
                'a process was killed, perhaps for memory: fewer workers, or a smaller size; the same command goes on'
            ) from error
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _begin_worker() -> None:
    cv2.setNumThreads(1)
    # A parent that is killed cannot end its children, and they would wait for work for ever.
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    wait([multiprocessing.parent_process().sentinel])
    os._exit(1)


def _write_shard(job: _Job) -> set[str]:
    ShardWriter(Folder(job.settings.output)).write(job.name, _samples(job))
    return job.photos.unreadable if job.photos is not None else set()


def _samples(job: _Job) -> Iterator[tuple[str, dict[str, bytes]]]:
    from training.synthesis.scenes import make_scene, pictures  # noqa: PLC0415, needs trimesh and embreex

    settings = job.settings
    height, width = settings.size
    narrowest, widest = settings.field_of_view
    for index in job.scenes:
        scene = make_scene(kind_of(index, settings), settings.seed, index, job.photos, job.library)
        views = pictures(
            scene,
            settings.seed,
            index,
            settings.views_per_scene,
            (height, width),
            settings.supersampling,
            (narrowest, widest),
        )
        for sample in views:
            yield sample.key, encode_sample(sample, encode_jpeg(sample.image, sample.meta['jpeg_quality']))


def _facts(settings: Settings, run: Run) -> dict[str, Any]:
    counts: dict[str, Counter[str]] = {TRAIN: Counter(), HELD_OUT: Counter()}
    for scene in range(settings.scenes):
        split = HELD_OUT if is_held_out(scene, settings.held_out_fraction) else TRAIN
        counts[split][kind_of(scene, settings)] += 1
    dataset = ShardDataset(run.folder.url)
    run.note()  # for the seconds
    return {
        'images': len(dataset),
        'scenes': {split: dict(sorted(kinds.items())) for split, kinds in counts.items()},
        'images_per_second': round(len(dataset) / max(run.manifest['seconds'], 1e-3), 3),
        'depth': _depth_ranges(dataset, settings),
        'shards': dataset.fingerprint,
    }


def _depth_ranges(dataset: ShardDataset, settings: Settings) -> dict[str, dict[str, float]]:
    """Percentiles of depth in metres, and the share of sky, of some pictures of each kind."""
    by_kind: dict[str, list[int]] = {}
    for index in range(len(dataset)):
        scene = int(dataset.key(index).partition('-')[0])
        by_kind.setdefault(kind_of(scene, settings), []).append(index)
    ranges = {}
    for kind, indices in sorted(by_kind.items()):
        chosen = indices[:: math.ceil(len(indices) / _MEASURED)]
        depth = np.concatenate([dataset[index].depth[::4, ::4].ravel() for index in chosen])
        finite = depth[np.isfinite(depth)]
        values = np.percentile(finite, _PERCENTILES).round(3).tolist() if len(finite) else []
        named = {f'p{percentile}_m': value for percentile, value in zip(_PERCENTILES, values, strict=False)}
        ranges[kind] = {**named, 'sky': round(float(np.isinf(depth).mean()), 4)}
    return ranges
