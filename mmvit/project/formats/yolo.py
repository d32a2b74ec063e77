"""YOLO text files: a file a picture, a line an object, in shares of the picture. Boxes, polygons and turned boxes.

Names come from `data.yaml` (ultralytics, Roboflow, CVAT), from `classes.txt` (LabelImg) or from `obj.names` (Darknet).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...errors import InputError
from ..description import Collection, Picture, Thing
from ..folder import Folder, folder_split, split_of
from ..gather import Gathering
from .shapes import from_polygons

NAMES = ("classes.txt", "obj.names", "_darknet.labels", "labels.txt", "predefined_classes.txt")
KEYS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}


def recognise(folder: Folder) -> bool:
    if _description(folder) is None and not folder.named(*NAMES):
        return False
    return any(_lines(folder, file) is not None for file in _labels(folder)[:20])


def read(folder: Folder) -> Collection:
    """Return the pictures of a folder in YOLO's layout.

    Raises:
        InputError: nothing names the classes.
    """
    names, source = _names(folder)
    gathering = Gathering(folder, "YOLO text", names)
    listed = _listed(folder)
    for file in _labels(folder):
        lines = _lines(folder, file)
        if lines is None:
            gathering.note("text files that are not YOLO labels", file)
            continue
        picture = gathering.picture(file.stem, file, split=listed.get(file.stem) or folder_split(file))
        if picture is None:
            continue
        for number, values in enumerate(lines, 1):
            where = f"{file}:{number}"
            if not values or not 0 <= values[0] < len(names):
                gathering.note(f"classes that {source} does not have" if values else "lines that cannot be read", where)
                continue
            gathering.add(picture, _thing(names[int(values[0])], values[1:], picture), where)
    collection = gathering.finish()
    if listed:
        collection.splits = "lists"
    collection.notes.append(f"classes are those of {source}")
    return collection


def _description(folder: Folder) -> dict[str, Any] | None:
    """Return the content of the YAML file that names classes."""
    for file in sorted(folder.of(".yaml", ".yml"), key=lambda file: len(file.parts)):
        content = folder.yaml(file)
        if isinstance(content, dict) and isinstance(content.get("names"), list | dict):
            return content
    return None


def _names(folder: Folder) -> tuple[list[str], str]:
    described = _description(folder)
    if described is not None:
        names = described["names"]
        if isinstance(names, dict):
            try:
                names = {int(key): name for key, name in names.items()}
            except (TypeError, ValueError) as error:
                raise InputError(f"{folder.root}: names of data.yaml has keys that are no numbers: {list(names)}") from error
            names = [names.get(index, f"class_{index}") for index in range(max(names, default=-1) + 1)]
        return _distinct([str(name) for name in names], "data.yaml"), "data.yaml"
    for file in folder.named(*NAMES):
        names = [line.strip() for line in folder.text(file).splitlines() if line.strip()]
        return _distinct(names, str(file)), str(file)
    raise InputError(f"{folder.root}: YOLO labels without names of classes. Add data.yaml with names: [a, b], or classes.txt")


def _distinct(names: list[str], source: str) -> list[str]:
    if len(set(names)) < len(names):
        raise InputError(f"{source} names a class twice: {', '.join(names)}. Each number needs a name of its own")
    return names


def _labels(folder: Folder) -> list[Path]:
    """Return the text files that may hold labels: those that have a picture's name, or lie in a folder of labels."""
    stems = {file.stem for file in folder.pictures}
    skipped = {"readme.dataset.txt", "readme.roboflow.txt", "readme.txt", *NAMES}
    texts = [file for file in folder.of(".txt") if file.name.lower() not in skipped]
    return [file for file in texts if file.stem in stems or "labels" in file.parts[:-1]]


def _listed(folder: Folder) -> dict[str, str]:
    """Return the split of each picture that is named in a list: train.txt, or what data.yaml calls train."""
    found: dict[str, str] = {}
    described = _description(folder) or {}
    wanted = {Path(str(described[key])).name: split for key, split in KEYS.items() if str(described.get(key)).endswith(".txt")}
    for file in folder.of(".txt"):
        split = wanted.get(file.name) or (split_of(file) if file.stem in KEYS else None)
        for line in folder.text(file).splitlines() if split else ():
            if line.strip() and folder.picture(line.strip()) is not None:
                found.setdefault(Path(line.strip().replace("\\", "/")).stem, str(split))
    return found


def _lines(folder: Folder, file: Path) -> list[list[float]] | None:
    """Return the numbers of each line, an empty list for a line that has others; None if it is no file of labels."""
    lines: list[list[float]] = []
    for line in folder.text(file).splitlines():
        if words := line.split():
            try:
                lines.append([float(word) for word in words])
            except ValueError:
                lines.append([])
    return lines if not lines or any(lines) else None


def _thing(name: str, values: Sequence[float], picture: Picture) -> Thing | None:
    """Return the object of a line: centre and size of a box (perhaps with a score), or the points of a polygon."""
    if any(not -1 <= value <= 2 for value in values[:4]):
        return None  # pixels instead of shares
    if len(values) in (4, 5):
        x, y, width, height = values[:4]
        size = (picture.width, picture.height)
        return Thing(name, ((x - width / 2) * size[0], (y - height / 2) * size[1], width * size[0], height * size[1]))
    scaled = [value * (picture.height if index % 2 else picture.width) for index, value in enumerate(values)]
    return from_polygons(name, [scaled])
