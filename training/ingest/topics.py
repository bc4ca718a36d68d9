"""Which topics of a bag are read, found out before any work starts."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from depth_anything_ros.bags.errors import BagError
from depth_anything_ros.bags.pictures import depth_topics, image_topics
from depth_anything_ros.bags.reading import InputBag
from depth_anything_ros.bags.topics import (
    CAMERA_INFO,
    COMPRESSED_IMAGE,
    IMAGE,
    POINT_CLOUD,
    camera_info_topic,
)
from training.errors import DataError
from training.ingest.discovery import BagFile
from training.ingest.settings import Settings


@dataclass(frozen=True)
class BagPlan:
    """What is read from a bag.

    images: the image topics, and of each the topic of its calibration, '' where the bag has none.
    depth, clouds: topics that measure metres. count: of images, as the bag's index has it.
    start_ns, end_ns: log times of the first and of the last image, as far as these are known.
    """

    bag: BagFile
    images: dict[str, str]
    depth: tuple[str, ...]
    clouds: tuple[str, ...]
    count: int
    start_ns: int
    end_ns: int


def plan_bags(bags: Iterable[BagFile], settings: Settings) -> tuple[list[BagPlan], dict[str, str]]:
    """Choose the topics of each bag.

    Returns:
        The plans, and of each bag that cannot be opened, by name, why.

    Raises:
        DataError: bags lack topics that the settings name, calibrations that undistort needs, or any images; all such
            bags are listed. No bag has a topic of metric depth that the settings name.
    """
    plans, unreadable, problems, there = [], {}, [], set()
    for file in bags:
        try:
            with InputBag(file.path, salvage=True) as bag:
                plans.append(_plan(file, bag, settings))
                there.update(bag.topics.items())
        except BagError as error:
            unreadable[file.name] = str(error)
        except DataError as error:
            problems.append(str(error))
    if problems:
        raise DataError('; '.join(problems))
    # A bag that cannot be opened may have had it.
    if plans and not unreadable:
        _require_depth('depth images', settings.depth_topics, IMAGE, there)
        _require_depth('point clouds', settings.cloud_topics, POINT_CLOUD, there)
    return plans, unreadable


def _plan(file: BagFile, bag: InputBag, settings: Settings) -> BagPlan:
    depth = depth_topics(bag)
    found = image_topics(bag, exclude={*depth, *settings.depth_topics})
    images = settings.topics or found
    _require(file, bag, settings.topics, (IMAGE, COMPRESSED_IMAGE))
    if not images:
        raise DataError(f'{file.path}: no topic of images in this bag; there are {_listed(bag.topics)}')
    clouds = [topic for topic, kind in bag.topics.items() if kind == POINT_CLOUD]
    infos = {topic: _camera_info(bag, topic) for topic in sorted(images)}
    without = [topic for topic, info in infos.items() if not info]
    if settings.undistort and without:
        raise DataError(
            f'{file.path}: no CameraInfo of {_listed(without)} in this bag (expected on '
            f'{_listed(camera_info_topic(topic, bag.topics[topic]) for topic in without)}), so these images cannot be '
            'undistorted: set undistort=false, or name only topics that have one'
        )
    return BagPlan(
        bag=file,
        images=infos,
        depth=_chosen(bag, settings.depth_topics, depth),
        clouds=_chosen(bag, settings.cloud_topics, clouds),
        count=sum(bag.count(topic) for topic in images),
        # A camera that starts late or stops early would else leave nothing where a block is held out.
        start_ns=min((first.time_ns for topic in images if (first := bag.first(topic))), default=bag.start_ns),
        end_ns=bag.last_ns(images) or bag.end_ns,
    )


def _require(file: BagFile, bag: InputBag, topics: Iterable[str], kinds: tuple[str, ...]) -> None:
    there = [topic for topic, kind in bag.topics.items() if kind in kinds]
    missing = [topic for topic in topics if topic not in there]
    if missing:
        raise DataError(
            f'{file.path}: no images on {_listed(missing)} in this bag; there are images on {_listed(there)}'
        )


def _require_depth(what: str, named: Iterable[str], kind: str, there: Iterable[tuple[str, str]]) -> None:
    """there: topics of all bags, with their types."""
    found = {topic for topic, its_kind in there if its_kind == kind}
    missing = {*named} - found
    if missing:
        raise DataError(
            f'no {what} ({kind}) on {_listed(missing)} in any bag; there are messages of this type on {_listed(found)}'
        )


def _chosen(bag: InputBag, named: list[str], found: Iterable[str]) -> tuple[str, ...]:
    """Evidence is a bonus: not every bag needs to have the topics that are named, but one does."""
    return tuple(sorted(topic for topic in (named or found) if topic in bag.topics))


def _camera_info(bag: InputBag, topic: str) -> str:
    name = camera_info_topic(topic, bag.topics[topic])
    return name if bag.topics.get(name) == CAMERA_INFO else ''


def _listed(topics: Iterable[str]) -> str:
    return ', '.join(sorted(topics)) or 'none'
