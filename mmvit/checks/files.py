"""Every image, label map and mask of a config's datasets, opened for `python -m mmvit doctor CONFIG --data`.

The checks before every run open a few files at most. This one opens all of them, once before the first run.
"""

import multiprocessing
import os
import sys
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import cv2
import numpy as np
from PIL import Image
from rich.console import Console
from rich.progress import track

from ..compat.systems import cores
from ..config.datasets import LOADERS, DatasetView
from ..data import annotations
from ..data.bands import LoadBands
from ..data.coco import reasons, table_of
from ..data.images import LoadImage
from ..data.label_maps import IGNORED, LoadLabelMap
from ..data.orientation import orientation
from ..data.tiff import NEARLY_BLACK
from ..errors import InputError, first_few
from .findings import Finding, doubtful, not_checked, ok, wrong
from .plan import Plan
from .survey import Survey
from .targets import Labels, absent_classes, labels_of, pixel_fault, pixels, reader_of

CHUNK = 16  # images that a process gets at a time
LINES = 3  # items that a finding lists in full


# An image: the dict that the first step of the pipeline takes, and `segmentation` of its annotations by their ids.
Entry = tuple[dict[str, Any], dict[Hashable, Any]]


@dataclass
class Opened:
    """Findings in an image, its label map and its masks."""

    traits: list[str] = field(default_factory=list)  # peculiarities that training handles
    pixels: np.ndarray | None = None  # (256,), number of pixels of each label in the label map, as training gets them
    faults: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))  # to mend, by kind


@dataclass(frozen=True)
class Source:
    """A dataset whose files can be opened: `labels` of one with label maps, or else a `summary` of its annotations."""

    entries: list[Entry]
    open_one: Callable[[Entry], Opened]
    labels: Labels | None = None
    summary: str = ""


def check_files(plan: Plan) -> Iterator[Finding]:
    """Open all files of the datasets, once if splits share a dataset."""
    shared: dict[str, list[DatasetView]] = {}
    for view in plan.datasets:
        if not any(view.absent()):
            shared.setdefault(str(sorted((name, str(value)) for name, value in view.config.items())), []).append(view)
    for views in shared.values():
        first = views[0]
        found = plan.surveyed(first) if first.is_coco else None
        if first.is_coco and found is None:
            continue  # the check of annotations says why
        label = ", ".join(view.key for view in views)
        source = source_of(first, found)
        if source is None:
            how = f"this check does not know how {first.type_name} reads its files"
            yield not_checked(f"{label}: not opened; {how}")
        else:
            yield from findings(label, source, open_all(source, label))


def source_of(view: DatasetView, found: Survey | None) -> Source | None:
    """Return the files that a run reads of a dataset; None if this check does not know the dataset's type or reading steps."""
    load = reader_of(view, LoadImage, ("LoadImage", "LoadImageFromFile")) or reader_of(view, LoadBands, ("LoadBands",))
    if load is None:
        return None
    if found is not None and view.reads_boxes:
        return coco_source(view, found, partial(open_one, load, None, 0))
    if (reader := view.label_map_reader()) is not None:
        labels, load_labels = labels_of(reader), reader_of(view, LoadLabelMap, LOADERS)
        entries: list[Entry] = [(entry, {}) for entry in view.chosen(reader.load_data_list())]
        return Source(entries, partial(open_one, load, load_labels, len(labels.classes)), labels)
    return None


def coco_source(view: DatasetView, found: Survey, open_one: Callable[[Entry], Opened]) -> Source:
    file, classes = view.ann_file, view.classes()
    content = annotations.read(file, str(file), annotated=False)
    listed = content.setdefault("annotations", [])
    masks: dict[Hashable, dict[Hashable, Any]] = defaultdict(dict)
    for place in np.flatnonzero(reasons(table_of(content), classes) < 0).tolist() if view.reads_masks else ():
        masks[listed[place]["image_id"]][listed[place]["id"]] = listed[place]["segmentation"]
    total, taken = len(found.names), set(found.ids)
    summary = f"{found.targets} of {found.annotations} are used, {total - found.images} of {total} images have none"
    if crowds := sum(bool(entry.get("iscrowd")) for entry in listed if entry["image_id"] in taken):
        summary += f", {crowds} are crowds, which are ignored"
    if not view.for_training:  # the check of annotations says it of those
        counts = np.array([found.boxes.get(name, 0) for name in classes])
        summary += f"; {absent_classes(counts, Labels(tuple(classes), reduced=False)) or 'every class occurs'}"
    entries = [
        (
            dict(img_path=str(view.image_folder / image["file_name"]), height=image["height"], width=image["width"]),
            masks.get(image["id"], {}),
        )
        for image in content["images"]
        if image["id"] in taken
    ]
    return Source(entries, open_one, summary=summary)


def open_all(source: Source, label: str) -> list[Opened]:
    """Open every image, with a progress bar on a terminal."""
    forks = "fork" in multiprocessing.get_all_start_methods()  # a fresh process would import torch first, for nothing
    context = multiprocessing.get_context("fork" if forks else None)
    with ProcessPoolExecutor(cores(), context, initializer=quietly) as pool:
        opened = pool.map(source.open_one, source.entries, chunksize=CHUNK)
        console, silent = Console(stderr=True), not sys.stderr.isatty()
        return list(track(opened, label, total=len(source.entries), console=console, disable=silent))


def quietly() -> None:
    """Use one thread in this process, and silence libpng and OpenCV: findings report what is wrong."""
    cv2.setNumThreads(0)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)


