"""What can be wrong with a checkpoint, one class for each cause."""


class CheckpointError(Exception):
    """A model could not be loaded. The message says what was expected, what was found and what to do."""


class UnknownModelError(CheckpointError):
    """No model has this name."""


class UnnamedCheckpointError(CheckpointError):
    """A file was given without saying which network it holds, and the file itself does not say it."""


class LicenseNotAcceptedError(CheckpointError):
    """The weights must not be used commercially, and the caller has not agreed to that."""


class CheckpointNotFoundError(CheckpointError):
    """The given path is not a readable file."""


class CheckpointUnavailableError(CheckpointError):
    """The weights are not on this machine and could not be fetched."""


class CorruptCheckpointError(CheckpointError):
    """The file is damaged, or is not a file of weights."""


class CheckpointMismatchError(CheckpointError):
    """The file holds weights, but those of another network."""
