"""Pascal VOC XML, as LabelImg, Roboflow and others write it: a file a picture.

Coordinates are taken as they are: LabelImg and Roboflow count pixels from 0, the files of the challenge from 1.
"""

import re
from pathlib import Path
from xml.etree.ElementTree import Element

from ...config.datasets import SPLITS
from ..description import Collection, Picture
from ..folder import PICTURES, Folder, folder_split, plain
from ..gather import Gathering
from .shapes import from_corners, from_polygons


def recognise(folder: Folder) -> bool:
    return any(_root(folder, file) is not None for file in folder.of(".xml")[:5])


def read(folder: Folder) -> Collection:
    lists = _lists(folder)
    gathering = Gathering(folder, "Pascal VOC XML")
    for file in folder.of(".xml"):
        root = _root(folder, file)
        if root is None:
            gathering.note("XML files that are not Pascal VOC", file)
            continue
        named = root.findtext("filename") or ""
        if folder.picture(named, file) is None or Path(named).stem != file.stem:
            named = file.stem  # tools that rename pictures leave the old name in the file
        picture = gathering.picture(named, file, _size(root), lists.get(plain(file.stem)) or folder_split(file))
        if picture is not None:
            _objects(gathering, picture, root, file)
    collection = gathering.finish(file for file in folder.pictures if "Segmentation" not in str(file.parent))
    if lists:
        collection.splits = "ImageSets/Main"
    return collection


def _root(folder: Folder, file: Path) -> Element | None:
    root = folder.xml(file)
    return root if root is not None and root.tag == "annotation" and root.find("filename") is not None else None


def _lists(folder: Folder) -> dict[str, str]:
    """Return the split of each picture that the lists of ImageSets/Main name."""
    found: dict[str, str] = {}
    for split in SPLITS:
        for file in folder.named(f"{split}.txt"):
            if file.parent.name in ("Main", "ImageSets", "Segmentation"):
                for line in folder.text(file).splitlines():
                    name = Path(re.sub(r"(\s+-1|\s\s+[01])$", "", line.strip()))  # lists of a class say whether it is there
                    found.setdefault(plain(name.stem if name.suffix.lower() in PICTURES else name.name), split)
    return found


def _size(root: Element) -> tuple[int, int] | None:
    try:
        return int(float(root.findtext("size/width") or 0)), int(float(root.findtext("size/height") or 0))
    except ValueError:
        return None


def _objects(gathering: Gathering, picture: Picture, root: Element, file: Path) -> None:
    for entry in root.iter("object"):
        name = (entry.findtext("name") or "").strip()
        corners = [entry.findtext(f"bndbox/{key}") for key in ("xmin", "ymin", "xmax", "ymax")]
        try:
            thing = from_corners(name, *(float(value or "") for value in corners))
            if (drawn := entry.find("polygon")) is not None:  # Roboflow's: x1, y1, x2, y2, ... as tags
                thing = from_polygons(name, [_points(drawn)]) or thing
            if float(corners[2] or 0) < float(corners[0] or 0) or float(corners[3] or 0) < float(corners[1] or 0):
                gathering.note("boxes whose corners are exchanged, read as what they span", f"{file} ({name})")
        except ValueError:
            gathering.add(picture, None, file)
            continue
        gathering.add(picture, thing, file)


def _points(drawn: Element) -> list[float]:
    points = {child.tag: float(child.text or "") for child in drawn}
    count = len(points) // 2
    return [points.get(f"{axis}{index}", float("nan")) for index in range(1, count + 1) for axis in "xy"]
