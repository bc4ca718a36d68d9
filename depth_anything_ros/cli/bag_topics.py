"""Which topics of a bag are read, and which new ones are written: the node's rules."""

from __future__ import annotations

from argparse import Namespace
from dataclasses import dataclass

from depth_anything_ros.cli.bags import BagError, InputBag
from depth_anything_ros.cli.errors import UsageError
from depth_anything_ros.messages import names_rectified_images, sibling

IMAGE = 'sensor_msgs/msg/Image'
COMPRESSED_IMAGE = 'sensor_msgs/msg/CompressedImage'
CAMERA_INFO = 'sensor_msgs/msg/CameraInfo'
_TRANSPORT = '/compressed'


@dataclass(frozen=True)
class BagTopics:
    """What is read, and the namespace of what is written.

    camera_info: its topic, which the bag may lack. scale_reference: None without.
    rectified: the images are, so P describes them.
    """

    image: str
    camera_info: str
    scale_reference: str | None
    namespace: str
    rectified: bool

    def output(self, name: str) -> str:
        """The full name of a new topic."""
        return f'{self.namespace}/{name}'


def choose_topics(bag: InputBag, args: Namespace) -> BagTopics:
    """Choose by the options, and by the names and types in the bag.

    Raises UsageError where the options leave a choice or name what is not there, BagError if there are no images.
    """
    topics = bag.topics
    if args.scale_reference is not None:
        _check_type(bag, args.scale_reference, (IMAGE,))
    if args.image_topic is not None:
        _check_type(bag, args.image_topic, (IMAGE, COMPRESSED_IMAGE))
        image = args.image_topic
    else:
        image = _only_image(bag, args.scale_reference)
    if not bag.count(image):
        raise BagError(f'{bag.path}: {image} has no messages')
    # image_transport: the compressed image is named below the raw one, and the siblings are the raw one's.
    base = image.removesuffix(_TRANSPORT) if topics[image] == COMPRESSED_IMAGE else image
    namespace = base.rpartition('/')[0] if args.namespace is None else args.namespace.rstrip('/')
    camera_info = args.camera_info_topic or sibling(base, 'camera_info')
    if args.camera_info_topic is not None or camera_info in topics:
        _check_type(bag, camera_info, (CAMERA_INFO,))
    rectified = args.projection == 'rectified' or (args.projection == 'auto' and names_rectified_images(base))
    return BagTopics(image, camera_info, args.scale_reference, namespace, rectified)


def _only_image(bag: InputBag, scale_reference: str | None) -> str:
    found = [
        topic for topic, kind in bag.topics.items() if kind in (IMAGE, COMPRESSED_IMAGE) and topic != scale_reference
    ]
    if not found:
        raise BagError(f'{bag.path}: no topic of {IMAGE} or {COMPRESSED_IMAGE}; there are {_listed(bag.topics)}')
    if len(found) > 1:
        raise UsageError(f'{bag.path} has {len(found)} image topics, choose one with --image-topic: {_listed(found)}')
    return found[0]


def _check_type(bag: InputBag, topic: str, kinds: tuple[str, ...]) -> None:
    candidates = [name for name, kind in bag.topics.items() if kind in kinds]
    if topic not in candidates:
        raise UsageError(f'{bag.path}: no topic {topic} of {" or ".join(kinds)}; there are {_listed(candidates)}')


def _listed(topics) -> str:
    return ', '.join(sorted(topics)) or 'none'
