"""Entries of a config as options of the command line."""

import re
from argparse import ArgumentError, ArgumentParser, Namespace
from typing import Any

from mmengine.config import DictAction

from ..config.files import open_config
from ..config.roots import set_data_root
from ..errors import InputError
from .options import add_demo, at_least_one, demo_variant

STAND_IN = "\ue000"  # for a space that is part of a word; Unicode leaves it to programs
SPACES = re.compile(r"""(?<=[^\s,(\['"]) +(?=[^\s,)\]'"])""")  # not at the ends of an entry of a list
DICT = re.compile(r"""dict\(|[=,(\[]\s*['"]*\{(?!:?\w*\}[\w.])""")  # but not a template such as {:06d}.pth


class OptionsAction(DictAction):
    """mmengine's `KEY=VALUE` options, with spaces inside values, which mmengine removes.

    What it cannot parse gets a message instead of an endless recursion.
    """

    def __call__(self, parser: ArgumentParser, namespace: Namespace, values: Any, option_string: str | None = None) -> None:
        for pair in values or ():
            try:
                if DICT.search(pair):
                    raise ValueError("a dict as a value")
                super().__call__(parser, namespace, [pair], option_string)
            except (RecursionError, AssertionError, ValueError) as error:
                raise ArgumentError(
                    self,
                    f"{pair!r} was not understood. Expected KEY=VALUE with numbers, words, [lists] or (tuples), in quotes if "
                    "they have spaces, such as optim_wrapper.optimizer.lr=1e-4 or train_dataloader.batch_size=4. A dict cannot "
                    "be a value: name its entries (KEY.type=NAME KEY.option=VALUE), or write a config of your own",
                ) from error

    @staticmethod
    def _parse_iterable(val: str) -> Any:
        """Parse a value as mmengine does, but keep the spaces between two words."""
        return _with_spaces(DictAction._parse_iterable(SPACES.sub(lambda found: STAND_IN * len(found[0]), val)))


def _with_spaces(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return type(value)(map(_with_spaces, value))
    return value.replace(STAND_IN, " ") if isinstance(value, str) else value


def add_cfg_options(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--cfg-options",
        nargs="+",
        action=OptionsAction,
        default={},
        metavar="KEY=VALUE",
        help="entries of the config to change, such as optim_wrapper.optimizer.lr=1e-4",
    )


def add_data_root(parser: ArgumentParser) -> None:
    parser.add_argument("--data-root", metavar="DIR", help="another copy of the data, for all datasets and evaluators")


def add_data_options(parser: ArgumentParser, split: str, splits: tuple[str, ...]) -> None:
    """Add a config and the choice of its data."""
    parser.add_argument("config", help="a file, the name of one of mmvit's configs, or a project's folder")
    parser.add_argument("--split", choices=splits, default=split, help="part of the data (default: %(default)s)")
    parser.add_argument("--images", type=at_least_one, metavar="N", help="most images to look at")
    add_demo(parser)
    add_cfg_options(parser)
    add_data_root(parser)


def config_of(asked: Namespace) -> Any:
    """Return the config that was asked for, with the options of the command line and the data of a demo.

    Raises:
        InputError: no such config, or options that it cannot take.
    """
    demo = demo_variant(asked.demo)
    cfg = open_config(asked.config, asked.cfg_options, demo)
    if demo is not None:
        if asked.data_root is not None:
            raise InputError("--data-root: not together with --demo, which has data of its own")
        demo.prepare()
    if asked.data_root is not None:
        set_data_root(cfg, asked.data_root)
    return cfg
