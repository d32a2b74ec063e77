"""Writes configs: python tools/make_config.py upernet_van_b3_cityscapes [NAME ...] [--out DIR] [--force], or --all."""

import sys
from argparse import ArgumentParser
from pathlib import Path

import mmvit  # noqa: F401  (its compat must be in place before mmengine is used)
from mmvit.errors import InputError, message_of
from mmvit.leaves import MakeOptions, make


def parse(words: list[str] | None = None) -> MakeOptions:
    parser = ArgumentParser(description=__doc__)
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help="HEAD_FAMILY_ARCH_DATASET; a wrong part is answered with the valid ones"
    )
    parser.add_argument("--all", action="store_true", help="the configs that the repository has")
    parser.add_argument(
        "--out", type=Path, default=MakeOptions.out, metavar="DIR", help="where to write (default: %(default)s)"
    )
    parser.add_argument("--force", action="store_true", help="overwrite files that differ")
    return MakeOptions(**vars(parser.parse_args(words)))


if __name__ == "__main__":
    try:
        make(parse())
    except InputError as error:
        print(f"error: {message_of(error)}", file=sys.stderr)
        sys.exit(2)
