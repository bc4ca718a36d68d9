"""Where the frames of a bag are: its TF topics, or the pose that the user gives."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from depth_anything_ros.cli.bag_topics import BagTopics
from depth_anything_ros.cli.bags import InputBag, Message, MessageError
from depth_anything_ros.cli.errors import UsageError
from depth_anything_ros.geometry.transforms import FixedTransforms, Transforms, TransformTree
from depth_anything_ros.messages import stamp_ns

_logger = logging.getLogger(__name__)


class BagTransforms:
    """The tree of the transforms on tf and tf_static. tree: what has been read so far, all static ones from the start.

    Static ones may be logged anywhere, or repeated; the others come with the frames they are for.
    """

    def __init__(self, bag: InputBag, topics: BagTopics, fixed_frame: str) -> None:
        """Read tf_static. fixed_frame: does not move in the world, for sensors that measure at different times."""
        self._bag = bag
        self._complained = False
        self.tree = TransformTree(fixed_frame)
        if bag.topics.get(topics.tf_static):
            for message in bag.messages([topics.tf_static]):
                self.add(message, static=True)

    def add(self, message: Message, *, static: bool = False) -> None:
        """Add the transforms of a TFMessage; one that cannot be is left out, and said once."""
        try:
            for item in self._bag.deserialize(message).transforms:
                self._add(item, static)
        except (MessageError, ValueError) as error:
            if not self._complained:
                self._complained = True
                _logger.warning('%s: a transform is left out: %s', message.topic, error)

    def _add(self, item, static: bool) -> None:
        t, q = item.transform.translation, item.transform.rotation
        self.tree.add(
            item.header.frame_id,
            item.child_frame_id,
            None if static else stamp_ns(item),
            (t.x, t.y, t.z),
            (q.x, q.y, q.z, q.w),
        )


def fixed_transforms(option: str, pose: Sequence[float] | None) -> Transforms | None:
    """The pose that an option gives as X Y Z QX QY QZ QW, None where it is not given; raises UsageError."""
    if pose is None:
        return None
    try:
        return FixedTransforms(pose)
    except ValueError as error:
        raise UsageError(f'{option}: {error}') from error
