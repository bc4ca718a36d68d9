"""Which topics of a bag show pictures and which have depth, by their first messages."""

from __future__ import annotations

from collections.abc import Container
from typing import Any

import numpy as np

from depth_anything_ros.bags.errors import MessageError
from depth_anything_ros.bags.reading import InputBag
from depth_anything_ros.bags.topics import COMPRESSED_IMAGE, IMAGE, base_topic
from depth_anything_ros.messages import ImageError, UnsupportedEncodingError, compressed_to_rgb, to_depth, to_rgb


def decode(message: Any, kind: str) -> np.ndarray:
    """An image message of this type as uint8 RGB (H, W, 3); raises messages.ImageError."""
    return compressed_to_rgb(message) if kind == COMPRESSED_IMAGE else to_rgb(message)


def image_topics(bag: InputBag, exclude: Container[str]) -> list[str]:
    """Those of colour or grey; of an image that comes raw and compressed, the raw one."""
    shown = {
        topic: kind
        for topic, kind in bag.topics.items()
        if kind in (IMAGE, COMPRESSED_IMAGE) and topic not in exclude and _shows_pictures(bag, topic)
    }
    raw = {topic for topic, kind in shown.items() if kind == IMAGE}
    return sorted(topic for topic, kind in shown.items() if topic in raw or base_topic(topic, kind) not in raw)


def depth_topics(bag: InputBag) -> list[str]:
    """Those of depth. mono16 is both what some drivers call depth and what infrared cameras send: the name decides."""
    topics = []
    for topic in (topic for topic, kind in bag.topics.items() if kind == IMAGE):
        message = _first(bag, topic)
        if message is None or (message.encoding == 'mono16' and 'depth' not in topic):
            continue
        try:
            to_depth(message)
        except ImageError:
            continue
        topics.append(topic)
    return topics


def _shows_pictures(bag: InputBag, topic: str) -> bool:
    message = _first(bag, topic)
    if message is None:
        return False
    try:
        decode(message, bag.topics[topic])
    except UnsupportedEncodingError:
        return False
    except ImageError:  # a damaged image; the next may be fine
        return True
    return True


def _first(bag: InputBag, topic: str) -> Any:
    message = bag.first(topic)
    try:
        return None if message is None else bag.deserialize(message)
    except MessageError:
        return None
