"""Which topics of a bag are read, and which new ones are written: the node's rules."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from depth_anything_ros.alignment import SCALE_REFERENCE
from depth_anything_ros.bags.errors import BagError
from depth_anything_ros.bags.pictures import depth_topics, image_topics
from depth_anything_ros.bags.reading import InputBag
from depth_anything_ros.bags.topics import (
    CAMERA_INFO,
    COMPRESSED_IMAGE,
    IMAGE,
    TF_MESSAGE,
    base_topic,
    camera_info_topic,
)
from depth_anything_ros.cli.errors import UsageError
from depth_anything_ros.cli.sources import Choice
from depth_anything_ros.messages import names_rectified_images

_TF, _TF_STATIC = 'tf', 'tf_static'


@dataclass(frozen=True)
class BagTopics:
    """What is read, and the namespace of what is written beside the image.

    camera_info, tf, tf_static: their topics, which the bag may lack.
    evidence: of each source, the topic in the bag by the name that the source has for it. truth: None without.
    rectified: the images are, so P describes them.
    """

    image: str
    camera_info: str
    namespace: str
    rectified: bool
    evidence: tuple[Mapping[str, str], ...] = ()
    truth: str | None = None
    tf: str = '/tf'
    tf_static: str = '/tf_static'

    @property
    def read(self) -> set[str]:
        """All topics that are read, tf_static apart."""
        others = () if self.truth is None else (self.truth,)
        return {self.image, self.camera_info, self.tf, *others}.union(*(names.values() for names in self.evidence))

    def output(self, name: str) -> str:
        """The full name of a new topic."""
        return f'{self.namespace}/{name}'


def choose_topics(
    bag: InputBag,
    args: Namespace,
    choices: Sequence[Choice],
    truth: str | None = None,
    truth_kinds: Collection[str] = (),
) -> BagTopics:
    """Choose by the options, and by the names and types in the bag. truth: a topic of one of the types truth_kinds.

    Raises UsageError where the options leave a choice or name what is not there, BagError if there are no images.
    """
    topics = bag.topics
    named = _named_topics(args)
    if truth is not None:
        _check_type(bag, truth, truth_kinds)
    taken = {topic for found in named.values() for topic in found} | {truth}
    if args.image_topic is not None:
        _check_type(bag, args.image_topic, (IMAGE, COMPRESSED_IMAGE))
        image = args.image_topic
    else:
        image = _only_image(bag, taken)
    if not bag.count(image):
        raise BagError(f'{bag.path}: {image} has no messages')
    tf, tf_static = (_choose_tf(bag, name, named.pop(name, [])) for name in (_TF, _TF_STATIC))
    evidence = _choose_evidence(bag, choices, named, taken | {image})
    for choice, names in zip(choices, evidence, strict=True):
        if truth in names.values():
            raise UsageError(
                f'{truth} is the evidence of alignment source {choice.label}, so the fit would see the truth: name '
                'another --truth, or none, and a part of the evidence is held out'
            )
    base = base_topic(image, topics[image])
    camera_info = args.camera_info_topic or camera_info_topic(image, topics[image])
    if args.camera_info_topic is not None or camera_info in topics:
        _check_type(bag, camera_info, (CAMERA_INFO,))
    rectified = args.projection == 'rectified' or (args.projection == 'auto' and names_rectified_images(base))
    return BagTopics(image, camera_info, base.rpartition('/')[0], rectified, evidence, truth, tf, tf_static)


def _named_topics(args: Namespace) -> dict[str, list[str]]:
    """The topics that the options give, by the name that they stand for."""
    named: dict[str, list[str]] = {}
    for name, topic in [*((SCALE_REFERENCE, topic) for topic in args.scale_reference), *args.remap]:
        named.setdefault(name, []).append(topic)
    return named


def _only_image(bag: InputBag, taken: set[str | None]) -> str:
    found = [topic for topic, kind in bag.topics.items() if kind in (IMAGE, COMPRESSED_IMAGE) and topic not in taken]
    if not found:
        raise BagError(f'{bag.path}: no topic of {IMAGE} or {COMPRESSED_IMAGE}; there are {_listed(bag.topics)}')
    if len(found) > 1:
        shown = image_topics(bag, exclude={*taken, *depth_topics(bag)})
        # One without messages may be meant.
        found = [topic for topic in found if topic in shown or not bag.count(topic)] or found
    if len(found) > 1:
        raise UsageError(f'{bag.path} has {len(found)} image topics, choose one with --image-topic: {_listed(found)}')
    return found[0]


def _choose_tf(bag: InputBag, name: str, given: Sequence[str]) -> str:
    topic = given[-1] if given else f'/{name}'
    if given or topic in bag.topics:
        _check_type(bag, topic, (TF_MESSAGE,))
    return topic


def _choose_evidence(
    bag: InputBag, choices: Sequence[Choice], named: Mapping[str, Sequence[str]], taken: set[str | None]
) -> tuple[Mapping[str, str], ...]:
    """The topic of every name of every source: the one given, else the only one of its type that is not taken."""
    for name, given in named.items():
        kinds = sorted({choice.source.topics[name] for choice in choices if name in choice.source.topics})
        if not kinds:
            listened = sorted({name for choice in choices for name in choice.source.topics})
            labels = ', '.join(choice.label for choice in choices)
            raise UsageError(f'alignment source {labels} has no topic {name}; it has {_listed(listened)}')
        for topic in given:
            _check_type(bag, topic, kinds)
    return tuple(
        {name: _evidence_topic(bag, choice, name, kind, named.get(name, ()), taken) for name, kind in topics.items()}
        for choice in choices
        for topics in [choice.source.topics]
    )


def _evidence_topic(
    bag: InputBag, choice: Choice, name: str, kind: str, given: Sequence[str], taken: set[str | None]
) -> str:
    there = [topic for topic, found in bag.topics.items() if found == kind]
    fitting = [topic for topic in there if topic in given] or [topic for topic in there if topic not in taken]
    if len(fitting) != 1:
        option = '--scale-reference ' if name == SCALE_REFERENCE else f'--remap {name}:='
        raise UsageError(
            f'{bag.path}: alignment source {choice.label} needs a topic of {kind}, name it with {option}TOPIC; '
            f'there are {_listed(there)}'
        )
    return fitting[0]


def _check_type(bag: InputBag, topic: str, kinds: Iterable[str]) -> None:
    candidates = [name for name, kind in bag.topics.items() if kind in kinds]
    if topic not in candidates:
        raise UsageError(f'{bag.path}: no topic {topic} of {" or ".join(kinds)}; there are {_listed(candidates)}')


def _listed(topics) -> str:
    return ', '.join(sorted(topics)) or 'none'
