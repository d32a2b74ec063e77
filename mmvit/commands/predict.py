"""`mmvit predict [CONFIG] CHECKPOINT INPUT...`: results of a trained model on images and videos."""

import sys
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError, message_of, nearest
from .options import at_least_one, exit_status

CHECKPOINTS = (".pth", ".pt", ".safetensors", ".onnx", ".xml", ".pt2")
SOME_FAILED, STOPPED = 1, 130  # exit statuses


def main(arguments: Sequence[str], prog: str = "python -m mmvit predict") -> int:
    """Predict as the words of the command line say; return 0, 1 where images were left out, 130 after Ctrl-C, or 2."""
    parser = ArgumentParser(prog, description="Finds objects or labels pixels in images and videos.")
    parser.add_argument(
        "words",
        nargs="+",
        metavar="[CONFIG] CHECKPOINT INPUT",
        help="config (file or name; left out, the checkpoint's own is used), checkpoint, images, folders, globs, videos",
    )
    parser.add_argument("--out", type=Path, default=Path("predictions"), metavar="DIR", help="where to (default: %(default)s)")
    parser.add_argument("--score", type=float, default=0.3, help="least score of an object (default: %(default)s)")
    parser.add_argument("--classes", nargs="+", metavar="NAME", help="only these classes of objects")
    parser.add_argument("--batch-size", type=at_least_one, default=1, help="images of one size in one pass")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1 (default: %(default)s)")
    parser.add_argument("--dtype", choices=("float16", "bfloat16"), help="reduced precision (default: full)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="results of all images (default: DIR/predictions.json)")
    parser.add_argument("--show-boxes", action="store_true", help="draw boxes around masks, too")
    parser.add_argument("--no-overlays", action="store_true", help="write no pictures")
    parser.add_argument("--tta", action="store_true", help="test-time augmentation: several scales and flips")
    parser.add_argument("--tile", type=at_least_one, metavar="N", help="cut larger images into tiles of N x N pixels")
    parser.add_argument(
        "--overlap", type=float, default=0.2, metavar="R", help="share of a tile that neighbours have in common (%(default)s)"
    )
    asked = parser.parse_args(arguments)
    status = [0]
    return exit_status(_predict, asked, status) or status[0]


def _predict(asked: Namespace, status: list[int]) -> None:
    config, checkpoint, inputs = parts(asked.words)
    from ..predict.predictor import Predictor  # not before it is needed: --help does without torch

    names = ("device", "score", "batch_size", "dtype", "tta", "tile", "overlap")
    predictor = Predictor(config, checkpoint, **{name: getattr(asked, name) for name in names})
    status[0] = Prediction(predictor, asked).run(inputs)


def parts(words: Sequence[str]) -> tuple[str | None, str, Sequence[str]]:
    """Return config (or None), checkpoint and inputs.

    Raises:
        InputError: words are lacking.
    """
    words = list(words)
    config = None if "://" in words[0] or words[0].endswith(CHECKPOINTS) else words.pop(0)
    if len(words) < 2:
        raise InputError(f"expected [CONFIG] CHECKPOINT INPUT..., got {' '.join([*([config] if config else []), *words])}")
    return config, words[0], words[1:]


class Prediction:
    """One call of the command: what was asked, and what came out."""

    def __init__(self, predictor: Any, asked: Namespace) -> None:
        from ..predict.writing import Names

        self.predictor, self.asked = predictor, asked
        self.names = Names()
        self.done, self.failed = 0, 0
        self.began = time.perf_counter()
        self.labels = self._labels()

    def run(self, inputs: Sequence[str]) -> int:
        """Predict, write as results come, and return the exit status."""
        from ..predict.sources import paths
        from ..predict.writing import JsonFile, split

        images, videos = split(inputs)
        files = [path for word in images for path in paths(word)]
        stopped = False
        with JsonFile(self.asked.json or self.asked.out / "predictions.json", self.predictor.classes) as self.json:
            try:
                for result in self.predictor(files, failed=self._failed):
                    self._image(self._chosen(result))
                    self._progress(len(files))
                for video in videos:
                    self._video(video)
            except KeyboardInterrupt:
                stopped = True
        seconds = time.perf_counter() - self.began
        words = f"{self.done} images, {self.done / seconds:.2f} images/s, written to {self.asked.out}"
        words += f"; {self.failed} left out" if self.failed else ""
        print(f"{words}; stopped" if stopped else words)
        return STOPPED if stopped else SOME_FAILED if self.failed else 0

    def _labels(self) -> list[int] | None:
        if self.asked.classes is None:
            return None
        if self.predictor.loaded.scope == "mmseg":
            raise InputError("--classes: it chooses among objects, and this model labels every pixel; leave it out")
        known = self.predictor.classes
        for name in self.asked.classes:
            if name not in known:
                raise InputError(f"--classes: the model has no class {name!r}; {nearest(name, known)}")
        return [known.index(name) for name in self.asked.classes]

    def _chosen(self, result: Any) -> Any:
        return result if self.labels is None else result.select(np.isin(result.labels, self.labels))

    def _image(self, result: Any) -> None:
        from ..predict.drawing import draw
        from ..predict.results import LabelMap
        from ..predict.writing import write_image

        name, labels = self.names.new(result.source), None
        if isinstance(result, LabelMap):
            labels = self.asked.out / "labels" / f"{name}.png"
            write_image(labels, result.labels)
        if not self.asked.no_overlays:
            picture = draw(self.predictor.read(result.source), result, self.predictor.loaded.palette, self.asked.show_boxes)
            write_image(self.asked.out / "overlays" / f"{name}.jpg", picture)
        self.json.add(result, labels)
        self.done += 1

    def _video(self, path: Path) -> None:
        from dataclasses import replace

        from ..predict.writing import Film

        out = None if self.asked.no_overlays else self.asked.out / "overlays" / f"{self.names.new(str(path))}.mp4"
        try:
            film = Film(path, out)
        except InputError as error:
            self._failed(error)
            return
        try:
            for number, result in enumerate(self.predictor(film.read(), channels="bgr")):
                result = self._chosen(replace(result, source=f"{path} frame {number}"))
                film.add(result, self.predictor.loaded.palette, self.asked.show_boxes)
                self.json.add(result)
                self.done += 1
                self._progress(None)
        finally:
            film.close()

    def _failed(self, error: InputError) -> None:
        self.failed += 1
        print(f"left out: {message_of(error)}", file=sys.stderr)

    def _progress(self, total: int | None) -> None:
        if sys.stderr.isatty():
            rate = self.done / (time.perf_counter() - self.began)
            print(f"\r{self.done}{f' of {total}' if total else ''} images, {rate:.2f} images/s ", end="", file=sys.stderr)
