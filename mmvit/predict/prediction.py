"""Prediction on files: images and videos in, a folder of pictures and label maps and one JSON file out."""

import json
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError, first_few, message_of, nearest
from .drawing import draw, require_drawing
from .films import Film
from .formats import FORMATS, LIBRARY, pictures
from .predictor import Predictor
from .results import Detections, LabelMap, Result
from .sessions import needed
from .sources import FILMS, Source, pages, paths, tell_of
from .writing import Journal, Names, write_image, write_labels

SOME_FAILED, STOPPED = 1, 130  # exit statuses


@dataclass(frozen=True)
class Options:
    """What to write, and of which files.

    Attributes:
        out: folder of `overlays/` and, from segmenters, `labels/`.
        json: file for all results; by default `predictions.json` in `out`.
        classes: names of the classes whose objects are kept; by default all.
        overlays: whether to draw the results, on pictures and videos.
        boxes: whether to draw boxes around masks.
        recursive: whether to take the images of subfolders, too.
        every_page: whether to take all pages of TIFF and GIF files.
        ann: file in COCO's format whose image and category ids the results shall have.
        format: tool for which the objects are written, too: a key of `FORMATS`, or coco, whose JSON is always written.
        resume: whether to go on with a run that was stopped.
    """

    out: Path
    json: Path | None = None
    classes: Sequence[str] | None = None
    overlays: bool = True
    boxes: bool = False
    recursive: bool = False
    every_page: bool = False
    ann: Path | None = None
    format: str = "coco"
    resume: bool = False


class Prediction:
    """Run of a model over files, with its outputs and its progress.

    Raises:
        InputError: the model does not have a class, or is a segmenter, for which neither classes nor a format can be chosen;
            `ann` lacks a class; or, in `run`, there are results already.
    """

    def __init__(self, predictor: Predictor, options: Options) -> None:
        self.predictor, self.options, self.out = predictor, options, options.out
        self.overlays = options.overlays and can_draw()
        self.labels = None if options.classes is None else self._labels(options.classes)
        self.write_format = None if options.format == "coco" else self._writer(options.format)
        self.ids = Ids(predictor, options.ann)
        self.names = Names()
        self.done, self.failed = 0, 0
        predictor.tell = self._tell

    def run(self, inputs: Sequence[str]) -> int:
        """Predict on images, folders, globs and videos, write each result at once, and return the exit status.

        The status is 0, 1 if images were left out or a video is not whole, or 130 after Ctrl-C.

        Raises:
            InputError: a folder or glob has no images, there are results already, or results cannot be written.
        """
        files = [path for word in inputs for path in paths(word, self.options.recursive, self._tell)]
        films = [path for path in files if path.suffix.lower() in FILMS]
        images = [path for path in files if path.suffix.lower() not in FILMS]
        self._open()
        began, stopped = time.perf_counter(), False
        try:
            with progress(len(images) if not films and not self.options.every_page else None) as self.advance:
                for result, pixels in self.predictor.with_pixels(self._sources(images), failed=self._failed):
                    self._image(self._chosen(result), pixels)
                for film in films:
                    if str(film) not in self.journal.done:
                        self._film(film)
        except KeyboardInterrupt:
            stopped = True
        except OSError as error:
            raise InputError(
                f"{error.filename or self.out} cannot be written: {error.strerror or error}. The results of {self.done} images "
                f"are in {self.journal.path}; the same command with --resume goes on"
            ) from error
        self._join(stopped)
        before = f", {len(self.journal.done)} done before" if self.journal.done else ""
        rate = self.done / (time.perf_counter() - began)
        words = f"{self.done} images{before}, {rate:.2f} images/s, written to {self.out}"
        words += f"; {self.failed} left out or not whole" if self.failed else ""
        print(f"{words}; stopped, --resume goes on" if stopped else words)
        return STOPPED if stopped else SOME_FAILED if self.failed else 0

    def _join(self, stopped: bool) -> None:
        """Make the files of all results; those of a run that was stopped as well."""
        categories = self.ids.categories
        if self.write_format is not None:
            names = [entry["name"] for entry in categories]
            self.write_format(pictures(self.journal.lines(), categories), names, self.out)
        self.journal.join(categories, keep=stopped)

    def _writer(self, tool: str) -> Callable[..., None]:
        if self.predictor.loaded.scope == "mmseg":
            raise InputError(
                f"--format {tool}: it is for objects, and this model labels every pixel: its PNGs are in DIR/labels"
            )
        needed(*LIBRARY)
        return FORMATS[tool]

    def _open(self) -> None:
        """Open the journal, once it is known that there are files."""
        head = dict(self.predictor.settings, classes=self.options.classes, categories=self.ids.categories)
        self.journal = Journal(self.options.json or self.out / "predictions.json", head, self.options.resume)
        self.ids.last = self.journal.last_id
        self.names.take(self.journal.done.values())

    def _sources(self, files: Sequence[Path]) -> Iterator[Source]:
        """Yield the images that no earlier run has done."""
        for file in files:
            for source in pages(file, self.options.every_page, tell_of(self.predictor.loaded.read, self._tell)):
                if source.name not in self.journal.done:
                    yield source

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

    def _image(self, result: Result, pixels: np.ndarray) -> None:
        try:
            number = self.ids.of(result.source)
            name, noted = self.names.new(result.source), {}
            if isinstance(result, LabelMap):
                labels = write_labels(self.out / "labels" / f"{name}.png", result)
                noted["label_map"] = str(labels)
            if self.overlays:
                write_image(self.out / "overlays" / f"{name}.jpg", self._drawn(pixels, result))
        except (InputError, MemoryError) as error:
            self._failed(
                InputError(f"image {result.source}: {message_of(error) if isinstance(error, InputError) else 'no memory'}")
            )
            return
        self.journal.add(result, number, self.ids.of_labels, name=name, **noted)
        self._count()

    def _film(self, path: Path) -> None:
        name = self.names.new(str(path))
        try:
            film = Film(path, self.out / "overlays" / f"{name}.mp4" if self.overlays else None)
        except InputError as error:
            self._failed(error)
            return
        try:
            for number, (found, frame) in enumerate(self.predictor.with_pixels(film.read(), "bgr", self._failed)):
                result = self._chosen(replace(found, source=f"{path} frame {number}"))
                if self.overlays:
                    film.add(self._drawn(frame, result))
                self.journal.add(result, self.ids.new(), self.ids.of_labels, film=str(path), name=f"{name}_{number:06d}")
                self._count()
            self.journal.end_film(str(path), name, film.frames)
            film.require_whole()
        except InputError as error:
            self._failed(error)
        finally:
            film.close()

    def _drawn(self, pixels: np.ndarray, result: Result) -> np.ndarray:
        return draw(pixels, result, self.predictor.loaded.palette, self.options.boxes)

    def _count(self) -> None:
        self.done += 1
        self.advance(1)

    def _failed(self, error: InputError) -> None:
        self.failed += 1
        print(f"left out: {message_of(error)}", file=sys.stderr)

    def _tell(self, remark: str) -> None:
        print(f"note: {remark}", file=sys.stderr)


