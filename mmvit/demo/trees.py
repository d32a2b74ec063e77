"""The second embedded dataset: tree crowns on aerial photographs, in tiles, in COCO's format.

The wheel of `deepforest` (Weinstein et al., https://doi.org/10.1111/2041-210X.13472; MIT) carries four photographs with 951
annotated crowns. Only these files are read, the package itself is never imported: `pip install --no-deps deepforest` suffices.
The largest photograph (574 crowns) is for training, the three others, of other places, for validation.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.machinery import PathFinder
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from .dataset import ensure

CLASSES = ("tree",)
PHOTOGRAPHS = {
    "train": ("2019_YELL_2_528000_4978000_image_crop2",),
    "val": ("2019_YELL_2_541000_4977000_image_crop", "OSBS_029", "SOAP_061"),
}
ATTRIBUTION = "deepforest (MIT), from images of the National Ecological Observatory Network"


@dataclass(frozen=True)
class TreesSpec:
    """Settings of a build.

    Args:
        tile: longest side of a tile, pixels.
        overlap: least overlap of neighbouring tiles for training, pixels; those for validation do not overlap.
        visible: least share of a crown's box in a tile; less of it is not annotated there.
    """

    tile: int = 256
    overlap: int = 64
    visible: float = 0.5


@dataclass(frozen=True)
class Photograph:
    """An image (H, W, 3), uint8, RGB, and the boxes of its crowns (N, 4), x1 y1 x2 y2 in pixels."""

    name: str
    pixels: np.ndarray
    boxes: np.ndarray


def build(root: Path, spec: TreesSpec = TreesSpec(), source: Path | None = None) -> Path:
    """Make sure that `root` holds the dataset that `spec` describes, and return `root`.

    The layout is `coco/{annotations,train2017,val2017}`. For what happens to other files there, see `dataset.ensure`.

    Args:
        root: folder of the dataset.
        spec: settings.
        source: folder of the photographs; by default the data of the installed deepforest.

    Raises:
        FileExistsError: `root` holds anything that no build put there.
        ImportError: deepforest is not installed, or lacks a photograph.
    """
    return ensure(root, spec, lambda fresh: _write(fresh, spec, source or installed()))


def installed() -> Path:
    """Return the folder of the installed package's data, without importing it.

    Raises:
        ImportError: it is not installed.
    """
    found = PathFinder.find_spec("deepforest")
    if found is None or not found.submodule_search_locations:
        raise ImportError("the demo with trees needs the data of deepforest: pip install --no-deps deepforest")
    return Path(next(iter(found.submodule_search_locations))) / "data"


def read(name: str, folder: Path) -> Photograph:
    """Read a photograph and its annotations in the format of PASCAL VOC.

    Raises:
        ImportError: this version of deepforest has no such photograph.
    """
    from PIL import Image

    picture, annotations = folder / f"{name}.png", folder / f"{name}.xml"
    if not picture.is_file() or not annotations.is_file():
        raise ImportError(f"no {name}.png and .xml in {folder}: pip install --no-deps deepforest==2.1.0 has them")
    corners = ("xmin", "ymin", "xmax", "ymax")
    rows = [
        [float(box.findtext(corner) or "nan") for corner in corners]
        for box in ElementTree.parse(annotations).getroot().iterfind("object/bndbox")
    ]
    with Image.open(picture) as image:
        return Photograph(name, np.asarray(image.convert("RGB")), np.array(rows).reshape(-1, 4))


def places(side: int, tile: int, overlap: int) -> list[tuple[int, int]]:
    """Return start and end of the tiles along a side: as few as possible, evenly spread, with at least the overlap."""
    if side <= tile:
        return [(0, side)]
    count = -(-(side - overlap) // (tile - overlap))
    if overlap == 0:  # smaller tiles instead of overlapping ones
        edges = np.rint(np.linspace(0, side, count + 1)).astype(int).tolist()
        return list(pairwise(edges))
    starts = np.rint(np.linspace(0, side - tile, count)).astype(int).tolist()
    return [(start, start + tile) for start in starts]


def tiles(photograph: Photograph, tile: int, overlap: int, visible: float) -> Iterator[Photograph]:
    """Yield the tiles of a photograph, with the boxes clipped to them."""
    height, width = photograph.pixels.shape[:2]
    areas = np.prod(photograph.boxes[:, 2:] - photograph.boxes[:, :2], axis=1)
    for top, bottom in places(height, tile, overlap):
        for left, right in places(width, tile, overlap):
            corner = np.array([left, top, left, top])
            limits = np.array([right - left, bottom - top] * 2)
            boxes = np.clip(photograph.boxes - corner, 0, limits)
            kept = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1) >= visible * areas
            yield Photograph(f"{photograph.name}_{left}_{top}", photograph.pixels[top:bottom, left:right], boxes[kept])


def _write(fresh: Path, spec: TreesSpec, source: Path) -> None:
    number = 0
    for split, names in PHOTOGRAPHS.items():
        folder = fresh / "coco" / f"{split}2017"
        folder.mkdir(parents=True)
        images: list[dict] = []
        annotations: list[dict] = []
        for name in names:
            overlap = spec.overlap if split == "train" else 0
            for tile in tiles(read(name, source), spec.tile, overlap, spec.visible):
                number += 1
                images.append(_write_tile(folder, tile, number))
                annotations += _entries(tile, number, len(annotations))
        content = dict(
            info=dict(description=f"tree crowns; {ATTRIBUTION}"),
            images=images,
            annotations=annotations,
            categories=[dict(id=1, name=CLASSES[0])],
        )
        path = fresh / "coco/annotations" / f"instances_{split}2017.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(content))


def _write_tile(folder: Path, tile: Photograph, number: int) -> dict:
    from PIL import Image

    height, width = tile.pixels.shape[:2]
    Image.fromarray(tile.pixels).save(folder / f"{tile.name}.png")
    return dict(id=number, file_name=f"{tile.name}.png", height=height, width=width)


def _entries(tile: Photograph, image: int, before: int) -> list[dict]:
    entries = []
    for index, (x1, y1, x2, y2) in enumerate(tile.boxes.tolist(), before + 1):
        width, height = x2 - x1, y2 - y1
        box = [x1, y1, width, height]
        entries.append(dict(id=index, image_id=image, category_id=1, bbox=box, area=width * height, iscrowd=0))
    return entries
