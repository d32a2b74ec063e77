"""What the commands share: types of options, and how an error of the user's is told. Imports nothing of the stack."""

import sys
from argparse import ArgumentTypeError
from collections.abc import Callable
from typing import Any

from ..errors import InputError, message_of

USAGE_ERROR = 2  # exit status for what the user has to mend, as argparse has it


def at_least_one(word: str) -> int:
    """Type of an option: a whole number from 1."""
    if not word.isdecimal() or int(word) < 1:
        raise ArgumentTypeError(f"{word!r}: expected a whole number from 1")
    return int(word)


def exit_status(command: Callable[..., Any], *arguments: Any) -> int:
    """Run a command and return its exit status: 2 after an `InputError`, of which the message alone is printed."""
    try:
        command(*arguments)
    except InputError as error:
        print(f"error: {message_of(error)}", file=sys.stderr)
        return USAGE_ERROR
    return 0
