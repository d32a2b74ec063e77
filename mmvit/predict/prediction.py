"""Prediction on files: images and videos in, a folder of pictures and label maps and one JSON file out."""

import os
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import InputError, counted, message_of, nearest
from .drawing import can_draw, draw
from .films import Film
from .formats import FORMATS, LIBRARY, Format, label_names, pictures
from .ids import Ids
from .predictor import Predictor
from .progress import progress
from .results import Detections, LabelMap, Result
from .sessions import needed
from .shares import ALONE, PARTS, Share, joined
from .sources import FILMS, Source, pages, paths, tell_of
from .writing import Journal, Names, content_of, lines_of, require_none, write_image, write_labels

SOME_FAILED, STOPPED = 1, 130  # exit statuses


@dataclass(frozen=True)
class Options:
    """What to write, and of which files."""

    out: Path  # folder of `overlays/` and, from segmenters, `labels/`
    json: Path | None = None  # file for all results; by default `predictions.json` in `out`
    classes: Sequence[str] | None = None  # names of the classes whose objects are kept; by default all
    overlays: bool = True  # whether to draw the results, on pictures and videos
    boxes: bool = False  # whether to draw boxes around masks
    recursive: bool = False  # whether to take the images of subfolders, too
    every_page: bool = False  # whether to take all pages of TIFF files and animations
    ann: Path | None = None  # file in COCO's format whose image and category ids the results shall have
    format: str = "coco"  # tool to write the objects for, too: a key of `FORMATS`, or coco, whose JSON is always written
    resume: bool = False  # whether to go on with a run that was stopped


