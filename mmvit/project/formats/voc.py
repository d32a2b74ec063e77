"""Pascal VOC XML, as LabelImg, Roboflow and others write it: a file a picture.

Coordinates are taken as they are: LabelImg and Roboflow count pixels from 0, the files of the challenge from 1.
"""

from pathlib import Path
from xml.etree.ElementTree import Element

from ..description import Collection, Picture, Thing
from ..folder import Folder, folder_split, listed_splits, plain, words_of
from ..gather import Gathering
from .shapes import from_corners, from_polygons


def read(folder: Folder) -> Collection:
    lists = listed_splits(folder, "Main")
    gathering = Gathering(folder)
    files = dict(gathering.files(".xml", is_ours, "XML files that are not Pascal VOC"))
    for file, named in gathering.named({file: _said(root) for file, root in files.items()}).items():
        root = files[file]
        said = (root.findtext("size/width"), root.findtext("size/height"))
        picture = gathering.picture(named, file, said, folder_split(file))
        if picture is not None:
            picture.split = lists.get(plain(picture.file.stem)) or picture.split
            _objects(gathering, picture, root, file)
    collection = gathering.finish(file for file in folder.pictures if "Segmentation" not in str(file.parent))
    if lists:
        collection.splits = "ImageSets"
    return collection


def is_ours(root: Element | None) -> bool:
    return root is not None and root.tag == "annotation" and root.find("filename") is not None


def _said(root: Element) -> str:
    """Return the picture that a file names, with the folders that it says: several may have pictures of one name."""
    name, path, above = (root.findtext(key) or "" for key in ("filename", "path", "folder"))
    return path if words_of(path)[-1:] == words_of(name)[-1:] else f"{above}/{name}"


def _objects(gathering: Gathering, picture: Picture, root: Element, file: Path) -> None:
    for entry in root.iter("object"):
        name = (entry.findtext("name") or "").strip()
        try:
            x1, y1, x2, y2 = (float(entry.findtext(f"bndbox/{key}") or "") for key in ("xmin", "ymin", "xmax", "ymax"))
            thing: Thing | None = from_corners(name, x1, y1, x2, y2)
            if (drawn := entry.find("polygon")) is not None:  # Roboflow's: x1, y1, x2, y2, ... as tags
                thing = from_polygons(name, [_points(drawn)]) or thing
            if x2 < x1 or y2 < y1:
                gathering.doubt("boxes whose corners are exchanged, read as what they span", f"{file} ({name})")
        except ValueError:
            thing = None
        gathering.add(picture, thing, file)


def _points(drawn: Element) -> list[float]:
    points = {child.tag: float(child.text or "") for child in drawn}
    count = len(points) // 2
    return [points.get(f"{axis}{index}", float("nan")) for index in range(1, count + 1) for axis in "xy"]
