"""What a run reads: annotations in COCO's format, label maps, lists. Pictures stay where they are."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from ..config.datasets import SPLITS
from ..errors import InputError, first_few
from .description import IGNORED, Collection, Picture, Thing, area_of
from .folder import Folder, agreeing
from .formats.label_pixels import flat, numbers_of


def write_coco(collection: Collection, out: Path) -> dict[str, Path]:
    """Write a file for each split, with the classes in their order; file names are relative to the folder of pictures."""
    numbers = {name: number for number, name in enumerate(collection.classes, 1)}
    categories = [dict(id=number, name=name) for name, number in numbers.items()]
    written = {}
    out.mkdir(parents=True)
    for split in SPLITS:
        if pictures := collection.of(split):
            entries = [(number, thing) for number, picture in enumerate(pictures, 1) for thing in picture.things]
            content = dict(
                images=[
                    dict(id=number, file_name=picture.file.as_posix(), width=picture.width, height=picture.height)
                    for number, picture in enumerate(pictures, 1)
                ],
                categories=categories,
                annotations=[
                    _annotation(number, image, numbers[thing.name], thing) for number, (image, thing) in enumerate(entries, 1)
                ],
            )
            written[split] = out / f"{split}.json"
            written[split].write_text(json.dumps(content), encoding="utf-8")
    return written


def _annotation(number: int, image: int, category: int, thing: Thing) -> dict[str, Any]:
    shape = thing.rle or [[_short(value) for value in polygon] for polygon in thing.polygons or ()]
    return dict(
        id=number,
        image_id=image,
        category_id=category,
        bbox=[_short(value) for value in thing.box],
        area=_short(area_of(thing)),
        segmentation=shape,
        iscrowd=int(thing.crowd),
    )


def _short(value: float) -> float:
    return round(float(value), 2)


class Parallel(NamedTuple):
    """Folders of pictures, below the root, and of label maps with the same names below them; the ends of these names."""

    pictures: str
    maps: str
    suffixes: tuple[str, str]


def parallel(folder: Folder, collection: Collection) -> Parallel | None:
    """Return how a run finds the label maps as they are; None if they must be written.

    They must be if their values are not the numbers of the classes, or if their names do not follow from the pictures'.
    """
    if not collection.has_maps or collection.values != list(range(len(collection.classes))):
        return None
    found = {_roots(picture.file, picture.maps[0]) for picture in collection.pictures}
    place = found.pop() if len(found) == 1 else None
    if place is None or any(_is_cut(_listed(picture, place.pictures, place.suffixes[0])) for picture in collection.pictures):
        return None
    if not all(flat(folder, picture.maps[0]) for picture in collection.pictures):
        return None
    return place._replace(maps=(folder.root / place.maps).as_posix())


def _roots(picture: Path, label: Path) -> Parallel | None:
    """Return the folders above what the paths of a picture and its map have in common."""
    if not label.name.startswith(picture.stem):
        return None
    ends = (picture.suffix, label.name.removeprefix(picture.stem))
    common = agreeing(reversed(picture.parent.parts), reversed(label.parent.parts))
    above, beside = ("/".join(path.parts[: -1 - common]) for path in (picture, label))
    return Parallel(above, beside, ends)


def write_lists(collection: Collection, out: Path, prefix: str, suffix: str) -> None:
    """Write the names of each split's pictures, one a line, without the folder and the suffix that all share.

    Raises:
        InputError: a name begins or ends with a space, or is not UTF-8.
    """
    out.mkdir(parents=True, exist_ok=True)
    for split in SPLITS:
        if pictures := collection.of(split):
            names = [_listed(picture, prefix, suffix) for picture in pictures]
            if cut := [f"'{name}'" for name in names if _is_cut(name)]:
                raise InputError(f"{first_few(cut)}: mmseg cuts spaces around a name in a list. Rename the file or folder")
            save_text(out / f"{split}.txt", "\n".join(names) + "\n")


def _listed(picture: Picture, prefix: str, suffix: str) -> str:
    return picture.file.relative_to(prefix).as_posix().removesuffix(suffix)


def _is_cut(name: str) -> bool:
    """Return whether mmseg, which cuts spaces around the lines of a list, would read another name."""
    return name != name.strip()


def save_text(file: Path, text: str) -> None:
    """Write a text in UTF-8. Raise InputError if a path in it is not UTF-8, as those from old archives."""
    try:
        file.write_text(text, encoding="utf-8")
    except UnicodeEncodeError as error:
        line = text[text.rfind("\n", 0, error.start) + 1 :].partition("\n")[0]
        raise InputError(f"{file.name}: {line!a} has a name that is not UTF-8. Rename the file or folder") from error


def write_maps(folder: Folder, collection: Collection, out: Path) -> None:
    """Write a label map for each picture, `PICTURE.png`, with the number of each pixel's class; 255 is none."""
    for picture in collection.pictures:
        labels = numbers_of(folder, collection.values, picture.maps[0]) if picture.maps else drawn(picture, collection.classes)
        file = out / f"{picture.file.as_posix()}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(labels).save(file)


def drawn(picture: Picture, classes: Sequence[str]) -> np.ndarray:
    """Return the label map (H, W) of a picture's objects; small ones lie above large ones, and the rest is class 0.

    Args:
        classes: names; objects of a class that is not listed get the last number, as in background and foreground.
    """
    labels = np.zeros((picture.height, picture.width), np.uint8)
    numbers = {name: number for number, name in enumerate(classes)}
    for thing in sorted(picture.things, key=area_of, reverse=True):
        labels[mask_of(thing, picture)] = IGNORED if thing.crowd else numbers.get(thing.name, len(classes) - 1)
    return labels


def mask_of(thing: Thing, picture: Picture) -> np.ndarray:
    """Return the mask (H, W) of an object: of its RLE, its polygons, or its box, as COCO's evaluation draws them."""
    from pycocotools import mask

    if thing.rle is not None:
        return mask.decode(thing.rle).astype(bool)
    x, y, width, height = thing.box
    polygons = thing.polygons or [[x, y, x + width, y, x + width, y + height, x, y + height]]
    return mask.decode(mask.merge(mask.frPyObjects(polygons, picture.height, picture.width))).astype(bool)
