"""Average precision and matches of found and annotated objects, by pycocotools' evaluator, as in mmdet.

Detections choose in the order of their scores, each the annotated object of its class that it overlaps most. Groups (`iscrowd`)
and objects outside a range of sizes are set aside: detections that match them are not counted, and neither are detections that
match nothing and are outside the range themselves.
"""

import sys
from contextlib import redirect_stdout
from functools import cached_property
from io import StringIO
from typing import Any

import numpy as np

from .objects import Objects

ENOUGH = 0.5  # least IoU of a match, where one is chosen
FIRST, MOST = 100, 1000  # detections of a class in an image that count: for AP, and for all other figures, as in mmdet
RECALLS = np.linspace(0, 1, 101)  # where curves are sampled
AREAS = ("all", "small", "medium", "large")


class Evaluation:
    """COCO's evaluation of annotated and found objects, by the masks of the found ones if there are any."""

    def __init__(self, truth: Objects, found: Objects, images: int, classes: int) -> None:
        from pycocotools.cocoeval import COCOeval

        self.truth, self.found, self.images, self.classes = truth, found, images, classes
        masks = found.masks is not None
        with redirect_stdout(StringIO()):
            tables = [_table(objects, images, classes, masks) for objects in (truth, found)]
            evaluator = COCOeval(*tables, "segm" if masks else "bbox")
            evaluator.params.maxDets = [sys.maxsize]  # `accumulated` takes as many as count
            evaluator.evaluate()
        # (classes, 4, images), the evaluator's matches by range of areas; None where a class has no objects
        self.cells = np.array(evaluator.evalImgs, dtype=object).reshape(classes, len(AREAS), images)
        # IoU of found and annotated objects (D, G) by image and class; the found ones in the order of their scores
        self.overlaps: dict[tuple[int, int], Any] = evaluator.ious

    @cached_property
    def precision(self) -> np.ndarray:
        """Precision at 10 IoUs from 0.5, `RECALLS`, each class and each of `AREAS`: (10, 101, K, 4); NaN without objects."""
        return accumulated(self.cells, MOST)

    def figures(self, images: np.ndarray | None = None) -> dict[str, float]:
        """Return COCO's figures of all or some images: AP (mean over the IoUs), AP50, AP75, and AP by area."""
        cells = self.cells if images is None else self.cells[..., images]
        precision = self.precision if images is None else accumulated(cells, MOST)
        first = accumulated(cells[:, :1], FIRST)
        metrics = {"AP": mean(first), "AP50": mean(precision[0, ..., 0]), "AP75": mean(precision[5, ..., 0])}
        return metrics | {f"AP {name}": mean(precision[..., area]) for area, name in enumerate(AREAS) if area}

    @cached_property
    def matched(self) -> np.ndarray:
        """The annotated object that each found one takes at IoU 0.5, or -1: (D,)."""
        matched = np.full(len(self.found), -1)
        for cell in self.cells[:, 0].ravel():
            if cell is not None:
                matched[np.array(cell["dtIds"], dtype=int) - 1] = cell["dtMatches"][0] - 1
        return matched


def _table(objects: Objects, images: int, classes: int, masks: bool) -> Any:
    """Return objects as pycocotools' table, numbered from 1."""
    from pycocotools.coco import COCO

    corners = objects.boxes
    shapes = objects.masks if masks else np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], axis=1).tolist()
    names = ("image_id", "category_id", "area", "score", "iscrowd", "segmentation" if masks else "bbox", "id")
    columns = (column.tolist() for column in (objects.images, objects.labels, objects.areas, objects.scores, objects.crowd))
    rows = zip(*columns, shapes or [], range(1, len(objects) + 1), strict=True)
    table = COCO()
    table.dataset = dict(
        images=[dict(id=image, height=0, width=0) for image in range(images)],  # run lengths have their own size
        annotations=[dict(zip(names, row, strict=True)) for row in rows],
        categories=[dict(id=label) for label in range(classes)],
    )
    table.createIndex()
    return table


def accumulated(cells: np.ndarray, most: int = sys.maxsize) -> np.ndarray:
    """Return the evaluator's precision (T, 101, K, A) of its cells (K, A, images); NaN for a class without objects.

    Of each cell, the `most` detections with the highest scores count.
    """
    from pycocotools.cocoeval import COCOeval

    evaluator = COCOeval(iouType="bbox")
    settings = evaluator.params
    settings.catIds, settings.imgIds = (list(range(cells.shape[axis])) for axis in (0, 2))
    settings.areaRng = settings.areaRng[: cells.shape[1]]
    settings.maxDets = [most]
    first = next((cell for cell in cells.ravel() if cell is not None), dict(dtMatches=settings.iouThrs))
    settings.iouThrs = settings.iouThrs[: len(first["dtMatches"])]
    evaluator.evalImgs, evaluator._paramsEval = cells.ravel().tolist(), settings
    with redirect_stdout(StringIO()):
        evaluator.accumulate()
    precision = evaluator.eval["precision"][..., 0]
    return np.where(precision < 0, np.nan, precision)


def mean(values: np.ndarray | list[float]) -> float:
    """Return the mean of the values that are not NaN; NaN if there are none."""
    numbers = np.asarray(values)[~np.isnan(values)]
    return float(numbers.mean()) if len(numbers) else float("nan")
