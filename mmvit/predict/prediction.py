"""Prediction on files: images and videos in, a folder of pictures and label maps and one JSON file out."""

import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from ..errors import InputError, message_of, nearest
from .drawing import draw, require_drawing
from .predictor import Predictor
from .results import Detections, LabelMap, Result
from .sources import paths
from .writing import Film, JsonFile, Names, split, write_image

SOME_FAILED, STOPPED = 1, 130  # exit statuses


class Prediction:
    """Run of a model over files, with its outputs and its progress.

    Args:
        predictor: the model.
        out: folder of `overlays/` and, from segmenters, `labels/`.
        json: file for all results; by default `predictions.json` in `out`.
        classes: names of the classes whose objects are kept; by default all.
        overlays: whether to draw the results, on pictures and videos.
        boxes: whether to draw boxes around masks.

    Raises:
        InputError: the model does not have a class, or is a segmenter, for which classes cannot be chosen.
    """

    def __init__(
        self,
        predictor: Predictor,
        out: Path,
        json: Path | None = None,
        classes: Sequence[str] | None = None,
        overlays: bool = True,
        boxes: bool = False,
    ) -> None:
        self.predictor, self.out, self.overlays, self.boxes = predictor, out, overlays, boxes
        if overlays:
            try:
                require_drawing()
            except InputError as error:
                self.overlays = False
                print(f"no overlays: {error}", file=sys.stderr)
        self.labels = None if classes is None else self._labels(classes)
        self.json = JsonFile(json or out / "predictions.json", predictor.classes)
        self.names = Names()
        self.done, self.failed = 0, 0
        self.began = time.perf_counter()

    def run(self, inputs: Sequence[str]) -> int:
        """Predict on images, folders, globs and videos, write each result at once, and return the exit status.

        The status is 0, 1 if images were left out, or 130 after Ctrl-C.

        Raises:
            InputError: a folder or glob has no images, or results cannot be written.
        """
        images, videos = split(inputs)
        files = [path for word in images for path in paths(word)]
        stopped = False
        with self.json:
            try:
                for result in self.predictor(files, failed=self._failed):
                    self._image(self._chosen(result))
                    self._progress(len(files))
                for video in videos:
                    self._video(video)
            except KeyboardInterrupt:
                stopped = True
        if sys.stderr.isatty():
            print(file=sys.stderr)  # the line of the progress
        seconds = time.perf_counter() - self.began
        words = f"{self.done} images, {self.done / seconds:.2f} images/s, written to {self.out}"
        words += f"; {self.failed} left out" if self.failed else ""
        print(f"{words}; stopped" if stopped else words)
        return STOPPED if stopped else SOME_FAILED if self.failed else 0

    def _labels(self, names: Sequence[str]) -> list[int]:
        if self.predictor.loaded.scope == "mmseg":
            raise InputError("--classes: it chooses among objects, and this model labels every pixel; leave it out")
        known = self.predictor.classes
        for name in names:
            if name not in known:
                raise InputError(f"--classes: the model has no class {name!r}; {nearest(name, known)}")
        return [known.index(name) for name in names]

    def _chosen(self, result: Result) -> Result:
        if self.labels is None or not isinstance(result, Detections):
            return result
        return result.select(np.isin(result.labels, self.labels))

    def _image(self, result: Result) -> None:
        name, labels = self.names.new(result.source), None
        if isinstance(result, LabelMap):
            labels = self.out / "labels" / f"{name}.png"
            write_image(labels, result.labels)
        if self.overlays:
            picture = draw(self.predictor.read(result.source), result, self.predictor.loaded.palette, self.boxes)
            write_image(self.out / "overlays" / f"{name}.jpg", picture)
        self.json.add(result, labels)
        self.done += 1

    def _video(self, path: Path) -> None:
        out = self.out / "overlays" / f"{self.names.new(str(path))}.mp4" if self.overlays else None
        try:
            film = Film(path, out)
        except InputError as error:
            self._failed(error)
            return
        try:
            for number, found in enumerate(self.predictor(film.read(), channels="bgr")):
                result = self._chosen(replace(found, source=f"{path} frame {number}"))
                film.add(result, self.predictor.loaded.palette, self.boxes)
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
