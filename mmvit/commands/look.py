"""`mmvit look CONFIG CHECKPOINT IMAGE...`: contact sheets of what a model sees."""

from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Sequence
from pathlib import Path

from .options import exit_status


def main(arguments: Sequence[str], prog: str = "python -m mmvit look") -> int:
    """Look with the options of the command line; return the exit status."""
    parser = ArgumentParser(
        prog,
        description="Shows what a model sees: maps of each level, attention, class activation and receptive fields of a point.",
    )
    parser.add_argument("config", help="a file, the name of one of mmvit's configs, or a project's folder")
    parser.add_argument("checkpoint", help="file of a training")
    parser.add_argument("images", nargs="+", metavar="IMAGE", help="image files, folders, globs")
    parser.add_argument("--out", type=Path, default=Path("look"), metavar="DIR", help="where to (default: %(default)s)")
    parser.add_argument("--at", type=point, metavar="X,Y", help="pixel of the image to look from (default: the middle)")
    parser.add_argument("--class", dest="name", metavar="NAME", help="class of the activation (default: of the surest object)")
    parser.add_argument("--score", type=float, default=0.3, help="least score of an object (default: %(default)s)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1 (default: %(default)s)")
    return exit_status(_look, parser.parse_args(arguments))


def point(word: str) -> tuple[float, float]:
    """Return the two numbers of an option X,Y."""
    try:
        x, y = map(float, word.split(","))
    except ValueError:
        raise ArgumentTypeError(f"{word!r}: expected two numbers, such as 120,80") from None
    return x, y


def _look(asked: Namespace) -> None:
    from ..look.sheet import look  # not before it is needed: --help does without torch
    from ..predict.predictor import Predictor
    from ..predict.sources import paths

    files = [str(path) for word in asked.images for path in paths(word)]
    predictor = Predictor(asked.config, asked.checkpoint, device=asked.device, score=asked.score)
    for file in look(predictor, files, asked.out, asked.at, asked.name):
        print(file)
