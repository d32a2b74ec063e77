"""What is wrong with a COCO annotation file, entry by entry. `coco` reads a file in order much faster."""

import json
from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from math import isfinite
from pathlib import Path
from typing import Any

from ..errors import InputError, some

Found = Mapping[str, Sequence[str]]  # what is the matter, and the entries it is the matter with
REQUIRED = {
    "images": ("id", "file_name", "width", "height"),
    "categories": ("id", "name"),
    "annotations": ("id", "image_id", "category_id", "bbox", "area"),
}
FARTHEST = 1e6  # pixels


def read(path: Path, told: str, annotated: bool) -> dict[str, Any]:
    """A file's content, whose lists of images, categories and annotations are there.

    Args:
        told: how messages name the file.
        annotated: it must have annotations, which COCO's test-dev does not give away.

    Raises:
        InputError: it cannot be read, is no JSON in UTF-8, or not in COCO's format.
    """
    try:
        text = path.read_bytes().decode()  # with a byte order mark, on which pycocotools fails
        if not text.strip():
            raise InputError(f"{told} is empty ({len(text)} bytes). Expected COCO's annotations; get the file again")
        content = json.loads(text)
    except OSError as error:
        raise InputError(f"{told} cannot be read: {error.strerror}. Expected a JSON file with COCO's annotations") from error
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"{told} is no valid JSON: {error}. Expected COCO's annotations; get the file again") from error
    expected = ["images", "categories"] + annotated * ["annotations"]
    lacking = [name for name in expected if not isinstance(content, dict) or not isinstance(content.get(name), list)]
    if lacking:
        raise InputError(f"{told}: no list {', '.join(lacking)} in it. Expected COCO's format with {', '.join(expected)}")
    if not content["images"]:
        raise InputError(f"{told}: its list of images is empty")
    return content


def check_lists(content: Mapping[str, Any], told: str, classes: Sequence[str]) -> None:
    """Whether images and categories are what mmdet takes for granted.

    Raises:
        InputError: entries without what they must have, with an id that another has, too, or with the name of one of the
            classes that another has: mmdet would make two labels of it.
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
        _refuse(found, told, name)


def check_annotations(content: Mapping[str, Any], told: str) -> None:
    """Check that mmdet can read all annotations.

    Args:
        content: a file of which `check_lists` found images and categories to be in order.

    Raises:
        InputError: annotations that would stop a run, or that mean something other than they say.
    """
    sizes = {image["id"]: (image["width"], image["height"]) for image in content["images"]}
    broken: dict[str, list[str]] = defaultdict(list)
    seen: set[Hashable] = set()
    for position, entry in enumerate(content.get("annotations") or ()):
        if fault := _broken(entry, sizes):
            broken[fault].append(_name(entry, position))
            continue
        if entry["id"] in seen:
            broken["with the id of another"].append(str(entry["id"]))
        seen.add(entry["id"])
    _refuse(broken, told, "annotations")


def check_masks(content: Mapping[str, Any], told: str, kept: Iterable[int]) -> None:
    """Check that mmdet can draw the masks of the annotations at the positions `kept`.

    Raises:
        InputError: masks that would stop a run, or end its process.
    """
    sizes = {image["id"]: (image["width"], image["height"]) for image in content["images"]}
    broken: dict[str, list[str]] = defaultdict(list)
    for entry in (content["annotations"][position] for position in kept):
        if fault := broken_mask(entry.get("segmentation"), sizes[entry["image_id"]]):
            broken[fault].append(str(entry["id"]))
    _refuse(broken, told, "annotations")


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
    """What is wrong with the values of an image or a category."""
    for field in ("file_name", "name"):
        if field in entry and not isinstance(entry[field], str):
            return f"with a {field} that is no text"
    for field in ("width", "height"):
        if field in entry and not (isinstance(entry[field], int | float) and 0 < entry[field] < float("inf")):
            return f"with a {field} that is not above zero"
    return None


def _broken(entry: Any, sizes: Mapping[Hashable, tuple[float, float]]) -> str | None:
    if fault := _lacks(entry, REQUIRED["annotations"]):
        return fault
    try:
        if entry["image_id"] not in sizes:
            return "with an image_id that no image has"
        hash(entry["category_id"])
        x, y, width, height = entry["bbox"]
        if not (isfinite(x) and isfinite(y) and isfinite(width) and isfinite(height)):
            return "with a bbox that is not four finite numbers [x, y, width, height]"
        if not isfinite(entry["area"]):
            return "with an area that is no finite number"
    except (TypeError, ValueError, OverflowError):
        return "with an image_id, category_id, area or bbox [x, y, width, height] that is not made of finite numbers"
    return None


def broken_mask(mask: Any, size: tuple[float, float]) -> str | None:
    """What is wrong with an annotation's `segmentation` in an image of a size, (width, height)."""
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
    """Whether pycocotools can draw a polygon: from some coordinates on it ends the process."""
    try:
        return isfinite(sum(polygon)) and min(polygon) > -FARTHEST and max(polygon) < FARTHEST
    except (TypeError, OverflowError):
        return False


def _refuse(found: Found, told: str, what: str) -> None:
    if found:
        lines = [f"{told}: {what} that cannot be used"]
        lines += [f"  {len(entries)} {fault}: {some(entries)}" for fault, entries in found.items()]
        lines += [f"Expected {what} with {', '.join(REQUIRED[what])}, as COCO has them. Correct them or take them out"]
        raise InputError("\n".join(lines))
