"""What the name of an image topic says of the images, by the conventions of image_transport and image_proc."""

import re

_RECTIFIED = re.compile(r'(^|_)rect(ified)?(_|$)')


def sibling(image_topic: str, name: str) -> str:
    """The topic `name` beside an image topic: its calibration is in the same namespace."""
    return f'{image_topic.rpartition("/")[0]}/{name}'


def names_rectified_images(image_topic: str) -> bool:
    """Whether the last part of the topic has the word rect, as image_proc's image_rect and image_rect_color have it."""
    return _RECTIFIED.search(image_topic.rpartition('/')[2]) is not None
