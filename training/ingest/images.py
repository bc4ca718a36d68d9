"""Image sources besides bags: folders, lists, tars and whatever else has a reader, through the same filters."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from training.data.readers.base import key_of
from training.data.sample import Dataset, Sample
from training.data.shards import encode_sample
from training.data.spec import DataSpec, make_dataset
from training.errors import BadSampleError, RecipeError
from training.ingest.filters import FrameFilter
from training.ingest.frames import Frame, shrink
from training.ingest.settings import Settings
from training.ingest.splitting import HELD_OUT, TRAIN
from training.recipe import as_dict


@dataclass(frozen=True)
class ImagePlan:
    """A run of neighbouring images of one source, which all belong to one split.

    number: of the source in the recipe. name: of its data set.
    """

    spec: DataSpec
    number: int
    name: str
    split: str
    start: int
    end: int

    @property
    def count(self) -> int:
        """How many images it has."""
        return self.end - self.start


def plan_images(settings: Settings) -> tuple[list[ImagePlan], list[str]]:
    """Cut the sources into runs of at most a shard; returns them, and the sources' fingerprints.

    The last images of a source, in its order, are held out: of a folder of a film's frames, its end.

    Raises:
        RecipeError: a source is labelled by disparity; and as make_dataset.
        DataError, MismatchError: as make_dataset.
    """
    plans, fingerprints = [], []
    _open.cache_clear()  # of what another run of this process saw
    for number, spec in enumerate(settings.images):
        if spec.repeat != 1:  # what is held out would be trained on
            raise RecipeError(f'images {number}: repeat is for the recipe of a training, not for ingest')
        dataset = _open(json.dumps(as_dict(spec)))
        _check_labels(dataset, number)
        fingerprints.append(dataset.fingerprint)
        cut = len(dataset) - int(len(dataset) * settings.held_out_fraction)
        for split, first, last in ((TRAIN, 0, cut), (HELD_OUT, cut, len(dataset))):
            for start in range(first, last, settings.shard_size):
                end = min(start + settings.shard_size, last)
                plans.append(ImagePlan(spec, number, dataset.name, split, start, end))
    return plans, fingerprints


def _check_labels(dataset: Dataset, number: int) -> None:
    """Refuse what shards have no place for, by the first image that can be read: all of a source are labelled alike."""
    for index in range(len(dataset)):
        try:
            sample = dataset[index]
        except BadSampleError:
            continue
        if sample.disparity is not None:
            raise RecipeError(
                f'images-{number} ({dataset.name}): its labels are disparity, and shards hold depth only: they '
                'would be lost. Name it in the recipe of the training itself'
            )
        return


class ImageReader:
    """Reads a run of images. problems: why images could not be read, and how often."""

    def __init__(self, plan: ImagePlan, settings: Settings) -> None:
        self._plan, self._settings = plan, settings
        self.problems: dict[str, int] = {}

    def __iter__(self) -> Iterator[Frame]:
        """The images in their order."""
        dataset, frame_filter = _open(json.dumps(as_dict(self._plan.spec))), FrameFilter(self._settings)
        for index in range(self._plan.start, self._plan.end):
            yield self._read(dataset, index, frame_filter)

    def _read(self, dataset: Dataset, index: int, frame_filter: FrameFilter) -> Frame:
        topic = self._plan.name
        try:
            sample = dataset[index]
        except BadSampleError as error:
            self.problems[f'{error}'[:300]] = 1
            return Frame(topic, 'undecodable')
        where = f'images-{self._plan.number}/{sample.key}'
        dropped, measured = frame_filter.judge(sample.image, 0)
        if dropped:
            return Frame(topic, dropped, image=sample.image, measured=measured, where=where)
        key = key_of(f'{where}.')
        sample = _resized(dataclasses.replace(sample, key=key), self._settings.max_size)
        parts = encode_sample(sample, suffix=self._settings.encoding)
        return Frame(topic, '', self._plan.split, sample, parts, sample.image, measured, where)


@lru_cache(maxsize=16)
def _open(spec: str) -> Dataset:
    """A data set from its DataSpec as JSON: once in a process and not for each run, as it may list millions."""
    return make_dataset(DataSpec(**json.loads(spec)))


def _resized(sample: Sample, most: int) -> Sample:
    image, points, valid, scale = shrink(sample.image, sample.points, sample.valid, most)
    if scale == 1.0:
        return sample
    depth, meta = sample.depth, dict(sample.meta)
    if depth is not None:
        # Interpolation would invent surfaces across edges, and INTER_NEAREST shifts by up to half a pixel.
        depth = cv2.resize(depth, image.shape[1::-1], interpolation=cv2.INTER_NEAREST_EXACT)
    if 'K' in meta:
        to_new = np.array([[scale, 0, (scale - 1) / 2], [0, scale, (scale - 1) / 2], [0, 0, 1]])
        meta['K'] = (to_new @ np.array(meta['K'])).tolist()
    return dataclasses.replace(sample, image=image, points=points, valid=valid, depth=depth, meta=meta)
