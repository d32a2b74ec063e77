"""What labelling tools write, as one neutral description: pictures with objects by class name, or with label maps."""

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

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
IGNORED = 255

Polygon = list[float]  # x1, y1, x2, y2, ... in pixels


class Thing(NamedTuple):
    """One object: a box (x, y, width, height) in pixels, and its area as polygons or as COCO's RLE, if it was drawn."""

    name: str
    box: tuple[float, float, float, float]
    polygons: list[Polygon] | None = None
    rle: dict[str, Any] | None = None
    crowd: bool = False

    @property
    def has_mask(self) -> bool:
        return bool(self.polygons) or self.rle is not None


@dataclass
class Picture:
    """A picture and its labels.

    Attributes:
        file: relative to the folder.
        things: its objects, and regions of crowds.
        maps: its label map, relative to the folder, in a tuple; empty if it has objects.
        pixels: for a label map, the number of pixels of each class.
        split: train, val or test; None if nothing says so.
    """

    file: Path
    width: int
    height: int
    things: list[Thing] = field(default_factory=list)
    maps: tuple[Path, ...] = ()
    pixels: Counter[str] = field(default_factory=Counter)
    split: str | None = None

    def counts(self) -> Counter[str]:
        """Return the number of objects of each class, crowds not counted, or of pixels of a label map."""
        return self.pixels or Counter(thing.name for thing in self.objects())

    def objects(self) -> list[Thing]:
        """Return what a detector learns: all but crowds."""
        return [thing for thing in self.things if not thing.crowd]


@dataclass
class Collection:
    """All that a format's reader found.

    Attributes:
        format: what it is called.
        classes: names, in the order of the file that lists them.
        pictures: those that can be used.
        splits: where the splits of the pictures come from, if they have any.
        values: for label maps, the value or the colour (r, g, b) of a pixel for each class.
        direct: for COCO files that a run can read as they are, the file of each split and the folder of its pictures.
        aside: what was left out or is doubtful, with where it was.
        notes: what was decided while reading.
    """

    format: str
    classes: list[str]
    pictures: list[Picture] = field(default_factory=list)
    splits: str = "folders"
    values: list[Any] = field(default_factory=list)
    direct: dict[str, tuple[Path, str]] = field(default_factory=dict)
    aside: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    notes: list[str] = field(default_factory=list)

    @property
    def has_maps(self) -> bool:
        return bool(self.values)

    def things(self) -> list[Thing]:
        return [thing for picture in self.pictures for thing in picture.things]

    def of(self, split: str) -> list[Picture]:
        return [picture for picture in self.pictures if picture.split == split]


def box_of(polygons: list[Polygon]) -> tuple[float, float, float, float]:
    """Return the box around polygons."""
    xs = [value for polygon in polygons for value in polygon[0::2]]
    ys = [value for polygon in polygons for value in polygon[1::2]]
    return min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys)


def area_of(thing: Thing) -> float:
    """Return the area of an object in square pixels: of its polygons, its mask, or its box."""
    if thing.polygons:
        return sum(abs(_shoelace(polygon)) for polygon in thing.polygons)
    if thing.rle is not None:
        from pycocotools import mask

        return float(mask.area(thing.rle))
    return thing.box[2] * thing.box[3]


def _shoelace(polygon: Polygon) -> float:
    x, y = np.array(polygon[0::2]), np.array(polygon[1::2])
    return float(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2


def rle_of(mask: np.ndarray) -> dict[str, Any]:
    """Return a mask (H, W) as COCO's compressed RLE, with text that JSON can hold."""
    from pycocotools import mask as coco

    packed = coco.encode(np.asfortranarray(mask.astype(np.uint8)))
    return dict(size=list(packed["size"]), counts=packed["counts"].decode())


def thing_of_mask(name: str, mask: np.ndarray) -> Thing | None:
    """Return the object that a mask (H, W) shows; None if it is empty."""
    rows, columns = np.nonzero(mask.any(1))[0], np.nonzero(mask.any(0))[0]
    if not len(rows):
        return None
    box = (float(columns[0]), float(rows[0]), float(columns[-1] - columns[0] + 1), float(rows[-1] - rows[0] + 1))
    return Thing(name, box, rle=rle_of(mask))
