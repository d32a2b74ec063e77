"""Pascal VOC XML, as LabelImg, Roboflow and others write it: a file a picture.

Coordinates are taken as they are: LabelImg and Roboflow count pixels from 0, the files of the challenge from 1.
"""

from pathlib import Path
from xml.etree.ElementTree import Element

from ..description import Collection, Picture
from ..folder import Folder, folder_split, listed_splits, plain
from ..gather import Gathering
from .shapes import from_corners, from_polygons


def recognise(folder: Folder) -> bool:
    return any(_root(folder, file) is not None for file in folder.of(".xml")[:5])


def read(folder: Folder) -> Collection:
    lists = listed_splits(folder, "Main")
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
        collection.splits = "ImageSets"
    return collection


def _root(folder: Folder, file: Path) -> Element | None:
    root = folder.xml(file)
    return root if root is not None and root.tag == "annotation" and root.find("filename") is not None else None


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
