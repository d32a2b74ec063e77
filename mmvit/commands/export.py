"""`mmvit export CONFIG CHECKPOINT --to onnx --out FILE`: a trained model as one file, compared with the model."""

from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Sequence
from pathlib import Path

from ..export.formats import FORMATS, export
from ..export.models import from_arch, from_config
from ..recipes.files import config_file
from ..zoo import list_archs
from .options import exit_status


def main(arguments: Sequence[str], prog: str = "python -m mmvit export") -> int:
    """Export as the words of the command line say; return the exit status."""
    parser = ArgumentParser(prog, description="Write a trained model as one file that runs without the training stack.")
    parser.add_argument("config", help="a config's file or name, or the name of an arch for a backbone alone")
    parser.add_argument("checkpoint", nargs="?", help="weights; for an arch also mmvit://NAME, or none for random ones")
    parser.add_argument("--to", choices=FORMATS, default="onnx", help="format of the file")
    parser.add_argument("--out", type=Path, required=True, help="the file to write")
    sizes = parser.add_mutually_exclusive_group()
    sizes.add_argument("--size", type=height_and_width, metavar="HxW", help="take pictures of this size only")
    sizes.add_argument("--dynamic", action="store_true", help="take pictures of any size (the default)")
    parser.add_argument("--score", type=float, help="least score of a detection; by default the config's")
    return exit_status(write, parser, parser.parse_args(arguments))


def write(parser: ArgumentParser, asked: Namespace) -> None:
    if asked.config in list_archs():
        exportable = from_arch(asked.config, asked.checkpoint)
    elif asked.checkpoint is None:
        parser.error("a config needs the checkpoint of its model")
    else:
        exportable = from_config(config_file(asked.config), Path(asked.checkpoint), asked.score)
    told = export(exportable, asked.to, asked.out, asked.size)
    print(f"{asked.out}: {told}")


def height_and_width(words: str) -> tuple[int, int]:
    """Type of an option: HxW in pixels."""
    height, _, width = words.partition("x")
    if not (height.isdecimal() and width.isdecimal()) or min(int(height), int(width)) < 32:
        raise ArgumentTypeError(f"{words!r}: expected HxW such as 512x512, at least 32 pixels a side")
    return int(height), int(width)
