"""What all readers of objects share: pictures are found and measured, objects are cut to them, and what is odd is noted."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from math import isfinite
from pathlib import Path
from typing import Any

from .description import Collection, Picture, Thing, box_of
from .folder import Folder

NO_AREA = "boxes without area"
OUTSIDE = "objects outside of their picture"
NO_PICTURE = "labels without a picture"
SEVERAL = "labels whose picture could be any of several with that name"
NO_LABELS = "pictures without labels"
UNREADABLE = "pictures that cannot be read"
OTHER_SIZE = "pictures that have another size than their labels say"
NO_SHAPE = "objects that are neither boxes nor areas"
UNKNOWN = "labels that cannot be read"
NO_CLASS = "objects without a class"
LEAST = 1.0  # pixels; mmdet leaves out boxes below it


class Gathering:
    """A collection in the making. Readers tell it what a label file says; it knows which pictures there are."""

    def __init__(self, folder: Folder, classes: Iterable[str] = ()) -> None:
        self.folder = folder
        self.collection = Collection(list(classes))
        self._taken: dict[Path, Picture] = {}

    def note(self, what: str, where: object) -> None:
        self.collection.aside[what].append(str(where))

    def files(self, suffix: str, are_ours: Callable[[Any], bool], others: str) -> Iterator[tuple[Path, Any]]:
        """Yield the format's files and their contents, and note the others that end in the suffix."""
        for file in self.folder.of(suffix):
            content = self.folder.content(file)
            if are_ours(content):
                yield file, content
            else:
                self.note(others, file)

    def picture(self, named: str, near: Path, said: Sequence[Any] = (0, 0), split: str | None = None) -> Picture | None:
        """Return the picture that a label file names, None if it cannot be used; then that is noted.

        Args:
            named: path or address in the label file.
            near: the label file.
            said: width and height as the label file has them, if its coordinates depend on them.
            split: train, val or test, if the label file says so.
        """
        file = self.folder.picture(named, near)
        if file is None:
            self.note(SEVERAL if self.folder.called(named) else NO_PICTURE, f"{near}: {named}" if near.name else named)
            return None
        if file in self._taken:
            return self._taken[file]
        size = self.folder.size(file)
        if size is None:
            self.note(UNREADABLE, file)
            return None
        width, height = map(_pixels, said)
        if min(width, height) > 0 and (width, height) != size:
            self.note(OTHER_SIZE, f"{file} ({size[0]} x {size[1]}, labels: {width} x {height})")
            return None
        picture = self._taken[file] = Picture(file, *size, split=split)
        self.collection.pictures.append(picture)
        return picture

    def add(self, picture: Picture, thing: Thing | None, where: object) -> None:
        """Add an object to a picture, cut to it. What has no area, no class, or lies outside is noted instead."""
        if thing is None:
            return self.note(UNKNOWN, where)
        if not thing.name.strip():
            return self.note(NO_CLASS, where)
        label = f"{where} ({thing.name})"
        if not all(map(isfinite, chain(thing.box, *thing.polygons or ()))):
            return self.note(UNKNOWN, label)
        if min(thing.box[2:]) < LEAST:
            return self.note(NO_AREA, label)
        if thing.rle is not None and list(thing.rle["size"]) != [picture.height, picture.width]:
            return self.note("masks of another size than their picture", label)
        cut = _cut(thing, picture.width, picture.height)
        if cut is None:
            return self.note(OUTSIDE, label)
        if cut in picture.things:  # two label files of one picture, or one exported twice
            return self.note("objects that are there twice", label)
        picture.things.append(cut)

    def finish(self, labelled: Iterable[Path] | None = None) -> Collection:
        """Return the collection: classes in the order of the list that there was, or else by name.

        Args:
            labelled: pictures that count, for the note on those without labels; None for all of the folder.
        """
        collection = self.collection
        collection.classes += sorted({thing.name for thing in collection.things()}.difference(collection.classes))
        unreadable = {*map(Path, collection.aside.get(UNREADABLE, ()))}
        left = set(self.folder.pictures if labelled is None else labelled) - set(self._taken) - unreadable
        for file in sorted(left):
            self.note(NO_LABELS, file)
        collection.pictures.sort(key=lambda picture: picture.file)
        return collection


def _pixels(said: Any) -> int:
    """Return a width or height that a label file says; 0 if it says none."""
    try:
        return int(float(said))
    except (TypeError, ValueError, OverflowError):
        return 0


def _cut(thing: Thing, width: int, height: int) -> Thing | None:
    """Return an object cut to its picture; None if nothing is left. Masks have the picture's size anyway."""
    if thing.rle is not None:
        return thing
    if thing.polygons:
        polygons = [_cut_polygon(polygon, width, height) for polygon in thing.polygons]
        kept = [polygon for polygon in polygons if min(box_of([polygon])[2:]) > 0]
        if not kept or min(box_of(kept)[2:]) < LEAST:
            return None
        return thing._replace(polygons=kept, box=box_of(kept))
    x, y, wide, high = thing.box
    left, top = max(x, 0.0), max(y, 0.0)
    right, bottom = min(x + wide, float(width)), min(y + high, float(height))
    if right - left < LEAST or bottom - top < LEAST:
        return None
    return thing._replace(box=(left, top, right - left, bottom - top))


def _cut_polygon(polygon: list[float], width: int, height: int) -> list[float]:
    """Return a polygon with its points moved to the border where they lie beyond it."""
    return [min(max(value, 0.0), float(height if index % 2 else width)) for index, value in enumerate(polygon)]
