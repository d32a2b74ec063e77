"""Pascal VOC XML, as LabelImg, Roboflow and others write it, and the older LabelMe's, CVAT's "LabelMe 3.0": a file a picture.

Coordinates are taken as they are: LabelImg and Roboflow count pixels from 0, the files of the challenge from 1.
"""

from pathlib import Path
from xml.etree.ElementTree import Element

from ..description import Collection, Picture, Thing
from ..folder import Folder, folder_split, words_of
from ..gather import Gathering
from .shapes import from_corners, from_polygons

SIZES = (("width", "ncols"), ("height", "nrows"))


def read(folder: Folder) -> Collection:
    gathering = Gathering(folder)
    files = dict(gathering.files(".xml", is_ours, "XML files that are not Pascal VOC"))
    for file, named in gathering.named({file: _said(root) for file, root in files.items()}).items():
        root = files[file]
        said = [root.findtext(f"size/{one}") or root.findtext(f"imagesize/{other}") for one, other in SIZES]
        picture = gathering.picture(named, file, said, folder_split(file))
        if picture is not None:
            _objects(gathering, picture, root, file)
    return gathering.finish(file for file in folder.pictures if "Segmentation" not in str(file.parent))


def is_ours(root: Element | None) -> bool:
    return root is not None and root.tag == "annotation" and root.find("filename") is not None


def _said(root: Element) -> str:
    """Return the picture that a file names, with the folders that it says: several may have pictures of one name."""
    name, path, above = (root.findtext(key) or "" for key in ("filename", "path", "folder"))
    return path if words_of(path)[-1:] == words_of(name)[-1:] else f"{above}/{name}"


def _objects(gathering: Gathering, picture: Picture, root: Element, file: Path) -> None:
    for entry in root.iter("object"):
        name = (entry.findtext("name") or "").strip()
        if (entry.findtext("deleted") or "").strip() == "1":  # LabelMe keeps what was taken out
            continue
        drawn = entry.find("polygon")
        try:
            thing = None if drawn is None else from_polygons(name, [_points(drawn)])
            if drawn is None or drawn.find("pt") is None:
                x1, y1, x2, y2 = (float(entry.findtext(f"bndbox/{key}") or "") for key in ("xmin", "ymin", "xmax", "ymax"))
                thing = thing or from_corners(name, x1, y1, x2, y2)
                if x2 < x1 or y2 < y1:
                    gathering.doubt("boxes whose corners are exchanged, read as what they span", f"{file} ({name})")
            elif thing is not None and entry.findtext("type") == "bounding_box":
                thing = Thing(name, thing.box)
        except ValueError:
            thing = None
        gathering.add(picture, thing, file)


def _points(drawn: Element) -> list[float]:
    """Return the points of a polygon: Roboflow's tags x1, y1, x2, y2, ..., or LabelMe's pt of an x and a y."""
    if corners := drawn.findall("pt"):
        return [float(corner.findtext(axis) or "") for corner in corners for axis in "xy"]
    points = {child.tag: float(child.text or "") for child in drawn}
    count = len(points) // 2
    return [points.get(f"{axis}{index}", float("nan")) for index in range(1, count + 1) for axis in "xy"]
