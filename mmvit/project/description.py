"""What labelling tools write, as one neutral description: pictures with objects by class name, or with label maps."""

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

IGNORED = 255
BACKGROUND = "background"
FOREGROUND = "foreground"

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
    """A picture and its labels."""

    file: Path  # relative to the folder
    width: int
    height: int
    things: list[Thing] = field(default_factory=list)  # its objects, and regions of crowds
    maps: tuple[Path, ...] = ()  # its label map, relative to the folder, in a tuple; empty if it has objects
    pixels: Counter[str] = field(default_factory=Counter)  # for a label map, the number of pixels of each class
    split: str | None = None  # train, val or test; None if nothing says so

    def counts(self) -> Counter[str]:
        """Return the number of objects of each class, crowds not counted, or of pixels of a label map."""
        return self.pixels or Counter(thing.name for thing in self.objects())

    def objects(self) -> list[Thing]:
        """Return what a detector learns: all but crowds."""
        return [thing for thing in self.things if not thing.crowd]


@dataclass
class Collection:
    """All that a format's reader found."""

    classes: list[str]  # names, in the order of the file that lists them
    pictures: list[Picture] = field(default_factory=list)  # those that can be used
    format: str = ""  # what it is called, as `formats.read` sets it
    splits: str = "folders"  # where the splits of the pictures come from, if they have any
    values: list[Any] = field(default_factory=list)  # for label maps, the pixel of each class: a value, or a colour (r, g, b)
    # for COCO files that a run can read as they are, the file of each split and the folder of its pictures
    direct: dict[str, tuple[Path, str]] = field(default_factory=dict)
    aside: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))  # what was left out, and where
    doubts: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))  # what was read and is odd, and where
    notes: list[str] = field(default_factory=list)  # what was decided while reading

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


def thing_of_mask(name: str, mask: np.ndarray) -> Thing | None:
    """Return the object that a mask (H, W) shows, with an RLE that JSON can hold; None if it is empty."""
    from pycocotools import mask as coco

    if not mask.any():
        return None
    packed = coco.encode(np.asfortranarray(mask.astype(np.uint8)))
    x, y, width, height = coco.toBbox(packed).tolist()
    return Thing(name, (x, y, width, height), rle=dict(packed, counts=packed["counts"].decode()))
