"""`mmvit export CONFIG [CHECKPOINT] --to onnx --out FILE`: a trained model as one file, compared with the model."""

from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Sequence
from pathlib import Path

from ..errors import InputError
from .options import exit_status, is_checkpoint

FORMATS = ("onnx", "openvino", "pt2")


def main(arguments: Sequence[str], prog: str = "python -m mmvit export") -> int:
    """Export with the options of the command line; return the exit status."""
    parser = ArgumentParser(prog, description="Writes a trained model as one file that runs without the training stack.")
    parser.add_argument(
        "source",
        metavar="CONFIG",
        help="file or name of a config, folder of a project or training, or a checkpoint that has its config in it; or the "
        "name of an arch, for a backbone alone",
    )
    parser.add_argument(
        "checkpoint",
        nargs="?",
        metavar="CHECKPOINT",
        help="file or URL (left out, the config's best); weights of an arch, such as mmvit://NAME (left out, random ones)",
    )
    parser.add_argument("--to", choices=FORMATS, default="onnx", help="format of the file (default: %(default)s)")
    parser.add_argument("--out", type=Path, required=True, help="the file to write: .onnx, .xml for openvino, or .pt2")
    sizes = parser.add_mutually_exclusive_group()
    sizes.add_argument("--size", type=height_and_width, metavar="HxW", help="take images of this size only, after resizing")
    sizes.add_argument(
        "--dynamic",
        action="store_true",
        help="take images of any size, and of segmenters and backbones any number (the default)",
    )
    parser.add_argument("--score", type=float, help="least score of a detection (default: the config's)")
    parser.add_argument(
        "--raw-masks", action="store_true", help="Mask R-CNN: 28x28 probabilities within the boxes, not masks of the image"
    )
    parser.add_argument("--half", action="store_true", help="half precision, for GPUs, and for CPUs with openvino")
    parser.add_argument(
        "--int8",
        action="store_true",
        help="8-bit integers, if they are faster than float32 on this machine; needs --calibration",
    )
    parser.add_argument(
        "--calibration", type=Path, metavar="DIR", help="with --int8: images that give the ranges of activations"
    )
    parser.add_argument(
        "--force", action="store_true", help="with --int8: write the file even if it is not faster here, for another machine"
    )
    asked = parser.parse_args(arguments)
    if asked.int8 and (asked.half or asked.to == "pt2"):
        parser.error("--int8 goes with --to onnx or --to openvino, and without --half")
    if asked.force and not asked.int8:
        parser.error("--force goes with --int8")
    if asked.int8 != (asked.calibration is not None):
        parser.error("--int8 and --calibration DIR go together: give a folder of images like those that the model will see")
    return exit_status(write, asked)


def write(asked: Namespace) -> None:
    from ..config.work_dirs import best_of
    from ..export.formats import Wanted, export  # not before it is needed: --help does without torch
    from ..export.models import from_arch, from_config
    from ..zoo import list_archs

    first, second = asked.source, asked.checkpoint
    if first in list_archs():
        if asked.raw_masks:
            raise InputError(f"--raw-masks: {first} is a backbone alone and gives no masks; leave it out")
        if asked.score is not None:
            raise InputError(f"--score: {first} is a backbone alone and finds no objects; leave it out")
        exportable = from_arch(first, second)
    else:
        alone = is_checkpoint(first) or (Path(first).is_file() and Path(first).suffix != ".py")
        config, checkpoint = (None, first) if alone and second is None else (first, second or best_of(first))
        exportable = from_config(config, checkpoint, asked.score, asked.raw_masks)
    precision = "int8" if asked.int8 else "float16" if asked.half else "float32"
    difference = export(exportable, asked.out, Wanted(asked.to, asked.size, precision, asked.calibration, asked.force))
    print(f"{asked.out}: {difference}")
    if precision != "float32":
        from ..export.accuracy import loss

        print(f"{asked.out}: {loss(exportable, asked.out)}")


def height_and_width(words: str) -> tuple[int, int]:
    """Return the height and width of an option HxW, in pixels."""
    height, _, width = words.partition("x")
    if not (height.isdecimal() and width.isdecimal()) or min(int(height), int(width)) < 32:
        raise ArgumentTypeError(f"{words!r}: expected HxW such as 512x512, at least 32 pixels a side")
    return int(height), int(width)
