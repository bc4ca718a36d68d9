"""What the name of an image topic says of the images, by the conventions of image_transport and image_proc."""


def sibling(image_topic: str, name: str) -> str:
    """The topic `name` beside an image topic: its calibration is in the same namespace."""
    return f'{image_topic.rpartition("/")[0]}/{name}'


def names_rectified_images(image_topic: str) -> bool:
    """Whether the topic is called like image_proc's rectified ones: image_rect, image_rect_color."""
    return 'rect' in image_topic.rpartition('/')[2]
