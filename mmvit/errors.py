"""The error that is the user's to mend."""


class InputError(ValueError):
    """A file, key or value from outside is wrong. The message names it, says what was expected and what to do.

    The command line tools print the message alone; anywhere else it is a ValueError like another.
    """


class CheckpointError(InputError):
    """A checkpoint cannot be had, cannot be read, or does not fit the model. Nothing was loaded."""


def message_of(error: InputError) -> str:
    """The message as it was raised: a data worker of torch hands it on wrapped in the worker's traceback."""
    return str(error).rpartition(f"{type(error).__name__}: ")[2].strip()
