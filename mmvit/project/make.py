"""From a folder to a project: read, split, decide, write. Nothing is overwritten, and nothing is left half-written."""

import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from ..compat.systems import file_name
from ..config.datasets import SPLITS
from ..errors import InputError, counted, first_few
from . import config, formats, plan, split, writing
from .description import BACKGROUND, Collection
from .folder import Folder
from .survey import Facts, facts_of
from .targets import name_classes, retarget


@dataclass(frozen=True)
class Options:
    """Options of `mmvit new`, under the same names."""

    data: Path
    out: Path | None = None
    arch: str = "van_b0"
    head: str | None = None
    task: plan.Task | None = None
    val: float = 0.2
    group_by: str | None = None
    seed: int = 0
    format: str | None = None
    classes: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Found:
    """A folder that was read, split and judged."""

    folder: Folder
    collection: Collection
    task: plan.Task  # what the model learns
    facts: Facts
    same: list[list[Path]]  # groups of files with the same content
    decisions: list[tuple[str, str]]  # what was decided: what it is about, and a sentence

    @property
    def counted(self) -> list[str]:
        """Classes that objects or pixels are counted of; where objects are drawn into maps, not what is around them."""
        drawn = self.task in plan.PIXELS and not self.collection.has_maps
        return [name for name in self.collection.classes if not (drawn and name == BACKGROUND)]


def find(options: Options) -> Found:
    """Read, split and judge a folder. Raise InputError if its labels were not recognised, or nothing in it can be used."""
    if not 0 < options.val < 1:
        raise InputError(f"--val {options.val:g}: expected a share between 0 and 1, such as 0.2")
    free(options)
    folder = Folder(options.data)
    collection = formats.read(folder, options.format, None if options.task is None else options.task in plan.PIXELS)
    if not collection.pictures or not collection.classes:
        reasons = "\n".join(f"  {len(where)} {what}: {first_few(where, 3)}" for what, where in collection.aside.items())
        raise InputError(f"{options.data}: read as {collection.format}, and nothing in it can be used\n{reasons}")
    if options.classes:
        name_classes(collection, options.classes)
    task, decided = retarget(collection, options.task)
    same = split.doubled(folder, (picture.file for picture in collection.pictures))
    splits = split.complete(collection, options.val, options.seed, options.group_by, same)
    if {*collection.direct} != {picture.split for picture in collection.pictures}:
        collection.direct = {}  # a file has pictures of another split, too
    decisions = [("task", decided), ("splits", splits), *(("labels", note) for note in collection.notes)]
    return Found(folder, collection, task, facts_of(collection, folder.root), same, decisions)


def free(options: Options) -> Path:
    """Return the folder that the project goes to. Raise InputError if there is something, or it lies within the data."""
    data = options.data.resolve()
    out = options.out or Path("projects") / data.name
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out} exists; nothing was written. Remove it, or give another folder with --out DIR")
    if out.resolve().is_relative_to(data):
        raise InputError(f"{out} lies in the folder of the data, which stays as it is. Give another folder with --out DIR")
    return out


def write(options: Options, found: Found, made: plan.Plan) -> tuple[Path, str]:
    """Write the project beside its place, then move it there; return its config, and a sentence on the labels."""
    out = free(options)
    beside = out.with_name(f".{out.name}-{os.getpid()}")
    try:
        beside.mkdir(parents=True)
    except OSError as error:
        raise InputError(f"{out} cannot be written: {error.strerror}. Give another folder with --out DIR") from error
    try:
        files, written = _labels(found, made, beside)
        data, classes = found.folder.root.name, found.collection.classes
        name = file_name(re.sub(r"[^A-Za-z0-9_-]+", "_", data).strip("_"), "config") + ".py"
        title = (
            f"{config.quoted(data)}: {found.facts.pictures['train']} to train, {counted(len(classes), 'class')}, "
            f"from {found.collection.format}; by mmvit new, yours to change"
        )
        writing.save_text(beside / name, config.text(title, made, classes, files))
        if made.source:
            writing.save_text(beside / f"{made.base}.py", made.source)
        if out.exists():
            out.rmdir()  # empty
        beside.rename(out)
    except BaseException:
        shutil.rmtree(beside, ignore_errors=True)
        raise
    return out / name, written


def _labels(found: Found, made: plan.Plan, out: Path) -> tuple[config.Files, str]:
    """Write what the run needs beside the pictures; return where it finds its data, and a sentence on what was written."""
    collection, root = found.collection, found.folder.root
    if made.pixels:
        return _maps(found, out)
    if collection.direct:
        labels = {name: (root / file).as_posix() for name, (file, _) in collection.direct.items()}
        prefixes = {name: dict(img=prefix) for name, (_, prefix) in collection.direct.items()}
        return config.Files(root, labels, prefixes), "annotations are read from your files as they are"
    written = writing.write_coco(collection, out / "annotations")
    labels = {name: f"annotations/{file.name}" for name, file in written.items()}
    prefixes = {name: dict(img="") for name in labels}
    return config.Files(root, labels, prefixes), "annotations were written as COCO JSON; no picture was copied"


def _maps(found: Found, out: Path) -> tuple[config.Files, str]:
    collection = found.collection
    lists = {name: f"splits/{name}.txt" for name in SPLITS if collection.of(name)}
    place, said = writing.parallel(found.folder, collection), "label maps are read from your files as they are"
    if place is None:
        writing.write_maps(found.folder, collection, out / "labels")
        place, said = writing.Parallel("", "labels", ("", ".png")), "label maps were written; no picture was copied"
    writing.write_lists(collection, out / "splits", place.pictures, place.suffixes[0])
    prefixes = {"train": dict(img_path=place.pictures, seg_map_path=place.maps)}
    return config.Files(found.folder.root, lists, prefixes, place.suffixes), said
