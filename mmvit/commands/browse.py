"""`mmvit browse CONFIG`: a page on what a pipeline feeds a model."""

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path

from .cfg_options import add_data_options, config_of
from .options import exit_status


def main(arguments: Sequence[str], prog: str = "python -m mmvit browse") -> int:
    """Browse with the options of the command line; return the exit status."""
    parser = ArgumentParser(prog, description="Shows what a config's pipeline feeds its model: one page of HTML.")
    add_data_options(parser, "train", ("train", "val", "test"))
    parser.add_argument("--out", type=Path, default=Path("data.html"), metavar="FILE", help="page (default: %(default)s)")
    return exit_status(_browse, parser.parse_args(arguments))


def _browse(asked: Namespace) -> None:
    from ..look.browsing import browse  # not before it is needed: --help does without torch

    print(browse(config_of(asked), asked.out, asked.split, asked.images or 200))
