"""Options that commands share, and the report of errors that a user can mend. It imports nothing of the stack."""

import errno
import sys
import warnings
from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..compat.systems import FULL
from ..errors import InputError, message_of

CHECKPOINTS = (".pth", ".pt", ".bin", ".tar", ".safetensors", ".index.json", ".onnx", ".xml", ".pt2")
FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)
TAKEN = (errno.EEXIST, errno.ENOTDIR, errno.EISDIR)  # by a file where a folder is wanted, or by a folder
USAGE_ERROR = 2  # exit status of errors that a user can mend, like argparse's


def add_demo(parser: ArgumentParser) -> None:
    """Add the option for the embedded dataset: `--demo`."""
    parser.add_argument(
        "--demo", action="store_true", help="the same model on an embedded demo dataset, with a schedule for two CPU cores"
    )


def demo_variant(asked: bool) -> Any:
    """Return the variant of configs for the demo, None without it; it needs more packages than a training."""
    if not asked:
        return None
    from ..demo.recipe import DEMO

    return DEMO


def is_checkpoint(word: str) -> bool:
    """Return whether an argument names a checkpoint, and neither a config nor a folder."""
    return "://" in word or word.lower().endswith(CHECKPOINTS)


def at_least_one(word: str) -> int:
    """Return the value of an option that is a whole number from 1."""
    if not word.isdecimal() or int(word) < 1:
        raise ArgumentTypeError(f"{word!r}: expected a whole number from 1")
    return int(word)


def exit_status(command: Callable[..., Any], *arguments: Any) -> int:
    """Run a command and return its exit status, 0 if it returns none.

    After an `InputError`, on a full disk, without permission or where a file and a folder are confused, the message alone is
    printed, and the status is 2.
    """
    try:
        with _remarks():
            status = command(*arguments)
    except (InputError, OSError) as error:
        if isinstance(error, OSError):
            place = error.filename or "a file"
            if error.errno in FULL:
                error = InputError(f"{place} cannot be written: the disk is full. Free some of it")
            elif error.errno in FORBIDDEN:
                error = InputError(f"{place}: {error.strerror}. Mend its permissions, or name another place")
            elif error.errno in TAKEN:
                error = InputError(f"{place}: {error.strerror}, where a file or a folder is to be written. Name another place")
            else:
                raise
        print(f"error: {message_of(error)}", file=sys.stderr)
        return USAGE_ERROR
    return status if isinstance(status, int) else 0


@contextmanager
def _remarks() -> Iterator[None]:
    """Print warnings of this package as notes, without the line of source that Python adds."""
    shown, ours = warnings.showwarning, str(Path(__file__).parents[1])

    def tell(message: Warning | str, category: type[Warning], filename: str, lineno: int, *more: Any) -> None:
        if filename.startswith(ours):
            print(f"note: {message}", file=sys.stderr)
        else:
            shown(message, category, filename, lineno, *more)

    warnings.showwarning = tell  # type: ignore[assignment]
    try:
        yield
    finally:
        warnings.showwarning = shown
