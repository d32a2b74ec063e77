"""Commands `train` and `test`, and their options."""

import os
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

from ..config.short_options import SHORT
from ..engine.trackers import TRACKERS
from .cfg_options import add_cfg_options, add_data_root
from .options import add_demo, demo_variant, exit_status

Options = TypeVar("Options")  # TrainOptions or TestOptions
AMP = ("auto", "float16", "bfloat16")


def training(arguments: Sequence[str], prog: str = "python -m mmvit train") -> int:
    """Train with the options of the command line; return the exit status."""
    parser = ArgumentParser(prog, description="Trains a detector or segmenter.")
    add_common(parser)
    parser.add_argument(
        "--resume",
        nargs="?",
        const="auto",
        metavar="PATH",
        help="continue from PATH, or from the newest checkpoint of the work dir",
    )
    parser.add_argument(
        "--amp",
        nargs="?",
        const="auto",
        type=amp_of,
        metavar="auto|float16|bfloat16",
        help="mixed precision; auto, the default of --amp, is float16 on a GPU, and bfloat16 on CPUs with units for it",
    )
    parser.add_argument(
        "--new-schedule",
        action="store_true",
        help="with --resume: learning rate, weight decay and schedule as the config has them now, not as the checkpoint has",
    )
    parser.add_argument(
        "--auto-scale-lr",
        action="store_true",
        help="scale the learning rate from auto_scale_lr.base_batch_size to your total batch",
    )
    for entry in SHORT:
        name = f"--{entry.name.replace('_', '-')}"
        parser.add_argument(name, type=entry.metadata["kind"], metavar="N", help=entry.metadata["help"])
    parser.add_argument(
        "--minutes", type=float, metavar="N", help="shorten training and schedules so that it ends within N minutes"
    )
    for name in TRACKERS:
        help = f"send figures and config to {name}, too"
        parser.add_argument(f"--{name}", action="append_const", const=name, dest="track", default=[], help=help)
    asked = parser.parse_args(arguments)
    from ..engine.configuration import TrainOptions  # torch, not before it is needed: --help does without
    from ..engine.launch import train

    return run(train, TrainOptions, asked)


def evaluation(arguments: Sequence[str], prog: str = "python -m mmvit test") -> int:
    """Evaluate a checkpoint with the options of the command line; return the exit status."""
    parser = ArgumentParser(prog, description="Evaluates a checkpoint.")
    add_common(parser)
    parser.add_argument(
        "checkpoint",
        nargs="?",
        help="a file or an address: of our runs, mmdet's, mmseg's or the authors' (default: the best of the work dir)",
    )
    parser.add_argument("--out", type=Path, help="predictions: a .pkl file for detection, a folder of PNGs for segmentation")
    parser.add_argument(
        "--no-labels",
        action="store_true",
        help="images alone: write the files of a submission to --out (OUT.bbox.json, OUT.segm.json; a folder of label maps)",
    )
    parser.add_argument("--show-dir", type=Path, help="folder for images with predictions beside ground truth")
    parser.add_argument("--tta", action="store_true", help="test-time augmentation: several scales and flips")
    asked = parser.parse_args(arguments)
    from ..engine.configuration import TestOptions  # as above
    from ..engine.launch import test

    return run(test, TestOptions, asked)


def add_common(parser: ArgumentParser) -> None:
    """Add the arguments of both commands."""
    parser.add_argument(
        "config", help="a file, the name of one of mmvit's configs, such as retinanet_pvt_small_coco, or a project's folder"
    )
    parser.add_argument("--compile", action="store_true", help="run backbone and neck through torch.compile")
    parser.add_argument("--work-dir", type=Path, help="folder of logs and checkpoints (default: work_dirs/CONFIG_NAME)")
    add_cfg_options(parser)
    add_data_root(parser)
    parser.add_argument(
        "-v", "--verbose", action="store_true", help="show environment, config and hooks, too; the log has them"
    )
    parser.add_argument(
        "--launcher",
        choices=("none", "pytorch", "slurm", "mpi"),
        default="none",
        help="what started the processes; pytorch for torchrun",
    )
    parser.add_argument("--local_rank", "--local-rank", type=int, default=0, help="set by launchers other than torchrun")
    add_demo(parser)


def amp_of(word: str) -> str:
    """Return a value of --amp, after checking it."""
    if word not in AMP:
        raise ArgumentTypeError(f"{word!r}: expected {', '.join(AMP)}; a CONFIG comes before --amp, or write --amp=bfloat16")
    return word


def run(command: Callable[[Options], Any], kind: type[Options], asked: Namespace) -> int:
    """Run a command with options of its `kind`.

    A launcher's local rank goes into the environment, where everybody looks for it.
    """
    os.environ.setdefault("LOCAL_RANK", str(asked.local_rank))
    words = {**vars(asked), "variant": demo_variant(asked.demo)}
    options = kind(**{field.name: words[field.name] for field in fields(kind)})  # type: ignore[arg-type]  # both are dataclasses
    return exit_status(command, options)
