"""CVAT's own XML, "CVAT for images 1.1": one file, boxes, polygons, masks and ellipses."""

from xml.etree.ElementTree import Element

import numpy as np

from ..description import Collection, Picture, Thing, thing_of_mask
from ..folder import Folder, folder_split, split_in
from ..gather import NO_SHAPE, Gathering
from .shapes import ellipse, from_corners, from_polygons, turned

NO_AREA_KINDS = ("points", "polyline", "tag", "skeleton", "cuboid")


def read(folder: Folder) -> Collection:
    gathering = Gathering(folder)
    names: dict[str, None] = {}
    for file, root in gathering.files(".xml", is_ours, "XML files that are not CVAT's"):
        names |= dict.fromkeys(name for label in root.iter("label") if (name := label.findtext("name")))
        for track in root.iter("track"):
            gathering.note("tracks of a video: export the task as CVAT for images", f"{file} ({track.get('label')})")
        for entry in root.iter("image"):
            split = split_in(entry.get("subset") or "") or folder_split(file)
            picture = gathering.picture(entry.get("name") or "", file, (entry.get("width"), entry.get("height")), split)
            if picture is not None:
                _objects(gathering, picture, entry)
    gathering.collection.classes = list(names)
    collection = gathering.finish()
    collection.splits = "subsets of the task"
    return collection


def is_ours(root: Element | None) -> bool:
    return root is not None and root.tag == "annotations" and (root.find("image") is not None or root.find("track") is not None)


def _objects(gathering: Gathering, picture: Picture, image: Element) -> None:
    for entry in image:
        name = entry.get("label") or ""
        where = f"{picture.file} ({name}, {entry.tag})"
        if entry.tag in NO_AREA_KINDS:
            gathering.note(NO_SHAPE, where)
            continue
        try:
            thing = _thing(name, entry, picture)
        except (KeyError, ValueError, OverflowError):
            thing = None
        gathering.add(picture, thing, where)


def _thing(name: str, entry: Element, picture: Picture) -> Thing | None:
    values = entry.attrib
    degrees = float(values.get("rotation", 0))
    match entry.tag:
        case "box":
            upright = from_corners(name, *(float(values[key]) for key in ("xtl", "ytl", "xbr", "ybr")))
            x, y, width, height = upright.box
            return turned(name, upright.box, degrees, (x + width / 2, y + height / 2))
        case "polygon":
            points = [value for point in values["points"].split(";") for value in point.split(",")]
            return from_polygons(name, [[float(value) for value in points]])
        case "ellipse":
            x, y, rx, ry = (float(values[key]) for key in ("cx", "cy", "rx", "ry"))
            return ellipse(name, x, y, rx, ry, degrees)
        case "mask":
            return _mask(name, entry, picture)
    return None


def _mask(name: str, entry: Element, picture: Picture) -> Thing | None:
    """Return the object of a mask: lengths of background and object in turn, row by row inside of its box."""
    left, top, width, height = (int(float(entry.attrib[key])) for key in ("left", "top", "width", "height"))
    lengths = [int(word) for word in entry.attrib["rle"].split(",")]
    inside = left >= 0 and top >= 0 and left + width <= picture.width and top + height <= picture.height
    if not inside or min(lengths) < 0 or sum(lengths) != width * height:
        return None
    part = np.repeat(np.arange(len(lengths)) % 2 == 1, lengths).reshape(height, width)
    whole = np.zeros((picture.height, picture.width), bool)
    whole[top : top + height, left : left + width] = part
    return thing_of_mask(name, whole)
