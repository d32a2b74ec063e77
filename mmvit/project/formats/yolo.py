"""YOLO text files: a file a picture, a line an object, in shares of the picture. Boxes, polygons and turned boxes.

Names come from `data.yaml` (ultralytics, Roboflow, CVAT), from `classes.txt` (LabelImg) or from `obj.names` (Darknet).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...config.datasets import SPLITS
from ...errors import InputError
from ..description import Collection, Picture, Thing
from ..folder import Folder, folder_split, listed_splits, named_lists, plain, shared, words_of
from ..gather import Gathering
from .shapes import from_polygons

NAMES = ("classes.txt", "obj.names", "_darknet.labels", "labels.txt", "predefined_classes.txt")
DIFFERENT = "{}: {} and {} name different classes. Keep the file of these labels"
KEYS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}


def recognise(folder: Folder) -> bool:
    if not _descriptions(folder) and not folder.named(*NAMES):
        return False
    return any(_lines(folder, file) is not None for file in _labels(folder)[:20])


def looks_like(folder: Folder) -> bool:
    """Return whether text files hold lines of a class and a box, whatever names the classes."""
    return any(len(line) >= 5 for file in _labels(folder)[:20] for line in _lines(folder, file) or ())


def read(folder: Folder) -> Collection:
    """Return the pictures of a folder in YOLO's layout. Raise InputError if nothing names the classes."""
    names, source = names_of(folder)
    gathering = Gathering(folder, names.values())
    listed, said = _listed(folder), _said(folder)
    posed = any(isinstance(content.get("kpt_shape"), list) for content in _descriptions(folder).values())
    for file in _labels(folder):
        lines = _lines(folder, file)
        if lines is None:
            gathering.note("text files that are not YOLO labels", file)
            continue
        picture = gathering.picture(file.with_suffix("").as_posix(), file)
        if picture is None:
            continue
        picture.split = listed.get(picture.file) or said.get(picture.file.parent) or folder_split(picture.file)
        for number, values in enumerate(lines, 1):
            where = f"{file}:{number}"
            if not values or not values[0].is_integer():
                gathering.note("lines that cannot be read", where)
                continue
            if values[0] not in names:
                gathering.note(f"classes that {source} does not have", where)
                continue
            gathering.add(picture, _thing(names[int(values[0])], values[1:5] if posed else values[1:], picture), where)
    collection = gathering.finish()
    if listed or said:
        collection.splits = "lists" if listed else source
    collection.notes.append(f"classes are those of {source}")
    if posed:
        collection.notes.append("key points, which kpt_shape announces, are not read; their boxes are")
    return collection


def _descriptions(folder: Folder) -> dict[Path, dict[str, Any]]:
    """Return the content of the YAML files that name classes, those nearest to the root first."""
    files = sorted(folder.of(".yaml", ".yml"), key=lambda file: len(file.parts))
    contents = {file: folder.yaml(file) for file in files}
    return {
        file: content
        for file, content in contents.items()
        if isinstance(content, dict) and isinstance(content.get("names"), list | dict)
    }


def names_of(folder: Folder) -> tuple[dict[int, str], str]:
    """Return the names of the classes by their numbers, and the file that lists them.

    Raises:
        InputError: there is none, or several that differ.
    """
    found = {file: _listed_names(folder, file, content["names"]) for file, content in _descriptions(folder).items()}
    for file, names in found.items():
        for other, theirs in found.items():
            if theirs != names:
                raise InputError(DIFFERENT.format(folder.root, file, other))
        return names, str(file)
    listed: dict[Path, list[str]] = {}
    for file in folder.named(*NAMES):
        if not listed or file.name.lower() == next(iter(listed)).name.lower():
            listed[file] = folder.lines(file)
    if listed:
        best = max(listed, key=lambda file: len(listed[file]))
        for file, lines in listed.items():
            if lines != listed[best][: len(lines)]:
                raise InputError(DIFFERENT.format(folder.root, best, file))
        return _distinct(dict(enumerate(listed[best])), str(best)), str(best)
    raise InputError(f"{folder.root}: YOLO labels without names of classes. Add data.yaml with names: [a, b], or classes.txt")


def _listed_names(folder: Folder, file: Path, names: Any) -> dict[int, str]:
    listed = names.items() if isinstance(names, dict) else enumerate(names)
    try:
        numbered = {int(key): str(name) for key, name in listed}
    except (TypeError, ValueError) as error:
        raise InputError(f"{folder.root / file}: names has keys that are no numbers: {list(names)}") from error
    return _distinct(dict(sorted(numbered.items())), str(file))


def _distinct(names: dict[int, str], source: str) -> dict[int, str]:
    if len({*names.values()}) < len(names):
        raise InputError(f"{source} names a class twice: {', '.join(names.values())}. Each number needs a name of its own")
    return names


def _labels(folder: Folder) -> list[Path]:
    """Return the text files that may hold labels: those that have a picture's name, or lie in a folder of labels."""
    stems = {plain(file.stem) for file in folder.pictures}
    skipped = {"readme.dataset.txt", "readme.roboflow.txt", "readme.txt", *NAMES}
    texts = [file for file in folder.of(".txt") if file.name.lower() not in skipped]
    return [file for file in texts if plain(file.stem) in stems or "labels" in file.parts[:-1]]


def _splits(folder: Folder) -> list[tuple[str, str]]:
    """Return what YAML files call train, val and test: folders or lists, each with its split."""
    found = []
    for content in _descriptions(folder).values():
        for key, split in KEYS.items():
            said = content.get(key)
            found += [(str(path), split) for path in (said if isinstance(said, list) else [said]) if path]
    return sorted(found, key=lambda entry: SPLITS.index(entry[1]))


def _listed(folder: Folder) -> dict[Path, str]:
    """Return the split of each picture that is named in a list: what data.yaml calls train, or train.txt."""
    lists, texts = [], folder.of(".txt")
    for said, split in _splits(folder):
        agreed = {file: shared(file, words_of(said)) for file in texts if said.lower().endswith(".txt")}
        lists += [(file, split) for file, count in agreed.items() if count and count == max(agreed.values())]
    return listed_splits(folder, [*lists, *named_lists(folder)])


def _said(folder: Folder) -> dict[Path, str]:
    """Return the split of each folder of pictures that data.yaml names: the one whose path agrees with most of the end."""
    folders = {above for file in folder.pictures for above in file.parents}
    found: dict[Path, str] = {}
    for said, split in _splits(folder):
        agreed = {above: shared(above, words_of(said)) for above in folders}
        best = [above for above in folders if agreed[above] and agreed[above] == max(agreed.values())]
        if len(best) == 1:
            found |= {file.parent: split for file in folder.pictures if best[0] in file.parents and file.parent not in found}
    return found


def _lines(folder: Folder, file: Path) -> list[list[float]] | None:
    """Return the numbers of each line, an empty list for a line that has others; None if it is no file of labels."""
    lines: list[list[float]] = []
    try:
        texts = folder.lines(file)
    except InputError:  # notes in another encoding
        return None
    for line in texts:
        try:
            lines.append([float(word) for word in line.split()])
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
