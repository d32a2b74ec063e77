"""The commands `train` and `test`: options, which config is meant, and how an error of the user's is told."""

import os
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

from ..engine.configuration import TestOptions, TrainOptions
from ..recipes.files import config_file
from .cfg_options import add_cfg_options
from .options import exit_status

Options = TypeVar("Options", TrainOptions, TestOptions)


def training(arguments: Sequence[str], prog: str = "python -m mmvit train") -> int:
    """Trains as the words of the command line say; returns the exit status."""
    parser = ArgumentParser(prog, description="Trains a detector or segmenter.")
    add_common(parser)
    parser.add_argument(
        "--resume",
        nargs="?",
        const="auto",
        metavar="PATH",
        help="go on from PATH, or from the newest checkpoint of the work dir",
    )
    parser.add_argument("--amp", action="store_true", help="mixed precision on a GPU")
    parser.add_argument(
        "--auto-scale-lr",
        action="store_true",
        help="scale the learning rate from auto_scale_lr.base_batch_size to the batch at hand",
    )
    parser.add_argument("--tensorboard", action="store_true", help="write TensorBoard logs beside the others")
    asked = parser.parse_args(arguments)
    from ..engine.launch import train  # not before it is needed: --help and the doctor do without

    return run(train, TrainOptions, asked)


def evaluation(arguments: Sequence[str], prog: str = "python -m mmvit test") -> int:
    """Evaluates a checkpoint as the words of the command line say; returns the exit status."""
    parser = ArgumentParser(prog, description="Evaluates a checkpoint.")
    add_common(parser)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--out", type=Path, help="predictions: a .pkl file for detection, a folder of PNGs for segmentation")
    parser.add_argument("--show-dir", type=Path, help="folder for images with predictions beside ground truth")
    parser.add_argument("--tta", action="store_true", help="test-time augmentation: several scales and flips")
    asked = parser.parse_args(arguments)
    from ..engine.launch import test  # as above

    return run(test, TestOptions, asked)


def add_common(parser: ArgumentParser) -> None:
    """Arguments of both commands."""
    parser.add_argument("config", help="a file, or the name of one of mmvit's configs, such as retinanet_pvt_small_coco")
    parser.add_argument("--work-dir", type=Path, help="folder of logs and checkpoints (default: work_dirs/CONFIG_NAME)")
    add_cfg_options(parser)
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


def run(command: Callable[[Options], Any], kind: type[Options], asked: Namespace) -> int:
    """Run a command with options of its `kind`; a launcher's local rank goes to the environment, where all look for it."""
    os.environ.setdefault("LOCAL_RANK", str(asked.local_rank))
    return exit_status(_run, command, kind, asked)


def _run(command: Callable[[Options], Any], kind: type[Options], asked: Namespace) -> None:
    variant = None
    if asked.demo:
        from ..demo.recipe import DEMO  # which needs more packages than a training

        variant = DEMO
    words = {**vars(asked), "config": config_file(asked.config), "variant": variant}
    command(kind(**{field.name: words[field.name] for field in fields(kind)}))
