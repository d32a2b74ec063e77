"""Large images in tiles: where to cut them, and how to merge the results of the tiles."""

from collections.abc import Iterator, Sequence
from itertools import pairwise, product
from typing import Any, NamedTuple

import cv2
import numpy as np

from .results import Detections, LabelMap, Result, shared

SAME = 0.5  # IoU beyond which two boxes of a class are one object
PART = 0.7  # share of a box cut off by its tile's edge that lies in another tile's larger box: a part of that object
EDGE = 2  # pixels from a tile's edge that count as cut off


class Tile(NamedTuple):
    """A rectangle of an image in pixels; `bottom` and `right` are exclusive."""

    top: int
    left: int
    bottom: int
    right: int

    def of(self, image: Any) -> np.ndarray:
        """Return the part of an image (H, W, ...)."""
        return image[self.top : self.bottom, self.left : self.right]


def tiles(size: tuple[int, int], side: int, overlap: float) -> list[Tile]:
    """Return the tiles of an image, row by row; neighbours share at least `overlap` of a tile's side.

    Along a side of the image that is shorter than `side`, a tile is as long as the image.
    """
    rows, columns = (list(_spans(length, side, overlap)) for length in size)
    return [Tile(top, left, bottom, right) for (top, bottom), (left, right) in product(rows, columns)]


def _spans(length: int, side: int, overlap: float) -> Iterator[tuple[int, int]]:
    """Yield start and end of equal, evenly spaced spans that cover 0 to `length`."""
    if length <= side:
        yield 0, length
        return
    steps = int(np.ceil((length - side) / max(1, side * (1 - overlap))))
    for begin in np.linspace(0, length - side, steps + 1).round().astype(int).tolist():
        yield begin, begin + side


def merged(source: str, size: tuple[int, int], parts: Sequence[tuple[Tile, Result]]) -> Result:
    """Merge the results of an image's tiles, those of `tiles`; the result of a single tile is returned unchanged."""
    first = parts[0][1]
    if isinstance(first, LabelMap):
        return LabelMap(source, size, _joined(size, [(tile, part.labels) for tile, part in parts]), first.classes)
    return _detections(source, size, [(tile, part) for tile, part in parts if isinstance(part, Detections)])


def _joined(size: tuple[int, int], parts: Sequence[tuple[Tile, np.ndarray]]) -> np.ndarray:
    """Return one map of labels: each half of an overlap comes from the nearer tile, which sees more around it."""
    labels = np.empty(size, dtype=parts[0][1].dtype)
    rows = _borders({(tile.top, tile.bottom) for tile, _ in parts}, size[0])
    columns = _borders({(tile.left, tile.right) for tile, _ in parts}, size[1])
    for tile, part in parts:
        (top, bottom), (left, right) = rows[tile.top], columns[tile.left]
        labels[top:bottom, left:right] = part[top - tile.top : bottom - tile.top, left - tile.left : right - tile.left]
    return labels


def _borders(spans: set[tuple[int, int]], length: int) -> dict[int, tuple[int, int]]:
    """Return the pixels that each span contributes, by its start: up to the middle of an overlap."""
    ordered = sorted(spans)
    middles = [(following[0] + span[1]) // 2 for span, following in pairwise(ordered)]
    bounds = [0, *middles, length]
    return {span[0]: (bounds[index], bounds[index + 1]) for index, span in enumerate(ordered)}


def _detections(source: str, size: tuple[int, int], parts: Sequence[tuple[Tile, Detections]]) -> Detections:
    boxes = np.concatenate([part.boxes + np.array([tile.left, tile.top] * 2, dtype=np.float32) for tile, part in parts])
    scores = np.concatenate([part.scores for _, part in parts])
    labels = np.concatenate([part.labels for _, part in parts])
    owners = np.repeat(np.arange(len(parts)), [len(part) for _, part in parts])
    kept: np.ndarray = np.arange(len(boxes))
    if len(parts) > 1:
        kept = np.flatnonzero(~_cut_off(boxes, labels, owners, [tile for tile, _ in parts], size))  # a part may be the surer
        kept = kept[best(boxes[kept], scores[kept], labels[kept])]
    masks = None
    if parts[0][1].masks is not None:
        masks = np.zeros((len(kept), *size), dtype=bool)  # the system allocates only the parts that are written
        ordered = [(tile, mask) for tile, part in parts for mask in (() if part.masks is None else part.masks)]
        for mask, index in zip(masks, kept.tolist(), strict=True):
            tile, found = ordered[index]
            tile.of(mask)[:] = found
    return Detections(source, size, boxes[kept], scores[kept], labels[kept], parts[0][1].classes, masks)


def best(boxes: np.ndarray, scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return the indices of boxes (N, 4), highest score first, without those that a better one of their class overlaps."""
    sides = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1, dtype=np.float64)
    suppress: Any = cv2.dnn.NMSBoxesBatched  # its stubs ask for lists
    return np.array(suppress(sides, scores, labels.astype(np.int32), -1.0, SAME), dtype=np.int64)


def _cut_off(
    boxes: np.ndarray, labels: np.ndarray, owners: np.ndarray, places: Sequence[Tile], size: tuple[int, int]
) -> np.ndarray:
    """Return which boxes (N, 4) end at an edge of their tile inside the image and lie in a larger box of another tile."""
    edges = np.array([(tile.left, tile.top, tile.right, tile.bottom) for tile in places], dtype=np.float32)[owners]
    inner = edges != np.array([0, 0, size[1], size[0]])
    touching = (np.abs(boxes - edges) <= EDGE) & inner
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    cut = np.zeros(len(boxes), dtype=bool)
    for index in np.flatnonzero(touching.any(axis=1)):
        others = (owners != owners[index]) & (labels == labels[index]) & (areas > areas[index])
        cut[index] = (shared(boxes[index], boxes[others]) > PART * areas[index]).any()
    return cut
