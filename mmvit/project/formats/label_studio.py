"""Label Studio's JSON and JSON-MIN: one file, coordinates in percent of the picture.

Brush strokes have a bit stream of their own, `brush`. Of several annotations of a task, the first that was not cancelled
counts.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import first_few
from ..description import Collection, Picture, Thing, thing_of_mask
from ..folder import PICTURES, Folder, words_of
from ..gather import NO_CLASS, NO_SHAPE, Gathering
from .shapes import ellipse, from_polygons, turned

SEVERAL = "tasks with several annotations, of which the first is read"


def read(folder: Folder) -> Collection:
    gathering = Gathering(folder)
    for file, content in gathering.files(".json", is_ours, "JSON files that are not Label Studio's"):
        for task in content:
            named = _image_of(task) if isinstance(task, dict) else None
            if named is None:
                gathering.note("tasks without a picture", f"{file} ({task.get('id') if isinstance(task, dict) else task})")
                continue
            results = _results(task, gathering, named)
            if results is not None and (picture := gathering.picture(named, file)) is not None:
                _add(gathering, picture, results)
    return gathering.finish()


def is_ours(content: Any) -> bool:
    if not isinstance(content, list) or not content or not isinstance(content[0], dict):
        return False
    first = content[0]
    return (isinstance(first.get("data"), dict) and "annotations" in first) or (
        "annotator" in first and _image_of(first) is not None
    )


def _image_of(task: Mapping[str, Any]) -> str | None:
    """Return the address of a task's picture: the first value that ends like one."""
    values = task["data"].values() if isinstance(task.get("data"), dict) else task.values()
    for value in values:
        if isinstance(value, str) and (words := words_of(value)) and Path(words[-1]).suffix.lower() in PICTURES:
            return value
    return None


def _results(task: Mapping[str, Any], gathering: Gathering, named: str) -> list[Any] | None:
    """Return the results of the annotation that counts, None if there is none; JSON-MIN has one, without their types."""
    if "annotations" not in task:
        keys = [key for key, value in task.items() if isinstance(value, list) and value and isinstance(value[0], dict)]
        return [dict(value=entry) for key in keys for entry in task[key] if isinstance(entry, dict)]
    entries = [entry for entry in task["annotations"] if isinstance(entry, dict) and not entry.get("was_cancelled")]
    if len(entries) > 1:
        gathering.doubt(SEVERAL, named)
    return next((entry["result"] for entry in entries if isinstance(entry.get("result"), list)), None)


def _add(gathering: Gathering, picture: Picture, results: Sequence[Any]) -> None:
    """Add the regions that have labels; a region may have several results, such as its shape, its labels and its text."""
    values = [
        (result, result["value"]) for result in results if isinstance(result, dict) and isinstance(result.get("value"), dict)
    ]
    regions = {_region(result, value): value for result, value in values if {"x", "points", "rle"} & set(value)}
    for result, value in values:
        kind, names = next(((key, entry) for key, entry in value.items() if key.endswith("labels") and entry), ("", []))
        if names and isinstance(names, list):
            regions.pop(_region(result, value), None)
            _add_one(gathering, picture, value, kind, names)
    for _ in regions:
        gathering.note(NO_CLASS, picture.file)


def _region(result: Mapping[str, Any], value: Mapping[str, Any]) -> str:
    """Return what tells a region from others: its id, or in JSON-MIN, which has none, its shape."""
    return str(result.get("id") or [value.get(key) for key in ("x", "y", "width", "height", "points", "rle")])


def _add_one(gathering: Gathering, picture: Picture, value: Mapping[str, Any], kind: str, names: Sequence[Any]) -> None:
    name = str(names[0])
    where = f"{picture.file} ({name}, {kind})"
    if len(names) > 1:
        gathering.doubt("regions with several labels, of which the first counts", f"{picture.file} ({first_few(names)})")
    if kind.startswith("keypoint"):
        gathering.note(NO_SHAPE, where)
        return
    try:
        thing = _thing(name, value, picture)
    except (KeyError, TypeError, ValueError, IndexError):
        thing = None
    gathering.add(picture, thing, where)


def _thing(name: str, value: Mapping[str, Any], picture: Picture) -> Thing | None:
    across, down = picture.width / 100, picture.height / 100
    degrees = float(value.get("rotation") or 0)
    if "rle" in value:
        return _brush(name, value["rle"], picture)
    if "points" in value:
        return from_polygons(name, [[part for x, y in value["points"] for part in (x * across, y * down)]])
    if "radiusX" in value:
        radii = value["radiusX"] * across, value["radiusY"] * down
        return ellipse(name, value["x"] * across, value["y"] * down, *radii, degrees)
    box = (value["x"] * across, value["y"] * down, value["width"] * across, value["height"] * down)
    return turned(name, box, degrees, box[:2])  # about its upper left corner


def _brush(name: str, encoded: list[int], picture: Picture) -> Thing | None:
    count = picture.width * picture.height * 4  # red, green, blue, alpha
    values = np.fromiter(brush(encoded, count), np.uint8, count)
    return thing_of_mask(name, values.reshape(picture.height, picture.width, 4)[..., 3] > 0)


def brush(encoded: list[int], expected: int) -> Iterator[int]:
    """Yield the values of a brush stroke: runs of one value, and runs of values each by itself.

    The stream is 32 bits for the count of values, 5 for the bits of a value less one, four times 4 for the bits of a length
    less one; then for each run a bit (1: one value), 2 bits that choose the length's size, the length less one, the value(s).

    Raises:
        ValueError: it has another number of values.
    """
    bits = "".join(f"{byte:08b}" for byte in bytes(encoded))
    place = 0

    def take(count: int) -> int:
        nonlocal place
        if place + count > len(bits):
            raise ValueError("the stream ends early")
        place += count
        return int(bits[place - count : place], 2)

    total, word = take(32), take(5) + 1
    sizes = [take(4) + 1 for _ in range(4)]
    if total != expected:
        raise ValueError(f"{total} values, expected {expected}")
    done = 0
    while done < total:
        same = take(1)
        length = min(take(sizes[take(2)]) + 1, total - done)
        if same:
            value = take(word)
            yield from (value for _ in range(length))
        else:
            yield from (take(word) for _ in range(length))
        done += length
