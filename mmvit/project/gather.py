"""What all readers of objects share: pictures are found and measured, objects are cut to them, and what is odd is noted."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from math import isfinite
from pathlib import Path
from typing import Any

from ..errors import InputError
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
        self._reading = Path()  # the label file
        self._source: dict[Path, Path] = {}  # the label file of each picture's objects

    def note(self, what: str, where: object) -> None:
        self.collection.aside[what].append(str(where))

    def doubt(self, what: str, where: object) -> None:
        """Note what is odd, and was read."""
        self.collection.doubts[what].append(str(where))

    @property
    def noted(self) -> int:
        return sum(map(len, (*self.collection.aside.values(), *self.collection.doubts.values())))

    def files(self, suffix: str, are_ours: Callable[[Any], bool], others: str) -> Iterator[tuple[Path, Any]]:
        """Yield the format's files and their contents, and note the others that end in the suffix."""
        for file in self.folder.of(suffix):
            content = self.folder.content(file)
            if are_ours(content):
                yield file, content
            else:
                self.note(others, file)

    def named(self, files: Mapping[Path, str]) -> dict[Path, str]:
        """Return the name of the picture of each label file: the one that it says, or its own.

        What leads to more of the pictures counts for all files: renamed pictures leave old names in their files, and files
        may have numbers of their own. The other counts where it leads to a picture that would have no labels.

        Args:
            files: what each file says.
        """
        said = {file: self.folder.picture(name, file) for file, name in files.items()}
        alike = {file: self.folder.picture(file.stem, file) for file in files}
        first, second = (said, alike) if len({*said.values()} - {None}) >= len({*alike.values()} - {None}) else (alike, said)
        taken = {*first.values()}
        names = {}
        for file, name in files.items():
            other = second[file] if first[file] or second[file] not in taken else None
            found = first[file] or other
            if first[file] and other and first[file] != other:
                self.doubt("label files whose own name and text name two pictures", f"{file} (read for {found}, not {other})")
            names[file] = name if found == said[file] and (found or self.folder.called(name)) else file.stem
        return names

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
        self._reading = near
        if (taken := self._taken.get(file)) is not None:
            if split and taken.split and split != taken.split:
                self.doubt("pictures in two splits, which stay in the first", f"{file} ({taken.split}; {near})")
            return taken
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
        """Add an object to a picture, cut to it. What has no area, no class, or lies outside is noted instead.

        Raises:
            InputError: the picture has objects of another label file, such as an older one.
        """
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
        if (first := self._source.setdefault(picture.file, self._reading)) != self._reading:
            raise InputError(
                f"{self.folder.root}: {first} and {self._reading} have different objects of {picture.file}. "
                "Move one of them out of this folder, or merge them"
            )
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
        kept = [polygon for polygon in polygons if polygon and min(box_of([polygon])[2:]) > 0]
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
    """Return the part of a polygon in the picture, cut at one border after another (Sutherland and Hodgman, 1974)."""
    points = list(zip(polygon[0::2], polygon[1::2], strict=True))
    for axis, border, sign in ((0, 0.0, 1), (0, float(width), -1), (1, 0.0, 1), (1, float(height), -1)):
        kept = []
        for start, end in zip(points[-1:] + points, points, strict=False):
            before, after = sign * (start[axis] - border), sign * (end[axis] - border)  # below 0 is outside
            if before * after < 0:
                along = start[1 - axis] + before / (before - after) * (end[1 - axis] - start[1 - axis])
                kept.append((along, border) if axis else (border, along))
            if after >= 0:
                kept.append(end)
        points = kept
    return [value for point in points for value in point]
