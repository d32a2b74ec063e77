"""`mmvit inspect FILE`: what an exported ONNX file tells about itself."""

import json
from argparse import ArgumentParser
from collections.abc import Sequence
from pathlib import Path

from ..export.formats import metadata_of
from .options import exit_status


def main(arguments: Sequence[str], prog: str = "python -m mmvit inspect") -> int:
    """Print the metadata of a file; return the exit status."""
    parser = ArgumentParser(prog, description="What an exported ONNX file tells about itself.")
    parser.add_argument("file", type=Path, help="an ONNX file that `mmvit export` wrote")
    return exit_status(show, parser.parse_args(arguments).file)


def show(file: Path) -> None:
    for name, value in metadata_of(file).items():
        print(f"{name:18}  {json.dumps(value)}")
