"""What the commands share: options, and how they report errors that a user can mend."""

import sys
from argparse import ArgumentError, ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Callable
from typing import Any

from mmengine.config import DictAction

from ..errors import InputError, message_of

USAGE_ERROR = 2  # exit status of errors that a user can mend, the same as argparse's


class OptionsAction(DictAction):
    """mmengine's `KEY=VALUE` options, with a message for what it cannot parse instead of an endless recursion."""

    def __call__(self, parser: ArgumentParser, namespace: Namespace, values: Any, option_string: str | None = None) -> None:
        for pair in values or ():
            try:
                if "dict(" in pair or "{" in pair:
                    raise ValueError("a dict as a value")
                super().__call__(parser, namespace, [pair], option_string)
            except (RecursionError, AssertionError, ValueError) as error:
                raise ArgumentError(
                    self,
                    f"{pair!r} was not understood. Expected KEY=VALUE with numbers, words, [lists] or (tuples), no spaces, "
                    "such as optim_wrapper.optimizer.lr=1e-4 or train_dataloader.batch_size=4. A dict cannot be a value: "
                    "name its entries (KEY.type=NAME KEY.option=VALUE), or write a config of your own",
                ) from error


def add_cfg_options(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--cfg-options",
        nargs="+",
        action=OptionsAction,
        default={},
        metavar="KEY=VALUE",
        help="entries of the config to change, such as optim_wrapper.optimizer.lr=1e-4",
    )


def add_demo(parser: ArgumentParser) -> None:
    """Add the option for the embedded datasets, which comes after the config: `--demo`, `--demo trees`."""
    parser.add_argument(
        "--demo",
        nargs="?",
        const="digits",
        choices=("digits", "trees"),
        help="the same model on an embedded demo dataset, with a schedule for two CPU cores (default: digits); after CONFIG",
    )


def demo_variant(name: str | None) -> Any:
    """Return the variant of configs that a demo is, None for none; demos need more packages than a training."""
    if name is None:
        return None
    if name == "trees":
        from ..demo.trees_recipe import TREES

        return TREES
    from ..demo.recipe import DEMO

    return DEMO


def at_least_one(word: str) -> int:
    """Return a whole number from 1: the type of an option."""
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
