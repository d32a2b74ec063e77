"""Survey of a COCO annotation file: the boxes and masks that remain when mmdet has read it. Surveys are cached between runs."""

import json
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from ..config.datasets import chosen
from ..data import annotations
from ..data.coco import LOST, PARTIAL, REASONS, Columns, Table, reasons, state_of, table_of
from ..data.files import write_whole
from ..errors import InputError
from ..version import __version__
from .plausible import contradictions

PARTIAL_MASKS = "polygons of fewer than three points or with an odd count of numbers"
LOST_MASKS = "masks of which nothing can be drawn: RLEs without size or counts, or no polygon of three points"
CACHED_FROM = 8 << 20  # bytes; smaller files are read as fast as a cache
LISTED = 5  # ids that are kept of a long list, as many as a message shows
KEPT = 32  # surveys in the cache
LEFT_OUT = -2  # place of an image that is not taken
FORMAT = 5  # of a cached survey; raise it when what a survey says changes

Some = tuple[int, list[str]]  # a number of annotations, and the first ids


@dataclass
class Survey:
    """Content of a file without faults."""

    names: list[str]  # of images, as `ids`
    ids: list[Any]
    categories: list[str]  # as they are numbered
    annotations: int = 0
    left_out: dict[str, Some] = field(default_factory=dict)  # by the reason why mmdet skips them
    boxes: dict[str, int] = field(default_factory=dict)  # to learn from, by class
    images: int = 0  # with a box to learn from
    crowds: int = 0  # regions to ignore (`iscrowd`)
    without_crowd: Some = (0, [])
    uncounted: Some = (0, [])  # whose id pycocotools takes for "not found"
    crowded: tuple[int, str] = (0, "")  # the largest number of objects in an image, and its name
    odd: list[str] = field(default_factory=list)  # sentences about values that are implausible together
    wrong: list[str] = field(default_factory=list)  # sentences about values that are certainly wrong
    mixed: list[str] = field(default_factory=list)  # lists (images, categories) of which some ids are numbers and others text

    @property
    def targets(self) -> int:
        return sum(self.boxes.values())


@dataclass(frozen=True)
class Reading:
    """Options with which a dataset reads a file."""

    classes: Sequence[str]  # to train
    boxes: bool  # whether it reads annotations like `CocoDataset`
    masks: bool  # whether the pipeline loads them
    annotated: bool  # whether the file must have annotations
    least_side: float = 0  # length in pixels that the shorter side of an image needs, or the image is left out
    full: bool = False  # whether images without objects of the classes are left out
    sorts: bool = False  # whether categories are numbered by their ids, not in the file's order
    indices: int | tuple[int, ...] | None = None  # which of these images are taken; None for all


def survey(path: Path, label: str, reading: Reading) -> Survey:
    """Return the survey of a file, from the cache if neither the file nor the reading changed.

    Args:
        label: how messages name the file.

    Raises:
        InputError: the file cannot be read, or has entries that stop a run.
    """
    place = _place(path, reading)
    if place is not None:
        with suppress(OSError, ValueError, TypeError):
            return Survey(**json.loads(place.read_text(encoding="utf-8")))
    with annotations.without_collector():
        table = read_table(path, label, reading)
    found = _summary(_taken(table, reading), reading)
    if place is not None:
        with suppress(OSError):  # the next run reads the annotation file again
            _remember(place, found)
    return found


def read_table(path: Path, label: str, reading: Reading) -> Table:
    """Read a file and check its entries.

    Raises:
        InputError: see `survey`.
    """
    content = annotations.read(path, label, reading.annotated)
    annotations.check_lists(content, label, reading.classes)
    if reading.boxes:
        annotations.check_annotations(content, label)
    table = table_of(content, reading.boxes)
    if reading.masks and table.columns is not None:
        used = np.flatnonzero(reasons(table, reading.classes) < 0).tolist()
        annotations.check_masks(content, label, used)
        table.columns.mask[used] = [state_of(content["annotations"][place]["segmentation"]) for place in used]
    return table


