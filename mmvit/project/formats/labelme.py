"""LabelMe JSON: a file a picture, shapes with points in pixels. X-AnyLabeling writes it with four points a rectangle."""

import base64
from collections.abc import Mapping, Sequence
from io import BytesIO
from math import hypot
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ..description import Collection, Picture, Thing, box_of, thing_of_mask
from ..folder import NO_IMAGE, Folder, folder_split
from ..gather import NO_SHAPE, Gathering
from .shapes import ellipse, from_corners, from_polygons

NO_AREA_KINDS = ("point", "points", "line", "linestrip")


def read(folder: Folder) -> Collection:
    gathering = Gathering(folder)
    files = dict(gathering.files(".json", is_ours, "JSON files that are not LabelMe's"))
    paths = {file: str(content["imagePath"] or file.stem) for file, content in files.items()}
    for file, named in gathering.named(paths).items():
        content = files[file]
        said = (content.get("imageWidth"), content.get("imageHeight"))
        picture = gathering.picture(named, file, said, folder_split(file))
        if picture is not None:
            _shapes(gathering, picture, content["shapes"], file)
    return gathering.finish()


def is_ours(content: Any) -> bool:
    return isinstance(content, dict) and isinstance(content.get("shapes"), list) and "imagePath" in content


def _shapes(gathering: Gathering, picture: Picture, shapes: Sequence[Any], file: Path) -> None:
    """Add the shapes; those of one group and label are the parts of one object."""
    groups: dict[tuple[str, Any], list[Thing]] = {}
    for number, shape in enumerate(shapes):
        if not isinstance(shape, dict):
            gathering.add(picture, None, file)
            continue
        name, kind = str(shape.get("label") or ""), shape.get("shape_type") or "polygon"
        if kind in NO_AREA_KINDS:
            gathering.note(NO_SHAPE, f"{file} ({name}, {kind})")
            continue
        try:
            thing = _thing(name, kind, shape, picture)
        except (TypeError, KeyError, IndexError, OverflowError, *NO_IMAGE):
            thing = None
        if thing is None:
            gathering.add(picture, None, f"{file} ({name}, {kind})")
            continue
        group = shape.get("group_id")
        groups.setdefault((name, f"alone {number}" if group is None else str(group)), []).append(thing)
    for parts in groups.values():
        polygons = [polygon for part in parts for polygon in part.polygons or ()]
        if len(parts) > 1 and all(part.polygons for part in parts):
            parts = [Thing(parts[0].name, box_of(polygons), polygons)]
        for part in parts:
            gathering.add(picture, part, file)


def _thing(name: str, kind: str, shape: Mapping[str, Any], picture: Picture) -> Thing | None:
    points = [(float(x), float(y)) for x, y in shape["points"]]
    flat = [value for point in points for value in point]
    match kind:
        case "rectangle":
            return from_corners(name, min(flat[0::2]), min(flat[1::2]), max(flat[0::2]), max(flat[1::2]))
        case "circle":
            (x, y), (edge_x, edge_y) = points
            radius = hypot(edge_x - x, edge_y - y)
            return ellipse(name, x, y, radius, radius)
        case "mask":
            return _mask(name, points, str(shape["mask"]), picture)
        case "polygon" | "oriented_rectangle" | "rotation" | "quadrilateral":
            return from_polygons(name, [flat])
    return None


def _mask(name: str, points: Sequence[tuple[float, float]], encoded: str, picture: Picture) -> Thing | None:
    """Return the object of a mask: a PNG in base64, whose upper left corner is the first point."""
    with Image.open(BytesIO(base64.b64decode(encoded))) as image:
        part = np.array(image.convert("L")) > 0
    left, top = (round(value) for value in points[0])
    whole = np.zeros((picture.height, picture.width), bool)
    if left < 0 or top < 0:
        return None
    target = whole[top : top + part.shape[0], left : left + part.shape[1]]
    target[:] = part[: target.shape[0], : target.shape[1]]
    return thing_of_mask(name, whole)
