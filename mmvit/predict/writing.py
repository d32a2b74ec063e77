"""Output of `mmvit predict`: files that are written whole or not at all, and one JSON file for all images."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ..compat.python import sha256_of
from ..compat.systems import file_name, lock
from ..data.files import whole, write_whole
from ..data.tiff import georeference, label_file
from ..errors import InputError, first_few
from .results import LabelMap, Result

LONGEST_JPEG = 65500  # pixels of a side


class Names:
    """File names for results; one that is taken gets a number, also where case alone differs, which some systems ignore."""

    def __init__(self) -> None:
        self.taken: set[str] = set()

    def new(self, source: str) -> str:
        stem = name = file_name(Path(source).stem, "image")
        number = 1
        while name.casefold() in self.taken:
            number += 1
            name = f"{stem}_{number}"
        self.take([name])
        return name

    def take(self, names: Iterable[str]) -> None:
        self.taken.update(name.casefold() for name in names)


def write_image(path: Path, image: np.ndarray) -> None:
    """Write an image; what is too long for JPEG becomes a PNG."""
    path = path.with_suffix(".png") if max(image.shape[:2]) > LONGEST_JPEG else path
    try:
        content = cv2.imencode(path.suffix, image)[1].tobytes()
    except cv2.error as error:
        raise InputError(f"{path} cannot be made: {str(error).strip()}") from error
    write_whole(path, content)


def write_labels(path: Path, result: LabelMap) -> Path:
    """Write a label map as PNG, or as TIFF if its image has a georeference, which it keeps; return the path."""
    if tags := georeference(result.source):
        path = path.with_suffix(".tif")
        write_whole(path, label_file(result.labels, tags))
    else:
        write_image(path, result.labels)
    return path


class Journal:
    """Results, a line of JSON for each image, which survive whatever ends the process; `join` makes one file of them.

    That file has COCO's layout: `annotations`, `images` and `categories`. The image of a label map has the `shares` of its
    classes. Memory stays constant.

    Args:
        target: file of all results; the journal lies beside it as `.jsonl`.
        head: what has to be the same to go on: the model and its options.
        resume: whether to go on with a journal that is there.
        made: what else the run writes, files or folders.

    Raises:
        InputError: there are results already, or, to resume, none of the same model; or another run is writing there.
    """

    def __init__(self, target: Path, head: Mapping[str, Any], resume: bool = False, made: Iterable[Path] = ()) -> None:
        self.target, self.path = target, target.with_suffix(".jsonl")
        self.head = json.loads(json.dumps(head))
        self.done: dict[str, str] = {}  # sources to the names of their files
        self.last_id = 0
        if resume and not self.path.is_file():
            stopped = f"its run has ended, with {target}" if target.is_file() else "no run was stopped; leave --resume out"
            raise InputError(f"--resume: no {self.path}: {stopped}")
        with ExitStack() as opened:
            opened.enter_context(alone(target))
            kept = self._earlier() if resume else []
            if not resume:
                require_none(target, self.path, *made)
            write_whole(self.path, "".join(json.dumps(line) + "\n" for line in [{"head": self.head}, *kept]).encode())
            self.file = opened.enter_context(self.path.open("a", encoding="utf-8"))
            self.close = opened.pop_all().close

    def _earlier(self) -> list[dict[str, Any]]:
        """Return the lines of an earlier run, without those of a film that it did not finish."""
        head, *lines = list(lines_of(self.path)) or [{}]
        if head.get("head") != self.head:
            known = head.get("head") or {}
            other = [key for key in self.head if known.get(key) != self.head[key]]
            raise InputError(f"--resume: {self.path} was written with another {first_few(other)}. Repeat the command as it was")
        films = {line["film"] for line in lines if "frames" in line}
        kept = [line for line in lines if line.get("film") is None or line["film"] in films]
        ids = [line["image"]["id"] for line in kept if "image" in line]
        self.last_id = max((number for number in ids if isinstance(number, int)), default=0)
        self.done = {line["source"]: line["name"] for line in kept if "name" in line}
        return kept

    def add(self, result: Result, image_id: int | str, categories: Mapping[int, int], **noted: Any) -> None:
        """Write the result of an image.

        Args:
            categories: the dataset's id of each label.
            noted: `name` of the image's files, `film` that it is of, `label_map`.
        """
        height, width = result.size
        image: dict[str, Any] = dict(id=image_id, file_name=result.source, height=height, width=width)
        entries: list[dict[str, Any]] = []
        if isinstance(result, LabelMap):
            image["shares"] = result.shares
            if "label_map" in noted:
                image["label_map"] = noted.pop("label_map")
        else:
            entries = result.to_coco(image_id, categories)
        self.write(dict(source=result.source, image=image, annotations=entries, **noted))

    def write(self, line: dict[str, Any]) -> None:
        self.file.write(json.dumps(line) + "\n")
        self.file.flush()

    def join(self, categories: list[dict[str, Any]], keep: bool = False) -> None:
        """Write the one file of all results; `keep` leaves the journal, for a run that goes on later."""
        self.file.close()
        numbers = count(1)
        images = (line["image"] for line in lines_of(self.path) if "image" in line)
        entries = (dict(entry, id=next(numbers)) for line in lines_of(self.path) for entry in line.get("annotations", ()))
        with whole(self.target) as partial, partial.open("w", encoding="utf-8") as file:
            _list(file.write, '{"annotations": ', entries)
            _list(file.write, ',\n"images": ', images)
            file.write(f',\n"categories": {json.dumps(categories)}}}\n')
        if not keep:
            self.path.unlink()
        self.close()


def lines_of(journal: Path) -> Iterator[dict[str, Any]]:
    """Yield the lines of a journal; a last one that is cut short is left out."""
    with journal.open(encoding="utf-8") as file:
        for line in file:
            try:
                yield json.loads(line)
            except ValueError:
                return


@contextmanager
def alone(target: Path) -> Iterator[None]:
    """Keep other runs away from a file of results. Raise InputError if one is writing it."""
    path = target.with_name(f".{target.name}.lock")
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        if not lock(file):
            raise InputError(
                f"{target}: another run is writing it. Wait until that has ended, or name another folder with --out"
            )
        try:
            yield
        finally:
            with suppress(OSError):  # Windows removes no open file
                path.unlink()


def require_none(*files: Path) -> None:
    """Raise InputError if one of the files of a run is there, or one of its folders with something in it."""
    there = [path for path in files if (any(path.iterdir()) if path.is_dir() else path.exists())]
    if there:
        stopped = any(path.suffix == ".jsonl" for path in there)
        raise InputError(
            f"{there[0]} is there already, and results replace nothing. Name another place with --out or --json"
            + (", or go on with --resume" if stopped else "")
        )


def content_of(file: Any) -> list[str | None] | None:
    """Return the name of a file that results depend on, and its digest, None of an address; None without a file."""
    if file is None:
        return None
    path = Path(str(file))
    parts = [path, path.with_suffix(".bin")] if path.suffix == ".xml" else [path]  # OpenVINO's has its weights beside it
    return [str(file), *(sha256_of(part) if part.is_file() else None for part in parts)]


def _list(write: Callable[[str], object], key: str, entries: Iterator[Any]) -> None:
    write(f"{key}[")
    for number, entry in enumerate(entries):
        write((",\n" if number else "\n") + json.dumps(entry))
    write("\n]")


def numbered(folder: Path, resume: bool = False, target: Path | None = None) -> Path:
    """Return a folder, or FOLDER_2 and so on: the first without results.

    To resume, it is the one that the journal beside `target` names, or else the last with results of a stopped run.
    """
    if resume and target is not None and (journal := target.with_suffix(".jsonl")).is_file():
        return Path(next(lines_of(journal), {}).get("head", {}).get("out", folder))
    names = [folder, *(folder.with_name(f"{folder.name}_{number}") for number in range(2, 1000))]
    if resume:
        stopped = [name for name in names if any(name.glob("*.jsonl")) or any(name.glob(".parts/*/*.jsonl"))]
        return stopped[-1] if stopped else folder
    return next(name for name in names if not name.exists() or (name.is_dir() and not any(name.iterdir())))
