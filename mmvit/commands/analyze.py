"""`mmvit analyze CONFIG CHECKPOINT`: a page on where a trained model fails."""

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..config.files import config_file, load_config
from ..errors import InputError
from .cfg_options import add_cfg_options
from .options import add_demo, at_least_one, demo_variant, exit_status


def main(arguments: Sequence[str], prog: str = "python -m mmvit analyze") -> int:
    """Analyze with the options of the command line; return the exit status."""
    parser = ArgumentParser(prog, description="Shows where a trained model fails: one page of HTML.")
    add_data_options(parser, "val", ("val", "test"))
    parser.add_argument("checkpoint", help="file of a training")
    parser.add_argument("--out", type=Path, default=Path("analysis.html"), metavar="FILE", help="page (default: %(default)s)")
    parser.add_argument("--score", type=float, default=0.3, help="from which detections count as there (default: %(default)s)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1 (default: %(default)s)")
    return exit_status(_analyze, parser.parse_args(arguments))


def add_data_options(parser: ArgumentParser, split: str, splits: tuple[str, ...]) -> None:
    """Add a config and the choice of its data."""
    parser.add_argument("config", help="a file, or the name of one of mmvit's configs")
    parser.add_argument("--split", choices=splits, default=split, help="part of the data (default: %(default)s)")
    parser.add_argument("--images", type=at_least_one, metavar="N", help="most images to look at")
    add_demo(parser)
    add_cfg_options(parser)


def config_of(asked: Namespace) -> Any:
    """Return the config that was asked for, with the options of the command line.

    Raises:
        InputError: no such config, or options that it cannot take.
    """
    cfg = load_config(config_file(asked.config))
    if (demo := demo_variant(asked.demo)) is not None:
        demo.change(cfg, asked.cfg_options)
        demo.prepare()
    try:
        cfg.merge_from_dict(asked.cfg_options)
    except Exception as error:
        raise InputError(f"--cfg-options {asked.cfg_options} do not fit {asked.config}: {error}") from error
    return cfg


def _analyze(asked: Namespace) -> None:
    from ..look.analysis import analyze, lines_of  # not before it is needed: --help does without torch

    cfg = config_of(asked)
    metrics = analyze(cfg, asked.checkpoint, asked.out, asked.split, asked.score, asked.device, asked.images)
    print(f"{', '.join(lines_of(metrics))}; see {asked.out}")
