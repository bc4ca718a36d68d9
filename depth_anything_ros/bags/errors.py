"""Why a bag, or a message of it, is of no use."""


class BagError(Exception):
    """A bag cannot be read or written."""


class MessageError(ValueError):
    """The bytes of a message are not what its type says; the next one may be fine."""