class Ids:
    """Ids of images and categories: those of a file in COCO's format, or else of the model's training, or else from 1.

    Args:
        predictor: the model.
        ann: the file.

    Raises:
        InputError: it cannot be read, or lacks a class of the model.
    """

    def __init__(self, predictor: Predictor, ann: Path | None) -> None:
        classes = predictor.classes
        self.last = 0
        self.images: dict[str, list[tuple[str, Any]]] | None = None  # paths and ids by the last part of the path
        numbers: Sequence[int] = predictor.loaded.category_ids or range(1, len(classes) + 1)
        if ann is not None:
            content = read_coco(ann)
            self.images = defaultdict(list)
            for image in content["images"]:
                path = Path(image["file_name"])
                self.images[path.name].append((path.as_posix(), image["id"]))
            known = {category["name"]: category["id"] for category in content["categories"]}
            if lacking := [name for name in classes if name not in known]:
                raise InputError(f"--ann {ann}: no categories named {first_few(lacking)}; it has {first_few(list(known))}")
            numbers = [known[name] for name in classes]
        self.of_labels = dict(enumerate(numbers))
        self.categories = [dict(id=number, name=name) for number, name in zip(numbers, classes, strict=True)]
        self.file = ann

    def new(self) -> int:
        self.last += 1
        return self.last

    def of(self, source: str) -> Any:
        """Return the id of an image.

        Raises:
            InputError: the file has no image of that name, or several.
        """
        if self.images is None:
            return self.new()
        path, named = Path(source).as_posix(), self.images.get(Path(source).name, [])
        fitting = [entry for entry in named if path == entry[0] or path.endswith(f"/{entry[0]}")] or named
        if len(fitting) != 1:
            raise InputError(f"--ann {self.file} has {len(fitting) or 'no'} images of that name; its id is not known")
        return fitting[0][1]


def read_coco(path: Path) -> Mapping[str, Any]:
    """Return the content of a file in COCO's format. Raise InputError if it cannot be read or lacks images or categories."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        for part, name in (("images", "file_name"), ("categories", "name")):
            if lacking := [key for entry in content[part] for key in ("id", name) if key not in entry]:
                raise KeyError(f"an entry of {part} has no {lacking[0]}")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"--ann {path}: expected a JSON file with COCO's images and categories ({type(error).__name__}: {error})"
        ) from error
    return content


def can_draw() -> bool:
    """Return whether the packages that draw are here, and say what to install if not."""
    try:
        require_drawing()
    except InputError as error:
        print(f"no overlays: {error}", file=sys.stderr)
        return False
    return True


@contextmanager
def progress(total: int | None) -> Iterator[Callable[[int], object]]:
    """Yield a function that advances a bar on a terminal; there is no bar where rich is not installed."""
    try:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
    except ImportError:
        yield lambda count: None
        return
    columns = (TextColumn("images"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as bar:
        yield partial(bar.advance, bar.add_task("images", total=total))
