"""Reading of a COCO annotation file, and its checks, entry by entry."""

import gc
import json
from collections import defaultdict
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from math import isfinite
from pathlib import Path
from typing import Any

import msgspec

from ..errors import InputError, first_few

REQUIRED = {
    "images": ("id", "file_name", "width", "height"),
    "categories": ("id", "name"),
    "annotations": ("id", "image_id", "category_id", "bbox", "area"),
}
FARTHEST = 1e6  # pixels
OF_PANOPTIC = "take instances_*.json, or what panopticapi's panoptic2detection_coco_format.py makes of the file"


def read(path: Path, label: str, annotated: bool) -> dict[str, Any]:
    """Return a file's content, after checking that it has lists of images, categories and annotations.

    Args:
        label: how messages name the file.
        annotated: whether it must have annotations; the file of COCO's test-dev has none.

    Raises:
        InputError: the file cannot be read, is not JSON in UTF-8, or is not in COCO's format.
    """
    try:
        text = path.read_bytes()
        if not text.strip():
            raise InputError(f"{label} is empty ({len(text)} bytes). Expected COCO's annotations; get the file again")
        with without_collector():
            content = _decoded(text)
    except OSError as error:
        raise InputError(f"{label} cannot be read: {error.strerror}. Expected a JSON file with COCO's annotations") from error
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"{label} is no valid JSON: {error}. Expected COCO's annotations; get the file again") from error
    expected = ["images", "categories"] + annotated * ["annotations"]
    lacking = [name for name in expected if not isinstance(content, dict) or not isinstance(content.get(name), list)]
    if lacking:
        raise InputError(f"{label}: no list {', '.join(lacking)} in it. Expected COCO's format with {', '.join(expected)}")
    if not content["images"]:
        raise InputError(f"{label}: its list of images is empty")
    return content


def _decoded(text: bytes) -> Any:
    """Return the content of JSON; json also knows NaN, and what is wrong where. Neither takes a byte order mark."""
    try:
        return msgspec.json.decode(text)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return json.loads(text.decode())


@contextmanager
def without_collector() -> Iterator[None]:
    """Pause Python's garbage collector, which would visit millions of numbers again and again."""
    running = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if running:
            gc.enable()


def check_lists(content: Mapping[str, Any], label: str, classes: Sequence[str]) -> None:
    """Check that mmdet can use all images and categories.

    Raises:
        InputError: an entry lacks a field or shares its id with another one, or two categories have the name of the same
            class, of which mmdet would make two labels.
    """
    for name in ("images", "categories"):
        found: dict[str, list[str]] = defaultdict(list)
        seen: set[tuple[str, Hashable]] = set()
        for position, entry in enumerate(content[name]):
            who = _name(entry, position)
            if fault := _lacks(entry, REQUIRED[name]) or _odd(entry):
                found[fault].append(who)
                continue
            for field in ("id", "name") if name == "categories" and entry["name"] in classes else ("id",):
                if (field, entry[field]) in seen:
                    found[f"with the {field} of another"].append(f"{who} ({entry[field]!r})")
                seen.add((field, entry[field]))
        _refuse(found, label, name)


def check_annotations(content: Mapping[str, Any], label: str) -> None:
    """Check that mmdet can read all annotations.

    Args:
        content: content that passed `check_lists`.

    Raises:
        InputError: annotations that would stop a run, or that mmdet would misread.
    """
    broken: dict[str, list[str]] = defaultdict(list)
    seen: set[Hashable] = set()
    for position, entry in enumerate(content.get("annotations") or ()):
        if fault := _broken(entry):
            broken[fault].append(_name(entry, position))
            continue
        if entry["id"] in seen:
            broken["with the id of another"].append(str(entry["id"]))
        seen.add(entry["id"])
    _refuse(broken, label, "annotations")


