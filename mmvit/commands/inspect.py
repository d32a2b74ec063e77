"""`mmvit inspect FILE`: what an exported file tells about itself."""

import json
from argparse import ArgumentParser
from collections.abc import Sequence

from .options import exit_status


def main(arguments: Sequence[str], prog: str = "python -m mmvit inspect") -> int:
    """Print the metadata of a file; return the exit status."""
    parser = ArgumentParser(prog, description="Shows what an exported model tells about itself.")
    parser.add_argument("file", help="what `mmvit export` wrote: .onnx, .xml or .pt2")
    return exit_status(show, parser.parse_args(arguments).file)


def show(file: str) -> None:
    from ..predict.sessions import open_session

    for name, value in open_session(file, "cpu").metadata.items():
        print(f"{name:18}  {json.dumps(value, ensure_ascii=False)}")
