"""Annotated and found objects in one format, for comparison."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..config.datasets import DatasetView
from ..data.annotations import check_annotations, check_lists, check_masks, read
from ..errors import InputError
from ..predict.results import Detections

Outline = dict[str, Any]  # a mask as COCO's compressed run lengths


@dataclass(frozen=True)
class Instances:
    """Objects of one image.

    Attributes:
        boxes: (N, 4) float64, x1 y1 x2 y2 in pixels of the image.
        labels: (N,) int64, indices into the classes.
        areas: (N,) float64 in pixels; for annotations those in the file.
        scores: (N,) float64; NaN for annotations.
        crowd: (N,) bool, whether an annotation is a group: detections in groups count neither for nor against a model.
        masks: an outline for each object, or None.
    """

    boxes: np.ndarray
    labels: np.ndarray
    areas: np.ndarray
    scores: np.ndarray
    crowd: np.ndarray
    masks: list[Outline] | None = None

    def __len__(self) -> int:
        return len(self.boxes)

    def select(self, kept: np.ndarray) -> "Instances":
        """Return the objects that `kept`, a boolean mask (N,) or indices, selects."""
        kept = np.flatnonzero(kept) if kept.dtype == bool else kept
        masks = None if self.masks is None else [self.masks[index] for index in kept]
        return Instances(self.boxes[kept], self.labels[kept], self.areas[kept], self.scores[kept], self.crowd[kept], masks)

    @property
    def shapes(self) -> list[Any]:
        """The shapes whose overlaps pycocotools measures: outlines, or boxes as x y w h."""
        if self.masks is not None:
            return self.masks
        return [[x1, y1, x2 - x1, y2 - y1] for x1, y1, x2, y2 in self.boxes.tolist()]


@dataclass(frozen=True)
class AnnotatedImage:
    path: str
    size: tuple[int, int]  # height, width
    truth: Instances


def annotated_images(dataset: DatasetView, masks: bool) -> tuple[list[AnnotatedImage], tuple[str, ...]]:
    """Return the images of a dataset in COCO's format with their objects, and its classes.

    Args:
        dataset: a dataset of a config.
        masks: whether to read outlines.

    Raises:
        InputError: the dataset is of another kind, or its annotation file cannot be read.
    """
    if not dataset.is_coco or not dataset.reads_boxes:
        raise InputError(
            f"{dataset.key} is {dataset.type_name}: expected CocoDataset with a local ann_file, whose boxes are read"
        )
    classes, label = dataset.classes(), f"annotations {dataset.ann_file}"
    content = read(dataset.ann_file, label, annotated=True)
    check_lists(content, label, classes)
    check_annotations(content, label)
    if masks:
        check_masks(content, label, range(len(content["annotations"])))
    numbers = {name: label for label, name in enumerate(classes)}
    labels = {entry["id"]: numbers[entry["name"]] for entry in content["categories"] if entry["name"] in numbers}
    objects: dict[Any, list[dict]] = {image["id"]: [] for image in content["images"]}
    for entry in content["annotations"]:
        if entry["category_id"] in labels and entry["image_id"] in objects:
            objects[entry["image_id"]].append(entry)
    folder = dataset.image_folder
    images = []
    for image in content["images"]:
        size = image["height"], image["width"]
        images.append(
            AnnotatedImage(str(folder / image["file_name"]), size, _annotated(objects[image["id"]], labels, size, masks))
        )
    return images, tuple(classes)


def _annotated(entries: list[dict], labels: dict[int, int], size: tuple[int, int], masks: bool) -> Instances:
    boxes = np.array([entry["bbox"] for entry in entries], dtype=np.float64).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    return Instances(
        boxes,
        np.array([labels[entry["category_id"]] for entry in entries], dtype=np.int64),
        np.array([entry["area"] for entry in entries], dtype=np.float64),
        np.full(len(entries), np.nan),
        np.array([bool(entry.get("iscrowd")) for entry in entries], dtype=bool),
        [outline_of(entry["segmentation"], size) for entry in entries] if masks else None,
    )


def outline_of(segmentation: Any, size: tuple[int, int]) -> Outline:
    """Return an annotation's polygons or run lengths as compressed run lengths."""
    from pycocotools import mask

    if isinstance(segmentation, list):
        return mask.merge(mask.frPyObjects(segmentation, *size))
    if isinstance(segmentation["counts"], list):
        return mask.frPyObjects(segmentation, *size)
    return segmentation


def found_instances(result: Detections) -> Instances:
    """Return a model's result in the same format; areas are those of the masks, or else of the boxes."""
    boxes = result.boxes.astype(np.float64)
    masks: list[Outline] | None = None
    areas = box_areas(boxes)
    if result.masks is not None:
        from pycocotools import mask

        masks = [mask.encode(np.asfortranarray(one.astype(np.uint8))) for one in result.masks]
        areas = mask.area(masks).astype(np.float64) if masks else areas
    crowd = np.zeros(len(boxes), dtype=bool)
    return Instances(boxes, result.labels.astype(np.int64), areas, result.scores.astype(np.float64), crowd, masks)


def box_areas(boxes: np.ndarray) -> np.ndarray:
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])


def overlaps(found: Instances, truth: Instances) -> np.ndarray:
    """Return the IoU of each found and annotated object, (D, G); for a group, the share of the found one inside it."""
    from pycocotools import mask

    if not len(found) or not len(truth):
        return np.zeros((len(found), len(truth)))
    return np.asarray(mask.iou(found.shapes, truth.shapes, truth.crowd.astype(np.uint8).tolist())).reshape(
        len(found), len(truth)
    )


def drawn_from(path: str, objects: Instances, size: tuple[int, int], classes: Sequence[str]) -> Detections:
    """Return objects as a result, for `predict.drawing.draw`."""
    masks = None
    if objects.masks is not None:
        from pycocotools import mask

        masks = np.zeros((len(objects), *size), dtype=bool)
        for index, outline in enumerate(objects.masks):
            masks[index] = mask.decode(outline).astype(bool)
    return Detections(
        path,
        size,
        objects.boxes.astype(np.float32),
        objects.scores.astype(np.float32),
        objects.labels,
        tuple(classes),
        masks,
    )
