"""Errors that a user can mend, and helpers for their messages."""

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from typing import Any


class InputError(ValueError):
    """Wrong file, key or value from outside. The message names it, says what was expected and what to do.

    The command line tools print the message alone; elsewhere it is a ValueError like any other.
    """


class CheckpointError(InputError):
    """Checkpoint that is not available, cannot be read, or does not fit the model. Nothing was loaded."""


def message_of(error: InputError) -> str:
    """Return the message of an error, also if torch has wrapped it in the traceback of a data worker."""
    return str(error).rpartition(f"{type(error).__name__}: ")[2].strip()


def brief(error: BaseException) -> str:
    """Return the message of an InputError; of any other error, its type and its first paragraph, if any, on one line."""
    if isinstance(error, InputError):
        return str(error)
    words = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)  # str() of a KeyError adds quotes
    return ": ".join(filter(None, [type(error).__name__, " ".join(words.strip().split("\n\n")[0].split())]))


def nearest(name: str, names: Iterable[str], most: int = 3, cutoff: float = 0.4, otherwise: str | None = None) -> str:
    """Return a hint for an unknown name: the names most like it, or `otherwise`, by default all names, if none is like it."""
    known = list(names)
    near = get_close_matches(name, known, n=most, cutoff=cutoff)
    if near:
        return f"did you mean {' or '.join(near)}?"
    return f"there are {', '.join(known)}" if otherwise is None else otherwise


def first_few(names: Sequence[Any], most: int = 5, total: int | None = None) -> str:
    """Return the first few of many names, and how many more there are; `total`, if `names` are not all of them."""
    total = len(names) if total is None else total
    rest = f" and {total - most} more" if total > most else ""
    return ", ".join(map(str, names[:most])) + rest


def counted(number: int, unit: str) -> str:
    """Return a number with its unit in the singular or plural, such as `1 image`, `1,300 images` or `2 classes`."""
    ending = "" if number == 1 else "es" if unit.endswith(("s", "x")) else "s"
    return f"{number:,} {unit}{ending}"
