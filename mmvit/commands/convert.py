"""`mmvit convert FILE --to TOOLKIT --out FILE`: a checkpoint under another toolkit's names."""

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path

from .options import exit_status


def main(arguments: Sequence[str], prog: str = "python -m mmvit convert") -> int:
    """Convert with the options of the command line; return the exit status."""
    parser = ArgumentParser(prog, description="Writes a backbone or a whole model under the names of another toolkit, exactly.")
    parser.add_argument("file", help="path or address, in any layout that mmvit loads")
    parser.add_argument(
        "--to", required=True, help="authors, mmdet, timm, mmvit, or safetensors (mmvit's names in that format)"
    )
    parser.add_argument("--out", required=True, type=Path, metavar="FILE", help="where to; NAME.safetensors for that format")
    parser.add_argument("--prefix", help="what the names of the wanted tensors begin with, where there are several networks")
    parser.add_argument("--force", action="store_true", help="overwrite FILE")
    return exit_status(_convert, parser.parse_args(arguments))


def _convert(asked: Namespace) -> None:
    from ..weights.convert import convert  # not before it is needed: --help does without torch

    print(f"{asked.out}: {convert(asked.file, asked.to, asked.out, asked.prefix, asked.force)}")
