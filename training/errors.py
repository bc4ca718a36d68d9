"""Why a stage stops: each error is one line on stderr and an exit code."""


class TrainingError(Exception):
    """A stage cannot do its work, or must not go on. What it has done so far is kept."""

    exit_code = 1


class RecipeError(TrainingError):
    """The recipe is wrong: an unknown setting, a value out of range, settings that do not go together."""

    exit_code = 2


class DataError(TrainingError):
    """Data that a stage needs is absent, unreadable, or not what its layout says."""


class BadSampleError(DataError):
    """One sample cannot be used: it is skipped and counted, and the others go on."""


class MismatchError(TrainingError):
    """What is there was made by another recipe, or from other inputs, than what is asked for now."""


class DivergedError(TrainingError):
    """The training has failed: the loss is not finite, or the network's output has collapsed to a constant."""
