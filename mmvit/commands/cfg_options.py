"""Entries of a config as options of the command line."""

from argparse import ArgumentError, ArgumentParser, Namespace
from typing import Any

from mmengine.config import DictAction


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
