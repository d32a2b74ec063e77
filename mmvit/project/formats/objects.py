"""Two maps a picture, of classes and of single objects: `SegmentationClass` and `SegmentationObject` of Pascal VOC and CVAT."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from ..description import IGNORED, Collection, Thing, thing_of_mask
from ..folder import Folder
from ..gather import OTHER_SIZE
from .label_maps import OBJECTS, SPARE, pairs_of, read
from .label_pixels import are_colours, numbers_of, packed, read_map

VOID = 0xE0E0C0  # the colour of 255 in Pascal VOC's palette


def recognise(folder: Folder) -> bool:
    return bool(_objects(folder))


def read_objects(folder: Folder) -> Collection:
    """Return the pictures of a folder with an object for each number or colour of a map of objects, black and 255 left out.

    Raises:
        InputError: see `label_maps.read`.
    """
    maps, objects = read(folder), _objects(folder)
    aside, pictures, used = maps.aside, [], {*map(str, objects.values())}
    if spare := [name for name in aside.pop(SPARE, []) if name not in used]:
        aside[SPARE] = spare
    for picture in maps.pictures:
        file = objects.get(picture.maps[0])
        drawn = None if file is None else read_map(folder, file, 0, are_colours(maps.values))
        if drawn is None:
            aside["label maps without a map of objects"].append(str(picture.maps[0]))
        elif drawn.shape[:2] != (picture.height, picture.width):
            aside[OTHER_SIZE].append(f"{picture.file} (map of objects {file})")
        else:
            things = _things(drawn, numbers_of(folder, maps.values, picture.maps[0]), maps.classes)
            pictures.append(replace(picture, maps=(), pixels=Counter(), things=things))
    found = {thing.name for picture in pictures for thing in picture.things}
    classes = [name for name in maps.classes if name in found]
    return replace(maps, classes=classes, pictures=pictures, values=[])


def _objects(folder: Folder) -> dict[Path, Path]:
    """Return the map of objects of each map of classes: the file of the same name in a folder that is called so."""
    pairs, spare = pairs_of(folder)
    found = {(file.parent.parent, file.name): file for file in spare if OBJECTS.search(file.parent.name)}
    places = {label: (label.parent.parent, label.name) for label in pairs.values()}
    return {label: found[place] for label, place in places.items() if place in found}


def _things(drawn: np.ndarray, labels: np.ndarray, classes: Sequence[str]) -> list[Thing]:
    """Return the objects of a map of objects; each is of the class that most of its pixels have."""
    numbers = packed(drawn)
    things = []
    for number in np.setdiff1d(numbers, (0, VOID)):
        mask = numbers == number
        counts = np.bincount(labels[mask], minlength=IGNORED + 1)[:IGNORED]
        if counts.any() and (thing := thing_of_mask(classes[int(counts.argmax())], mask)) is not None:
            things.append(thing)
    return things
