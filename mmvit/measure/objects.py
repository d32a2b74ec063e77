"""Annotated and found objects in one format."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..predict.results import Detections

COLUMNS = ("images", "boxes", "labels", "areas", "scores", "crowd")
Outline = dict[str, Any]  # a mask as COCO's compressed run lengths


@dataclass(frozen=True)
class Objects:
    """The objects of a list of images, one in a row."""

    images: np.ndarray  # (N,) int64, index of the image of each object
    boxes: np.ndarray  # (N, 4) float64, x1 y1 x2 y2 in pixels of the image
    labels: np.ndarray  # (N,) int64, indices into the classes
    areas: np.ndarray  # (N,) float64 in pixels; for annotations those in the file
    scores: np.ndarray  # (N,) float64; NaN for annotations
    crowd: np.ndarray  # (N,) bool, whether an annotation is a group: detections in groups count neither for nor against a model
    masks: list[Outline] | None = None  # an outline for each object, or None

    def __len__(self) -> int:
        return len(self.boxes)

    def select(self, rows: np.ndarray) -> "Objects":
        """Return the objects at indices `rows`."""
        masks = None if self.masks is None else [self.masks[row] for row in rows]
        columns = {name: getattr(self, name)[rows] for name in COLUMNS}
        return Objects(**columns, masks=masks)

    def without_masks(self) -> "Objects":
        """Return found objects with their boxes alone, and with the areas of these."""
        return replace(self, masks=None, areas=(self.boxes[:, 2:] - self.boxes[:, :2]).prod(axis=1))

    def rows(self, images: int) -> list[np.ndarray]:
        """Return the rows of each image."""
        ends = np.bincount(self.images, minlength=images).cumsum()
        return np.split(np.argsort(self.images, kind="stable"), ends[:-1])


def joined(parts: Sequence[Objects], firsts: Iterable[int]) -> Objects:
    """Return the objects of several lists of images as those of one, in which each list begins at its number of `firsts`."""
    columns = {name: np.concatenate([getattr(part, name) for part in parts]) for name in COLUMNS}
    columns["images"] = np.concatenate([part.images + first for part, first in zip(parts, firsts, strict=False)])
    masks = None if parts[0].masks is None else [mask for part in parts for mask in part.masks or ()]
    return Objects(**columns, masks=masks)


def found_objects(results: Iterable[Detections]) -> Objects:
    """Return the results of a list of images; areas are those of the masks, or else of the boxes."""
    boxes, labels, scores, masks, numbers = [np.zeros((0, 4))], [np.zeros(0, np.int64)], [np.zeros(0)], None, []
    for result in results:  # one at a time: decoded masks are large
        boxes.append(result.boxes.astype(np.float64))
        labels.append(result.labels.astype(np.int64))
        scores.append(result.scores.astype(np.float64))
        numbers.append(len(result))
        if result.masks is not None:
            masks = (masks or []) + encoded(result.masks)
    scored = np.concatenate(scores)
    images = np.repeat(np.arange(len(numbers)), numbers)
    crowd = np.zeros(len(scored), dtype=bool)
    found = Objects(images, np.concatenate(boxes), np.concatenate(labels), scored, scored, crowd).without_masks()
    if masks is None:
        return found
    from pycocotools import mask

    areas = [float(mask.area(one)) for one in masks]  # of more than 255 at once, pycocotools 2.0.11 fails
    return replace(found, masks=masks, areas=np.array(areas))


def encoded(masks: np.ndarray) -> list[Outline]:
    """Return masks (N, H, W) as outlines."""
    from pycocotools import mask

    return [mask.encode(np.asfortranarray(one.astype(np.uint8))) for one in masks]


def decoded(outlines: Iterable[Outline], size: tuple[int, int]) -> np.ndarray:
    """Return outlines in images of a height and width as masks (N, H, W), bool."""
    from pycocotools import mask

    return np.array([mask.decode(outline) for outline in outlines], dtype=bool).reshape(-1, *size)
