"""Why a command stops: each error is one line on stderr and an exit code."""


class CommandError(Exception):
    """The command cannot do its work: a bad path, an unreadable file, nothing in it."""

    exit_code = 1


class UsageError(CommandError):
    """The arguments do not go together."""

    exit_code = 2
