"""What all readers of objects share: pictures are found and measured, objects are cut to them, and what is odd is noted."""

from collections.abc import Iterable, Sequence
from math import isfinite
from pathlib import Path

from .description import (
    NO_AREA,
    NO_CLASS,
    NO_LABELS,
    NO_PICTURE,
    OTHER_SIZE,
    OUTSIDE,
    SEVERAL,
    UNKNOWN,
    UNREADABLE,
    Collection,
    Picture,
    Thing,
    box_of,
)
from .folder import Folder

LEAST = 1.0  # pixels; mmdet leaves out boxes below it


class Gathering:
    """A collection in the making. Readers tell it what a label file says; it knows which pictures there are."""

    def __init__(self, folder: Folder, name: str, classes: Sequence[str] = ()) -> None:
        self.folder = folder
        self.collection = Collection(name, list(classes))
        self._taken: dict[Path, Picture] = {}
        self._classes = dict.fromkeys(classes)

    def note(self, what: str, where: object) -> None:
        self.collection.aside[what].append(str(where))

    def picture(self, named: str, near: Path, said: tuple[int, int] | None = None, split: str | None = None) -> Picture | None:
        """Return the picture that a label file names, None if it cannot be used; then that is noted.

        Args:
            named: path or address in the label file.
            near: the label file.
            said: width and height that the label file has, if its coordinates depend on them.
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
        if said and min(said) > 0 and said != size:
            self.note(OTHER_SIZE, f"{file} ({size[0]} x {size[1]}, labels: {said[0]} x {said[1]})")
            return None
        picture = self._taken[file] = Picture(file, *size, split=split)
        self.collection.pictures.append(picture)
        return picture

    def add(self, picture: Picture, thing: Thing | None, where: object) -> None:
        """Add an object to a picture, cut to it. What has no area, no class, or lies outside is noted instead."""
        if thing is None:
            self.note(UNKNOWN, where)
            return
        if not thing.name.strip():
            self.note(NO_CLASS, where)
            return
        label = f"{where} ({thing.name})"
        numbers = [*thing.box, *(value for polygon in thing.polygons or () for value in polygon)]
        if not all(isfinite(value) for value in numbers):
            self.note(UNKNOWN, label)
            return
        if min(thing.box[2:]) < LEAST:
            self.note(NO_AREA, label)
            return
        if thing.rle is not None and list(thing.rle["size"]) != [picture.height, picture.width]:
            self.note("masks of another size than their picture", label)
            return
        cut = _cut(thing, picture.width, picture.height)
        if cut is None:
            self.note(OUTSIDE, label)
            return
        if cut in picture.things:  # two label files of one picture, or one exported twice
            self.note("objects that are there twice", label)
            return
        self._classes.setdefault(thing.name)
        picture.things.append(cut)

    def finish(self, labelled: Iterable[Path] | None = None) -> Collection:
        """Return the collection: classes in the order of the list that there was, or else by name.

        Args:
            labelled: pictures that count, for the note on those without labels; None for all of the folder.
        """
        collection = self.collection
        given = collection.classes
        collection.classes = given + sorted(name for name in self._classes if name not in given)
        unreadable = {*map(Path, collection.aside.get(UNREADABLE, ()))}
        left = set(self.folder.pictures if labelled is None else labelled) - set(self._taken) - unreadable
        for file in sorted(left):
            self.note(NO_LABELS, file)
        collection.pictures.sort(key=lambda picture: picture.file)
        return collection


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
