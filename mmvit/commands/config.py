"""`mmvit config NAME ...`: write configs."""

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path

from .options import exit_status


def main(arguments: Sequence[str], prog: str = "python -m mmvit config") -> int:
    """Write the configs that the command line names; return the exit status."""
    parser = ArgumentParser(prog, description="Writes configs, such as upernet_van_b3_cityscapes.")
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help="HEAD_FAMILY_ARCH_DATASET; for a wrong part, the valid ones are listed"
    )
    parser.add_argument("--all", action="store_true", help="the configs that the repository has")
    parser.add_argument(
        "--out", type=Path, default=Path("configs"), metavar="DIR", help="folder to write to (default: %(default)s)"
    )
    parser.add_argument("--force", action="store_true", help="overwrite files that differ")
    asked = parser.parse_args(arguments)
    if not asked.names and not asked.all:
        parser.error("no config named. Give names such as upernet_van_b3_cityscapes, or --all for the committed ones")
    return exit_status(write, asked)


def write(asked: Namespace) -> None:
    from ..recipes.configs import committed, make, parse  # torch, not before it is needed: --help does without

    wanted = [parse(name) for name in asked.names] + (committed() if asked.all else [])
    for path in make(wanted, asked.out, asked.force):
        print(path)