def check_masks(content: Mapping[str, Any], label: str, kept: Iterable[int]) -> None:
    """Check that mmdet can draw the masks of the annotations at the positions `kept`.

    Raises:
        InputError: masks that would stop a run or crash its process.
    """
    sizes = {image["id"]: (image["width"], image["height"]) for image in content["images"]}
    broken: dict[str, list[str]] = defaultdict(list)
    for entry in (content["annotations"][position] for position in kept):
        if fault := broken_mask(entry.get("segmentation"), sizes[entry["image_id"]]):
            broken[fault].append(str(entry["id"]))
    _refuse(broken, label, "annotations")


def _name(entry: Any, position: int) -> str:
    known = isinstance(entry, dict) and "id" in entry
    return str(entry["id"]) if known else f"number {position + 1} of the list"


def _lacks(entry: Any, fields: Sequence[str]) -> str | None:
    if not isinstance(entry, dict):
        return "that are no JSON objects"
    for field in fields:
        if entry.get(field) is None:
            return f"without {field}"
    if not isinstance(entry["id"], int | float | str):
        return "with an id that is neither a number nor a name"
    return None


def _odd(entry: Mapping[str, Any]) -> str | None:
    """Return what is wrong with the values of an image or a category; None if nothing is."""
    for field in ("file_name", "name"):
        if field in entry and not isinstance(entry[field], str):
            return f"with a {field} that is no text"
    for field in ("width", "height"):
        if field in entry and not (isinstance(entry[field], int | float) and 0 < entry[field] < float("inf")):
            return f"with a {field} that is not above zero"
    return None


def is_panoptic(entry: Any) -> bool:
    """Return whether an annotation is of COCO's panoptic format, which has one for each image."""
    return isinstance(entry, dict) and "segments_info" in entry


def _broken(entry: Any) -> str | None:
    if is_panoptic(entry):
        return f"of COCO's panoptic format, whose segments lie in PNG files ({OF_PANOPTIC})"
    if fault := _lacks(entry, REQUIRED["annotations"]):
        return fault
    try:
        hash((entry["image_id"], entry["category_id"]))
        x, y, width, height = entry["bbox"]
        if not (isfinite(x) and isfinite(y) and isfinite(width) and isfinite(height)):
            return "with a bbox that is not four finite numbers [x, y, width, height]"
        if not isfinite(entry["area"]):
            return "with an area that is no finite number"
        for mark in ("iscrowd", "ignore"):
            if isinstance(entry.get(mark), str):
                return f'with an {mark} that is text, of which mmdet takes "0" for 1: write a number'
    except (TypeError, ValueError, OverflowError):
        return "with an image_id, category_id, area or bbox [x, y, width, height] that is not made of finite numbers"
    return None


def broken_mask(mask: Any, size: tuple[float, float]) -> str | None:
    """Return what is wrong with an annotation's `segmentation` in an image of `size` (width, height); None if nothing is."""
    if not mask:
        return "without segmentation, which LoadAnnotations with with_mask=True needs"
    if isinstance(mask, dict):
        if mask.get("size") not in (None, [size[1], size[0]]):
            return "with an RLE whose size is not its image's [height, width]"
    elif not isinstance(mask, list) or not all(isinstance(polygon, list) for polygon in mask):
        return "with a segmentation that is neither a list of polygons [[x1, y1, x2, y2, ...], ...] nor an RLE"
    elif not all(_drawable(polygon) for polygon in mask if polygon):
        return f"with a polygon of which a coordinate is no number between -{FARTHEST:g} and {FARTHEST:g}"
    return None


def _drawable(polygon: list) -> bool:
    """Return whether pycocotools can draw a polygon; coordinates that are too large crash its process."""
    try:
        return isfinite(sum(polygon)) and min(polygon) > -FARTHEST and max(polygon) < FARTHEST
    except (TypeError, OverflowError):
        return False


def _refuse(faults: Mapping[str, Sequence[str]], label: str, kind: str) -> None:
    """Raise InputError if entries of a kind have faults: a fault, and the entries that have it."""
    if faults:
        lines = [f"{label}: {kind} that cannot be used"]
        lines += [f"  {len(entries)} {fault}: {first_few(entries)}" for fault, entries in faults.items()]
        lines += [f"Expected {kind} with {', '.join(REQUIRED[kind])}, as COCO has them. Correct them or take them out"]
        raise InputError("\n".join(lines))