class Prediction:
    """Run of a model over files, with its outputs and its progress.

    Raises:
        InputError: the model does not have a class, or is a segmenter, for which neither classes nor a format can be chosen;
            `ann` lacks a class; or, in `run`, there are results already.
    """

    journal: Journal

    def __init__(self, predictor: Predictor, options: Options, share: Share = ALONE) -> None:
        self.predictor, self.options, self.share = predictor, options, share
        self.parts, self.out = options.out / PARTS, options.out
        self.target = options.json or options.out / "predictions.json"
        if self.target.suffix != ".json":  # any other may be that of the journal, or of a file of --format
            raise InputError(f"--json {self.target}: expected the name of a file that ends in .json")
        read = predictor.loaded.read
        if options.every_page and (hasattr(read, "windows") or getattr(read, "color_type", "color") == "unchanged"):
            raise InputError("--pages all: pages become 8-bit BGR, and the model reads files as they are; leave it out")
        if share.processes > 1:
            self.out = self.parts / str(share.rank)
        self.overlays = options.overlays and can_draw()
        self.labels = None if options.classes is None else self._labels(options.classes)
        self.format = None if options.format == "coco" else self._format(options.format)
        self.ids = Ids(predictor, options.ann)
        self.names = Names()
        self.order: dict[str, list[int]] = {}  # places of this process's images among all, those of videos behind
        self.label_names: dict[str, str] = {}
        self.done, self.failed = 0, 0
        predictor.tell = self._tell

    def run(self, inputs: Sequence[str]) -> int:
        """Predict on images, folders, globs and videos, write each result at once, and return the exit status.

        The status is 0, 1 if images were left out or a video is not whole, or 130 after Ctrl-C.

        Raises:
            InputError: a folder or glob has no images, there are results already, or results cannot be written.
        """
        options = self.options
        named = [path for word in inputs for path in paths(word, options.recursive, self._tell_once, options.out)]
        files = list({os.path.abspath(path): path for path in reversed(named)}.values())[::-1]
        if again := len(named) - len(files):
            self._tell_once(f"{counted(again, 'file')} named again: each is taken once")
        films = [path for path in files if path.suffix.lower() in FILMS]
        images = [path for path in files if path.suffix.lower() not in FILMS]
        if moved := self.ids.claim(images):
            self._tell_once(f"{counted(moved, 'image')} found in --ann by name alone: it has other folders")
        if options.format == "yolo":
            self.label_names = label_names(images)
        self._open()
        began, earlier, journal = time.perf_counter(), len(self.journal.done), self.journal.path
        try:
            stopped, counts = self._all(images, films)
            if self.share.is_first and (not stopped or self.share.processes == 1):
                self._join(stopped)
        except OSError as error:
            raise InputError(
                f"{error.filename or self.out} cannot be written: {error.strerror or error}. The results of "
                f"{self.done + earlier} images are in {journal}; the same command with --resume goes on"
            ) from error
        finally:
            self.journal.close()
        done, failed, earlier = map(sum, zip(*counts, strict=True))
        if self.share.is_first:
            rate = done / (time.perf_counter() - began)
            before = f", {earlier} done before" if earlier else ""
            words = f"{counted(done, 'image')}{before}, {rate:.2f} images/s, written to {self.options.out}"
            words += f"; {failed} left out or not whole" if failed else ""
            print(f"{words}; stopped, --resume goes on" if stopped else words)
        if not stopped:
            self.share.all(None)  # torchrun ends all processes when one ends with a status
        return STOPPED if stopped else SOME_FAILED if failed else 0

    def _all(self, images: Sequence[Path], films: Sequence[Path]) -> tuple[bool, list[tuple[int, int, int]]]:
        """Predict on this process's files; return whether it was stopped, and the counts of all processes."""
        known = self.share.is_first and not films and not self.options.every_page
        try:
            with progress(-(-len(images) // self.share.processes) if known else None) as self.advance:
                for result, pixels in self.predictor.with_pixels(self._sources(images), failed=self._failed):
                    self._image(self._chosen(result), pixels)
                for number, film in enumerate(films):
                    if self.share.has(number) and str(film) not in self.journal.done:
                        self.order[str(film)] = [1, number]
                        self._film(film)
            return False, self.share.all((self.done, self.failed, len(self.journal.done)))
        except KeyboardInterrupt:
            return True, [(self.done, self.failed, len(self.journal.done))]

    def _join(self, stopped: bool) -> None:
        """Make the files of all results; those of a run that was stopped as well."""
        if self.share.processes > 1:
            self._join_parts()
        categories = self.ids.categories
        if self.format is not None:
            names = [entry["name"] for entry in categories]
            found = pictures(lines_of(self.journal.path), categories, self.label_names)
            self.format.write(found, names, self.options.out)
        self.journal.join(categories, keep=stopped)
        if self.share.processes > 1:
            shutil.rmtree(self.parts)

    def _join_parts(self) -> None:
        """Make one journal of all processes', with the ids that one process gives. What is done of it may be done again."""
        self.journal.close()
        self.target.with_suffix(".jsonl").unlink(missing_ok=True)
        parts = {folder: lines_of(folder / "predictions.jsonl") for folder in sorted(self.parts.iterdir())}
        self.journal, self.ids.last = Journal(self.target, self.journal.head), self.ids.highest
        for line in joined(parts, self.options.out, Names()):
            if "image" in line and (self.options.ann is None or "film" in line):
                line["image"]["id"] = number = self.ids.new()
                line["annotations"] = [dict(entry, image_id=number) for entry in line["annotations"]]
            self.journal.write(line)

    def _format(self, tool: str) -> Format:
        if self.predictor.loaded.scope == "mmseg":
            raise InputError(
                f"--format {tool}: it is for objects, and this model labels every pixel: its PNGs are in DIR/labels"
            )
        needed(*LIBRARY)
        if self.target in [self.options.out / name for name in FORMATS[tool].made]:
            raise InputError(f"--json {self.target}: --format {tool} writes a file of that name; name another")
        return FORMATS[tool]

    def _made(self) -> list[Path]:
        """Return what a run writes below --out beside its journal: a new one does not begin where some of it is."""
        names = ["overlays"] * self.overlays + ["labels"] * (self.predictor.loaded.scope == "mmseg")
        names += self.format.made if self.format is not None else ()
        return [self.parts / "0/predictions.jsonl", *(self.options.out / name for name in names)]

    def _open(self) -> None:
        """Open the journal, once it is known that there are files."""
        settings, options = self.predictor.settings, self.options
        config = [settings["config"], getattr(self.predictor.loaded, "digest", None)]
        head = settings | dict(config=config, checkpoint=content_of(settings["checkpoint"]))
        head |= dict(ann=content_of(options.ann), classes=options.classes, categories=self.ids.categories)
        head |= dict(out=str(options.out), pages=options.every_page, overlays=options.overlays, boxes=options.boxes)
        target, resume, made = self.target, options.resume, self._made()
        self.share.require(self.parts, target.with_suffix(".jsonl"), resume)
        if self.share.processes > 1:
            head["processes"] = self.share.processes
            if not resume:
                require_none(target, target.with_suffix(".jsonl"), *made)
            target, made = self.out / "predictions.json", []
            resume = resume and target.with_suffix(".jsonl").is_file()
            self.share.all(None)  # nobody has looked for earlier results when somebody writes
        self.journal = Journal(target, head, resume, made)
        self.ids.last = max(self.ids.last, self.journal.last_id)
        self.names.take(self.journal.done.values())

    def _sources(self, files: Sequence[Path]) -> Iterator[Source]:
        """Yield the images that no earlier run has done."""
        tell = tell_of(self.predictor.loaded.read, self._tell_once)
        every = (source for file in files for source in pages(file, self.options.every_page, tell))
        for number, source in enumerate(every):
            if self.share.has(number) and source.name not in self.journal.done:
                self.order[source.name] = [0, number]
                yield source

    def _place(self, source: str) -> dict[str, list[int]]:
        """Return what a line of the journal notes about the place of an image or a video among all."""
        return {} if self.share.processes == 1 else dict(order=self.order[source])

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
        self.journal.add(result, number, self.ids.of_labels, name=name, **noted, **self._place(result.source))
        self._count()

    def _film(self, path: Path) -> None:
        name = self.names.new(str(path))
        try:
            film = Film(path, self.out / "overlays" / f"{name}.mp4" if self.overlays else None)
        except InputError as error:
            self._failed(error)
            return
        before = self.done

        def lost(error: InputError) -> None:
            if self.done == before:  # all frames have one size
                raise InputError(f"video {path}: none of its frames is used; {message_of(error)}") from error
            self._failed(error)

        try:
            for found, frame in self.predictor.with_pixels(film.read(), failed=lost):
                result = self._chosen(found)
                if self.overlays:
                    film.add(self._drawn(frame, result))
                number = int(found.source.rpartition(" ")[2])
                numbered = dict(film=str(path), name=f"{name}_{number:06d}", **self._place(str(path)))
                self.journal.add(result, self.ids.new(), self.ids.of_labels, **numbered)
                self._count()
            film.finish()
            end = dict(source=str(path), name=name, film=str(path), frames=film.frames)  # all of them are there
            self.journal.write(end | self._place(str(path)))
            film.require_whole()
        except InputError as error:
            self._failed(error)
        finally:
            film.close()

    def _drawn(self, pixels: np.ndarray, result: Result) -> np.ndarray:
        return draw(pixels, result, self.predictor.loaded.palette, self.options.boxes)

    def _count(self) -> None:
        self.done += 1
        self.advance()

    def _failed(self, error: InputError) -> None:
        self.failed += 1
        print(f"left out: {message_of(error)}", file=sys.stderr)

    def _tell_once(self, remark: str) -> None:
        if self.share.is_first:
            self._tell(remark)

    def _tell(self, remark: str) -> None:
        print(f"note: {remark}", file=sys.stderr)
