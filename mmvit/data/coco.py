"""A COCO annotation file as columns of numbers, and which annotations mmdet skips."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

IGNORE = (
    "annotations with ignore=1, which pycocotools does not read: an evaluation by a file counts them as objects to find. "
    "iscrowd=1 leaves them out of both"
)
THIN = "boxes less than a pixel wide or high, zero and negative sizes included"
OUTSIDE = "boxes outside of their image"
FLAT = "areas that are not above zero"
UNKNOWN = "categories that the file does not have"
OTHER = "categories that are none of the dataset's classes"
STRAY = 'image_ids that no image of the file has (1 and "1" differ)'
REASONS = (IGNORE, STRAY, THIN, OUTSIDE, FLAT, UNKNOWN, OTHER)
WHOLE, PARTIAL, LOST = range(3)  # how much of a mask mmdet reads


@dataclass
class Columns:
    """The annotations of a file, N of them."""

    ids: Sequence[Hashable]
    image: np.ndarray  # (N,), position of each annotation's image in the list of images; -1 for an id that no image has
    category: np.ndarray  # (N,), position in the list of categories; -1 for a category that the file does not have
    bbox: np.ndarray  # (N, 4), x, y, width, height in pixels
    area: np.ndarray  # (N,), square pixels
    crowd: np.ndarray  # (N,), booleans
    ignore: np.ndarray  # (N,), booleans
    bare: np.ndarray  # (N,), whether `iscrowd` is missing or null
    mask: np.ndarray  # (N,), WHOLE, PARTIAL or LOST; WHOLE where masks are not read


@dataclass(frozen=True)
class Table:
    """A file without faults: file names, ids and sizes (N, 2: width, height) of its images, names and ids of its categories.

    Its columns are None if the annotations were not read.
    """

    names: list[str]
    ids: list[Hashable]
    sizes: np.ndarray
    categories: list[str]
    category_ids: list[Hashable]
    columns: Columns | None


def state_of(mask: Any) -> int:
    """Return how much mmdet reads of a mask that passed `annotations.check_masks`: WHOLE, PARTIAL or LOST."""
    if isinstance(mask, list):
        good = sum(len(polygon) >= 6 and len(polygon) % 2 == 0 for polygon in mask)
        return LOST if not good else WHOLE if good == len(mask) else PARTIAL
    return WHOLE if mask.get("size") is not None and isinstance(mask.get("counts"), list | str) else LOST


def table_of(content: Mapping[str, Any], boxes: bool = True) -> Table:
    """Return the table of content that passed `annotations.check_lists` and `check_annotations`."""
    images, categories = content["images"], content["categories"]
    sizes = np.array([(image["width"], image["height"]) for image in images], dtype=float).reshape(-1, 2)
    columns = None
    if boxes and "annotations" in content:
        entries = content["annotations"]
        image_of = {image["id"]: position for position, image in enumerate(images)}
        category_of = {category["id"]: position for position, category in enumerate(categories)}
        columns = Columns(
            [entry["id"] for entry in entries],
            np.array([image_of.get(entry["image_id"], -1) for entry in entries], dtype=int),
            np.array([category_of.get(entry["category_id"], -1) for entry in entries], dtype=int),
            np.array([entry["bbox"] for entry in entries], dtype=float).reshape(-1, 4),
            np.array([entry["area"] for entry in entries], dtype=float),
            np.array([bool(entry.get("iscrowd")) for entry in entries], dtype=bool),
            np.array([bool(entry.get("ignore")) for entry in entries], dtype=bool),
            np.array([entry.get("iscrowd") is None for entry in entries], dtype=bool),
            np.full(len(entries), WHOLE, np.int8),
        )
    names, ids = [image["file_name"] for image in images], [image["id"] for image in images]
    kinds, numbers = [entry["name"] for entry in categories], [entry["id"] for entry in categories]
    return Table(names, ids, sizes, kinds, numbers, columns)


def reasons(table: Table, classes: Sequence[str]) -> np.ndarray:
    """Return why `CocoDataset.parse_data_info` skips each annotation (N,), as a position in REASONS; -1 if it does not."""
    columns = table.columns
    assert columns is not None
    x, y, width, height = columns.bbox.T
    across, down = table.sizes[columns.image].T
    wanted = np.array([name in set(classes) for name in table.categories] + [False])
    stray = columns.image < 0
    found = [
        columns.ignore & ~stray,
        stray,
        (width < 1) | (height < 1),
        (np.minimum(x + width, across) <= np.maximum(x, 0)) | (np.minimum(y + height, down) <= np.maximum(y, 0)),
        columns.area <= 0,
        columns.category < 0,
        ~wanted[columns.category],
    ]
    return np.select(found, list(range(len(REASONS))), -1)
