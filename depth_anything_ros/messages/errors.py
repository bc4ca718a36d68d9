"""Why a message cannot be used. Each text says what was expected and what was found."""

from collections.abc import Iterable


class InvalidMessageError(ValueError):
    """The content of a message is of no use; the next one may be fine."""


class ImageError(InvalidMessageError):
    """A message that holds no usable image; the next frame may be fine."""


# A damaged message may hold a name of any length.
_SHOWN = 40


class UnsupportedEncodingError(ImageError):
    """The message is in an encoding that this package does not read."""

    def __init__(self, encoding: str, supported: Iterable[str]):
        """Name the encoding found and those that would have done."""
        super().__init__(f'encoding {encoding[:_SHOWN]!r} is not supported; supported are {", ".join(supported)}')


class MalformedImageError(ImageError):
    """The fields of the message contradict each other, or its data cannot be decoded."""


class PointCloudError(InvalidMessageError):
    """A PointCloud2 or LaserScan that holds no usable points; the next one may be fine."""
