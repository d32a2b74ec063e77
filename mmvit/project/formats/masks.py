"""One mask an object: black and white images, which belong to a picture by their folder or by their name.

`NAME/images/NAME.png` with `NAME/masks/*.png` (Data Science Bowl 2018), `masks/NAME/*.png`, and
`NAME_CLASS_NUMBER.png` beside `NAME.jpg` (pycococreator).
"""

import re
from collections import defaultdict
from pathlib import Path

import numpy as np
from PIL import Image

from ..description import Collection, thing_of_mask
from ..folder import NO_IMAGE, Folder, folder_split
from ..gather import OTHER_SIZE, UNREADABLE, Gathering
from .label_maps import MAP_NAMES

OBJECT = "object"  # the class of masks that name none
FEW = 12  # masks that are looked into before a folder is recognised


def recognise(folder: Folder) -> bool:
    owned = _owned(folder)
    masks = [mask for several in owned.values() for mask, _ in several]
    most = max((len(several) for several in owned.values()), default=0)
    return most > 1 and all(_read(folder, mask) is not None for mask in masks[:FEW])


def read(folder: Folder) -> Collection:
    gathering = Gathering(folder)
    owned = _owned(folder)
    masks = {mask for several in owned.values() for mask, _ in several}
    for file, several in owned.items():
        named: dict[str, Path] = {}
        picture = gathering.picture(file.as_posix(), file, split=folder_split(file))
        if picture is None:
            continue
        for path, name in several:
            if (first := named.setdefault(path.name, path)) != path:
                gathering.doubt("masks of one name in two folders, which are two objects", f"{first} and {path}")
            drawn = _read(folder, path)
            if drawn is None:
                gathering.note(UNREADABLE, path)
            elif drawn.shape != (picture.height, picture.width):
                gathering.note(OTHER_SIZE, path)
            elif (thing := thing_of_mask(name, drawn)) is None:
                gathering.note("masks that are empty", path)
            else:
                gathering.add(picture, thing, path)
    return gathering.finish(file for file in folder.pictures if file not in masks)


def _owned(folder: Folder) -> dict[Path, list[tuple[Path, str]]]:
    """Return the masks of each picture, with the class that each shows."""
    found: dict[Path, list[tuple[Path, str]]] = defaultdict(list)
    by_parent: dict[Path, list[Path]] = defaultdict(list)
    for file in folder.pictures:
        by_parent[file.parent].append(file)
    for file in folder.pictures:
        parent = file.parent
        beside = by_parent.get(parent.parent / "images", ()) if parent.name == "masks" else ()
        if len(beside) == 1:
            found[beside[0]].append((file, OBJECT))
        elif "mask" in str(parent.parent).lower() and (owner := folder.picture(parent.name, parent)) is not None:
            found[owner].append((file, OBJECT))
        elif named := _named(folder, file):
            found[named[0]].append((file, named[1]))
    return found


def _named(folder: Folder, mask: Path) -> tuple[Path, str] | None:
    """Return the picture and the class of PICTURE_CLASS_NUMBER, both of which may have words: the longest picture counts.

    PICTURE_mask_1 beside PICTURE_mask is a further mask of one kind, and no object of the class "mask".
    """
    *words, number = mask.stem.split("_")
    for count in range(len(words) - 1, 0, -1) if number.isdecimal() else ():
        first, name = "_".join(words[:count]), "_".join(words[count:])
        if MAP_NAMES.fullmatch(name) and folder.called(f"{first}_{name}"):
            continue
        if re.fullmatch(r"[A-Za-z][\w ]*", name) and (owner := folder.picture(first, mask)) is not None:
            return owner, name
    return None


def _read(folder: Folder, mask: Path) -> np.ndarray | None:
    """Return a black and white image as a mask (H, W); None if it has more than two values."""
    try:
        with Image.open(folder.root / mask) as image:
            values = np.array(image.convert("L"))
    except NO_IMAGE:
        return None
    return values > 0 if len(np.unique(values)) <= 2 else None