def _taken(table: Table, reading: Reading) -> Table:
    """Return the table of the images that a dataset takes: `indices` counts those that its filter leaves.

    Raises:
        InputError: `indices` has the number of no image, or leaves none.
    """
    if reading.indices is None:
        return table
    columns, left = table.columns, table.sizes.min(axis=1) >= reading.least_side
    if reading.full and columns is not None:
        wanted = np.array([name in reading.classes for name in table.categories] + [False])
        left &= np.isin(np.arange(len(left)), columns.image[wanted[columns.category]])
    places = sorted({*chosen(np.flatnonzero(left).tolist(), reading.indices)})
    if not places:
        raise InputError(f"indices={reading.indices} leaves no image of {len(table.ids)}. Take it out, or name more")
    if columns is not None:
        moved = np.full(len(left) + 1, LEFT_OUT)
        moved[[*places, -1]] = [*range(len(places)), -1]  # -1 stays the image of strays
        columns = replace(columns, image=moved[columns.image])
        rows = np.flatnonzero(columns.image != LEFT_OUT)
        ids = [columns.ids[row] for row in rows.tolist()]
        columns = Columns(ids, *(getattr(columns, entry.name)[rows] for entry in fields(columns)[1:]))
    names, numbers = ([listed[place] for place in places] for listed in (table.names, table.ids))
    return Table(names, numbers, table.sizes[places], table.categories, table.category_ids, columns)


def _summary(table: Table, reading: Reading) -> Survey:
    found = Survey(table.names, table.ids, by_id(table) if reading.sorts else table.categories)
    lists = dict(images=table.ids, categories=table.category_ids)
    found.mixed = [name for name, ids in lists.items() if len({isinstance(number, str) for number in ids}) > 1]
    columns = table.columns
    if columns is None:
        return found
    found.annotations, found.without_crowd = len(columns.ids), _some(columns, columns.bare)
    why = reasons(table, reading.classes)
    used = why < 0
    found.uncounted = _some(columns, [not number or isinstance(number, str) for number in columns.ids])
    left_out = {reason: why == number for number, reason in enumerate(REASONS)}
    left_out |= {PARTIAL_MASKS: used & (columns.mask == PARTIAL), LOST_MASKS: used & (columns.mask == LOST)}
    found.left_out = {reason: _some(columns, which) for reason, which in left_out.items() if which.any()}
    found.crowds = int((used & columns.crowd).sum())
    # Crowds and masks that cannot be drawn are regions to ignore.
    targets = used & ~columns.crowd & (columns.mask != LOST) & (table.sizes.min(axis=1) >= reading.least_side)[columns.image]
    counts = np.bincount(columns.category[targets], minlength=len(table.categories))
    found.boxes = dict.fromkeys(reading.classes, 0)
    for name, count in zip(table.categories, counts.tolist(), strict=True):
        if name in found.boxes:
            found.boxes[name] += count
    found.images = len(np.unique(columns.image[targets]))
    if targets.any():
        objects = np.bincount(columns.image[targets], minlength=len(table.names))
        found.crowded = (int(objects.max()), table.names[int(objects.argmax())])
    here = columns.image >= 0
    sizes = table.sizes[columns.image[here]]
    found.wrong, found.odd = contradictions(columns.bbox[here], columns.area[here], sizes, columns.crowd[here])
    return found


def by_id(table: Table) -> list[str]:
    pairs = zip(table.category_ids, table.categories, strict=True)
    return [name for _, name in sorted(pairs, key=lambda pair: (isinstance(pair[0], str), pair[0]))]


def _some(columns: Columns, which: Any) -> Some:
    """Return the number of annotations for which `which` (N,) is true, and their first ids."""
    places = np.flatnonzero(which)
    return len(places), [str(columns.ids[place]) for place in places[:LISTED]]


def _place(path: Path, reading: Reading) -> Path | None:
    """Return the cache file for this state of an annotation file; None if the file is too small to be worth it."""
    try:
        about = path.stat()
    except OSError:
        return None
    if about.st_size < CACHED_FROM:
        return None
    text = repr((str(path.resolve()), about.st_size, about.st_mtime_ns, reading, __version__, FORMAT))
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return home / "mmvit" / "annotations" / f"{sha256(text.encode()).hexdigest()}.json"


def _remember(place: Path, found: Survey) -> None:
    """Write a survey to the cache, and take out the oldest."""
    write_whole(place, json.dumps(asdict(found)).encode())
    for old in sorted(place.parent.glob("*.json"), key=os.path.getmtime)[:-KEPT]:
        old.unlink(missing_ok=True)
