"""What the command line tools have in common: options, and how an error of the user's is told."""

import os
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

from ..errors import InputError, message_of
from .configuration import OptionsAction, TestOptions, TrainOptions

Options = TypeVar("Options", TrainOptions, TestOptions)


def add_common(parser: ArgumentParser) -> None:
    """Arguments of both tools."""
    parser.add_argument("config", type=Path)
    parser.add_argument("--work-dir", type=Path, help="folder of logs and checkpoints (default: work_dirs/CONFIG_NAME)")
    parser.add_argument(
        "--cfg-options",
        nargs="+",
        action=OptionsAction,
        default={},
        metavar="KEY=VALUE",
        help="entries of the config to change, such as optim_wrapper.optimizer.lr=1e-4",
    )
    parser.add_argument(
        "--launcher",
        choices=("none", "pytorch", "slurm", "mpi"),
        default="none",
        help="what started the processes; pytorch for torchrun",
    )
    parser.add_argument("--local_rank", "--local-rank", type=int, default=0, help="set by launchers other than torchrun")
    parser.add_argument(
        "--demo",
        action="store_true",
        help="the same model on the embedded demo dataset, with a schedule for two CPU cores",
    )


def options_from(kind: type[Options], arguments: Namespace) -> Options:
    """The parsed arguments as options of the tool; a launcher's local rank goes to the environment, where all look for it."""
    os.environ.setdefault("LOCAL_RANK", str(arguments.local_rank))
    return kind(**{field.name: getattr(arguments, field.name) for field in fields(kind)})


def run(tool: Callable[[Options], Any], options: Options) -> None:
    """Runs a tool; an `InputError` ends it with its message alone and exit status 2."""
    try:
        tool(options)
    except InputError as error:
        sys.exit(_tell(error))


def _tell(error: InputError) -> int:
    print(f"error: {message_of(error)}", file=sys.stderr)
    return 2