def open_one(load: LoadImage | LoadBands, load_labels: LoadLabelMap | None, classes: int, entry: Entry) -> Opened:
    seen, results, masks = Opened(), dict(entry[0]), entry[1]
    path = results["img_path"]
    try:
        results = load.transform(results) or results
        seen.traits = traits(path, results["img"]) if results["img"].dtype == np.uint8 else []  # bands are read as they are
        if "16-bit" in seen.traits and results["img"].max() < NEARLY_BLACK:
            kind = "images come out nearly black: of 16 bits only the upper 8 are read; convert them to 8 bits"
            seen.faults[kind].append(path)
    except InputError as error:
        seen.faults["images cannot be used"].append(f"{error}")
        results.pop("ori_shape", None)
    if load_labels is not None:
        try:
            seen.pixels = pixels(load_labels.transform(results)["gt_seg_map"])
        except InputError as error:
            seen.faults["label maps cannot be used"].append(f"{error}")
        else:
            present = np.flatnonzero(seen.pixels[:IGNORED]).tolist()
            if strange := [label for label in present if label >= classes]:
                shift = "; in the file each is one more" if results["reduce_zero_label"] else ""
                found = f"{results['seg_map_path']}: {first_few(strange)}{shift}"
                seen.faults[f"label maps have labels of no class, which are 0 to {classes - 1} and {IGNORED}"].append(found)
            if not present:
                seen.traits.append("with a label map in which all is ignored")
    for number, mask in masks.items():
        if fault := rle_fault(mask):
            seen.faults["RLEs do not decode"].append(f"annotation {number} of {path}: {fault}")
    return seen


def traits(path: str, image: np.ndarray) -> list[str]:
    """Return the peculiarities of an image that `LoadImage` handles; its documentation says how."""
    found = ["1 pixel wide or high"] if min(image.shape[:2]) == 1 else []
    try:
        with Image.open(path) as header:
            mode, raw = header.mode, str(header.tile[0][3]) if header.tile else ""
            if mode in ("1", "L", "LA", "I", "I;16", "I;16B", "F"):
                found.append("grey")
            if ";16" in raw and header.format in ("PNG", "TIFF"):
                found.append("16-bit")
            if mode in ("RGBA", "LA", "PA") or "transparency" in header.info:
                found.append("with transparency")
            if mode == "CMYK":
                found.append("CMYK")
            if orientation(header) != 1:
                found.append("turned by their EXIF orientation")
    except (OSError, SyntaxError, ValueError):
        found.append("of a kind that Pillow does not know")
    return found


def rle_fault(mask: Any) -> str | None:
    """Return why an RLE, which pycocotools may decode to noise, is broken; None if it is not, or for polygons."""
    if not isinstance(mask, dict) or mask.get("size") is None:
        return None
    try:
        lengths = runs(mask["counts"]) if isinstance(mask["counts"], str) else mask["counts"]
        pixels = mask["size"][0] * mask["size"][1]
        if min(lengths, default=0) < 0 or sum(lengths) != pixels:
            return f"its runs have {sum(lengths)} pixels, expected {pixels} of size {mask['size']}"
    except (KeyError, TypeError, ValueError, IndexError) as error:
        return f"its counts are no run lengths ({error})"
    return None


def runs(counts: str) -> list[int]:
    """Return the run lengths of a compressed RLE: five bits of a number a letter, from the fourth number on as differences."""
    lengths: list[int] = []
    number = shift = 0
    for letter in counts:
        bits = ord(letter) - 48
        if not 0 <= bits < 64:
            raise ValueError(f"{letter!r} in it")
        number |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        if bits & 16:
            number -= 1 << shift
        lengths.append(number + (lengths[-2] if len(lengths) > 2 else 0))
        number = shift = 0
    if shift:
        raise ValueError("it ends within a number")
    return lengths


def findings(label: str, source: Source, opened: Sequence[Opened]) -> Iterator[Finding]:
    """Yield findings about a dataset: what was opened, what training handles, and each kind of fault."""
    items: dict[str, list[str]] = defaultdict(list)
    for (results, _), seen in zip(source.entries, opened, strict=True):
        for trait in seen.traits:
            items[trait].append(results["img_path"])
    handled = [f"{len(paths)} {trait} ({first_few(paths, LINES)})" for trait, paths in items.items()]
    lines = [f"{label}: {len(opened)} opened" + ("; handled, as mmvit.LoadImage says:" if handled else ""), *handled]
    yield ok("\n".join(lines))
    if source.labels is None:
        yield ok(f"{label}: {source.summary}", subject="annotations")
    else:
        maps = [seen.pixels for seen in opened if seen.pixels is not None]
        yield label_finding(label, source.labels, maps).about("label maps")
    faults: dict[str, list[str]] = defaultdict(list)
    for seen in opened:
        for kind, found in seen.faults.items():
            faults[kind] += found
    for kind, found in faults.items():
        more = [f"and {len(found) - LINES} more"] if len(found) > LINES else []
        yield wrong("\n".join([f"{label}: {len(found)} {kind}", *found[:LINES], *more]), subject="files")


def label_finding(label: str, labels: Labels, maps: Sequence[np.ndarray]) -> Finding:
    """Report which classes a dataset's label maps hold, and whether they leave anything to learn."""
    counts = np.sum([np.zeros(IGNORED + 1, np.int64), *maps], axis=0)
    opened = f"{label}: {len(maps)} opened"
    if fault := pixel_fault(counts, labels):
        return wrong(f"{opened}; {fault}")
    if fault := absent_classes(counts, labels):
        return (doubtful if label.startswith("train_") else ok)(f"{opened}; {fault}")
    least = int(counts[: len(labels.classes)].argmin())
    share = counts[least] / counts.sum()
    return ok(f"{opened}; every class occurs, {labels.classes[least]!r} least ({share:.2%} of the pixels)")
