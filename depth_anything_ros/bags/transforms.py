"""Where the frames of a bag are: its TF topics."""

from __future__ import annotations

import logging

from depth_anything_ros.bags.errors import MessageError
from depth_anything_ros.bags.reading import InputBag, Message
from depth_anything_ros.geometry.transforms import TransformTree
from depth_anything_ros.messages import stamp_ns

_logger = logging.getLogger(__name__)


class BagTransforms:
    """The tree of the transforms on tf and tf_static. tree: what has been read so far, all static ones from the start.

    Static ones may be logged anywhere, or repeated; the others come with the frames they are for.
    """

    def __init__(self, bag: InputBag, tf_static: str, fixed_frame: str) -> None:
        """Read the topic tf_static, which the bag may lack.

        fixed_frame: does not move in the world, for sensors that measure at different times.
        """
        self._bag = bag
        self._complained = False
        self.tree = TransformTree(fixed_frame)
        for message in bag.messages([tf_static]):
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
