"""`mmvit predict [CONFIG] CHECKPOINT INPUT...`: results of a trained model on images and videos."""

import signal
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path
from threading import current_thread, main_thread

from ..compat.systems import processor
from ..errors import InputError
from .options import at_least_one, exit_status, is_checkpoint


def main(arguments: Sequence[str], prog: str = "python -m mmvit predict") -> int:
    """Predict with the options of the command line; return 0, 1 where images were left out, 130 after Ctrl-C, or 2."""
    parser = ArgumentParser(prog, description="Finds objects or labels pixels in images and videos.")
    parser.add_argument(
        "first",
        metavar="[CONFIG] CHECKPOINT",
        help="config (file or name; left out, the checkpoint's own is used) and checkpoint (after the folder of a project or "
        "of a training: its best, if left out)",
    )
    parser.add_argument("others", nargs="*", metavar="INPUT", help="images, folders, globs, videos")
    parser.add_argument("--out", type=Path, metavar="DIR", help="where to (default: predictions, or predictions_2 and so on)")
    parser.add_argument("--score", type=float, default=0.3, help="least score of an object (default: %(default)s)")
    parser.add_argument("--classes", nargs="+", metavar="NAME", help="only these classes of objects")
    parser.add_argument("--batch-size", type=at_least_one, default=1, help="images of one size in one pass")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1 (default: %(default)s)")
    parser.add_argument(
        "--precision",
        choices=("auto", "float32", "bfloat16", "float16"),
        help="auto is what the processor computes in (default: float32, or what an exported file was written for)",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="results of all images (default: DIR/predictions.json)")
    parser.add_argument(
        "--ann", type=Path, metavar="FILE", help="file in COCO's format: its image and category ids in the results"
    )
    parser.add_argument(
        "--format",
        choices=("coco", "yolo", "csv", "cvat", "labelstudio"),
        default="coco",
        help="write the objects for this tool, too, beside the JSON in COCO's format",
    )
    parser.add_argument("--resume", action="store_true", help="go on with a run that was stopped")
    parser.add_argument("--recursive", action="store_true", help="take the images of subfolders, too")
    parser.add_argument(
        "--pages", choices=("first", "all"), default="first", help="of TIFF files and animations (default: %(default)s)"
    )
    parser.add_argument("--show-boxes", action="store_true", help="draw boxes around masks, too")
    parser.add_argument("--no-overlays", action="store_true", help="write no pictures")
    parser.add_argument("--tta", action="store_true", help="test-time augmentation: several scales and flips")
    parser.add_argument("--tile", type=at_least_one, metavar="N", help="cut larger images into tiles of N x N pixels")
    parser.add_argument(
        "--overlap", type=float, default=0.2, metavar="R", help="share of a tile that neighbours have in common (%(default)s)"
    )
    asked = parser.parse_args(arguments)
    return exit_status(_predict, asked)


def _predict(asked: Namespace) -> int:
    config, checkpoint, inputs = parts([asked.first, *asked.others])
    from ..predict.prediction import Options, Prediction  # not before they are needed: --help does without torch
    from ..predict.predictor import Predictor
    from ..predict.shares import start
    from ..predict.writing import numbered

    names = ("device", "score", "batch_size", "precision", "tta", "tile", "overlap")
    if checkpoint is None:
        from ..config.work_dirs import best_of  # needs mmengine, which exported files do without

        checkpoint = best_of(str(config))
    share = start()
    predictor = Predictor(config, checkpoint, **{name: getattr(asked, name) for name in names})
    if asked.precision == "auto" and share.is_first:
        print(f"--precision auto: {predictor.precision} on {processor()}")
    same = {name: getattr(asked, name) for name in ("json", "classes", "recursive", "ann", "format", "resume")}
    shown = dict(overlays=not asked.no_overlays, boxes=asked.show_boxes, every_page=asked.pages == "all")
    out = asked.out or share.same(numbered(Path("predictions"), asked.resume, asked.json))
    prediction = Prediction(predictor, Options(out, **same, **shown), share)
    if current_thread() is not main_thread():  # no place for a handler of signals
        return prediction.run(inputs)
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)  # keep what is done, as after Ctrl-C
    try:
        return prediction.run(inputs)
    finally:
        signal.signal(signal.SIGTERM, before)


def parts(words: Sequence[str]) -> tuple[str | None, str | None, Sequence[str]]:
    """Return config (or None), checkpoint (or None, for the best of a project, whose folder comes first) and inputs.

    Raises:
        InputError: words are lacking.
    """
    rest = list(words)
    config = None if is_checkpoint(rest[0]) else rest.pop(0)
    named = bool(rest) and is_checkpoint(rest[0])
    checkpoint = None if config is not None and not named and Path(config).is_dir() else next(iter(rest), None)
    inputs = rest if checkpoint is None else rest[1:]
    if not inputs:
        raise InputError(f"expected [CONFIG] CHECKPOINT INPUT..., got {' '.join(words)}")
    return config, checkpoint, inputs
