"""Units of work: a bag or a run of images, written as shards of its own, so that units need nothing of each other."""

from __future__ import annotations

import itertools
import random
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from depth_anything_ros.bags.errors import BagError
from depth_anything_ros.bags.reading import InputBag
from training.data.shards import ShardWriter
from training.errors import DataError
from training.files import Folder
from training.ingest.contact_sheet import KEPT, Example
from training.ingest.frames import Frame, FrameReader
from training.ingest.images import ImagePlan, ImageReader
from training.ingest.settings import Settings
from training.ingest.splitting import TimeBlocks, split_bags
from training.ingest.topics import BagPlan


@dataclass(frozen=True)
class Unit:
    """Something to do, alone.

    number: its place among all. blocks: of a bag, what is held out. first: the number of its first shard, and most: how
    many it may have, of each split.
    """

    number: int
    plan: BagPlan | ImagePlan
    blocks: TimeBlocks | None
    first: int
    most: int

    @property
    def marker(self) -> str:
        """The file that says what came of it, once it is done."""
        return f'units/{self.number:06d}.json'

    @property
    def name(self) -> str:
        """In reports: the bag's, or the image source's."""
        return self.plan.bag.name if isinstance(self.plan, BagPlan) else f'images-{self.plan.number}'


def number_units(bags: Sequence[BagPlan], images: Sequence[ImagePlan], settings: Settings) -> list[Unit]:
    """Give each plan a range of shard numbers that its images cannot exceed.

    So a shard's name and content depend on the inputs alone, not on which process wrote what when.
    """
    units, first = [], 0
    plans = [*zip(bags, split_bags(bags, settings), strict=True), *((plan, None) for plan in images)]
    for number, (plan, blocks) in enumerate(plans):
        most = plan.count // settings.shard_size + (blocks.most_runs if blocks else 1)
        units.append(Unit(number, plan, blocks, first, most))
        first += most
    return units


def process_unit(
    unit: Unit, settings: Settings, folder: Folder, examples: int, progress: Callable[[], None]
) -> dict[str, Any]:
    """Write a unit's shards and then its marker, or return what the marker says if it is there.

    Args:
        unit: what to do.
        settings: of the stage.
        folder: the output.
        examples: how many thumbnails to keep of each reason.
        progress: called for each frame.

    Returns:
        `counts`: by topic and outcome; `problems`; `damage` of a bag, or None; `shards`: sha256 by name; `examples`.

    Raises:
        DataError: the bag has far more images than its index says, or two of one key.
        OSError: writing failed.
    """
    if folder.exists(unit.marker):
        return folder.read_json(unit.marker)
    tally = _Tally(unit, examples, progress)
    if isinstance(unit.plan, ImagePlan):
        reader = ImageReader(unit.plan, settings)
        shards, damage = _write(unit, tally.kept(reader), settings, folder), None
    else:
        try:
            with InputBag(unit.plan.bag.path, salvage=True) as bag:
                reader = FrameReader(bag, unit.plan, unit.blocks, settings)
                shards, damage = _write(unit, tally.kept(reader), settings, folder), bag.damage
        except BagError as error:  # it could be opened before, when it was planned
            raise DataError(str(error)) from error
    report = {
        'name': unit.name,
        'counts': {topic: dict(counts) for topic, counts in sorted(tally.counts.items())},
        'problems': dict(reader.problems),
        'damage': damage,
        'shards': shards,
        'examples': tally.examples(),
    }
    folder.write_json(unit.marker, report)
    return report


def _write(unit: Unit, frames: Iterable[Frame], settings: Settings, folder: Folder) -> dict[str, str]:
    """Shards of neighbouring frames of one split, written as the frames come."""
    writer, shards, used = ShardWriter(folder), {}, Counter()
    for (split, _), run in itertools.groupby(frames, key=_ShardOf(settings.shard_size)):
        if used[split] == unit.most:
            raise DataError(
                f'{unit.name} has more images than its index says: rebuild that (`ros2 bag reindex`, `mcap recover`, '
                '`rosbag reindex`)'
            )
        name = f'{split}-{unit.first + used[split]:06d}'
        used[split] += 1
        shards[name] = writer.write(name, ((frame.sample.key, frame.parts) for frame in run))['sha256']
    return shards


class _ShardOf:
    """Tells frames of one shard from the next's: another split, or enough of them."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._split = ''
        self._number = self._count = 0

    def __call__(self, frame: Frame) -> tuple[str, int]:
        if frame.split != self._split or self._count == self._size:
            self._split, self._count = frame.split, 0
            self._number += 1
        self._count += 1
        return self._split, self._number


class _Tally:
    """Counts what becomes of frames, and keeps some of each kind to look at.

    counts: by topic, of `train`, `held_out`, `metric_depth` (of these two) and of each reason.
    """

    def __init__(self, unit: Unit, examples: int, progress: Callable[[], None]) -> None:
        self.counts: dict[str, Counter[str]] = defaultdict(Counter)
        self._most = examples
        self._progress = progress
        # Any fixed seed: the same frames give the same examples.
        self._random = random.Random(unit.number)
        self._seen: Counter[str] = Counter()
        self._examples: dict[str, list[Example]] = defaultdict(list)

    def kept(self, frames: Iterable[Frame]) -> Iterator[Frame]:
        """Pass on those that are kept."""
        for frame in frames:
            counts = self.counts[frame.topic]
            counts[frame.dropped or frame.split] += 1
            if frame.image is not None:
                self._show(frame)
            self._progress()
            if not frame.dropped:
                counts['metric_depth'] += frame.sample.points is not None or frame.sample.depth is not None
                yield frame

    def examples(self) -> dict[str, list[dict[str, str]]]:
        """By outcome, as JSON values."""
        return {kind: [one.as_json() for one in found] for kind, found in sorted(self._examples.items())}

    def _show(self, frame: Frame) -> None:
        """Reservoir sampling (Vitter 1985, algorithm R): each frame has the same chance, however many will come."""
        kind = frame.dropped or KEPT
        place = self._seen[kind] if self._seen[kind] < self._most else self._random.randint(0, self._seen[kind])
        self._seen[kind] += 1
        if place >= self._most:
            return
        self._examples[kind][place : place + 1] = [Example.of(frame.image, frame.measured, frame.where)]
