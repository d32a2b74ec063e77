"""Results of a model for an image, as plain dataclasses of NumPy arrays.

NumPy is the only import, so that a runner without torch can return the same results.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Detections:
    """Objects that a detector found in one image, highest score first.

    Attributes:
        source: path of the image, or a name such as `image 3` for an array.
        size: height and width of the image in pixels.
        boxes: (N, 4) float32, x1 y1 x2 y2 in pixels of the image.
        scores: (N,) float32 from 0 to 1; NaN for an annotation.
        labels: (N,) int64, indices into `classes`.
        classes: names of all classes.
        masks: (N, H, W) bool, or None from a model without masks.
    """

    source: str
    size: tuple[int, int]
    boxes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray
    classes: tuple[str, ...]
    masks: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.boxes)

    @property
    def names(self) -> list[str]:
        """The class name of each object, or the number of a class without a name."""
        return [name_of(self.classes, int(label)) for label in self.labels]

    def select(self, kept: np.ndarray) -> "Detections":
        """Return the objects that `kept`, a boolean mask (N,) or indices, selects."""
        masks = None if self.masks is None else self.masks[kept]
        return Detections(self.source, self.size, self.boxes[kept], self.scores[kept], self.labels[kept], self.classes, masks)

    def to_coco(
        self, image_id: int | str, category_ids: Sequence[int] | Mapping[int, int] | None = None
    ) -> list[dict[str, Any]]:
        """Return COCO's entries: `bbox` as x y w h, and `segmentation` as uncompressed run lengths. They have no `id` yet.

        Args:
            category_ids: the dataset's id of each class; by default the labels, from 0.
        """
        areas = (self.boxes[:, 2:] - self.boxes[:, :2]).prod(axis=1) if self.masks is None else self.masks.sum(axis=(1, 2))
        entries: list[dict[str, Any]] = []
        for index, (x1, y1, x2, y2) in enumerate(self.boxes.tolist()):
            label = int(self.labels[index])
            entry: dict[str, Any] = dict(
                image_id=image_id,
                category_id=label if category_ids is None else category_ids[label],
                bbox=[x1, y1, x2 - x1, y2 - y1],
                area=float(areas[index]),
                iscrowd=0,
                score=float(self.scores[index]),
            )
            if self.masks is not None:
                entry["segmentation"] = run_lengths(self.masks[index])
            entries.append(entry)
        return entries

    def to_supervision(self) -> Any:
        """Return `supervision.Detections`; the package must be installed."""
        import supervision

        return supervision.Detections(
            xyxy=self.boxes,
            confidence=self.scores,
            class_id=self.labels,
            mask=self.masks,
            data=dict(class_name=np.array(self.names)),
        )


@dataclass(frozen=True)
class LabelMap:
    """The class of each pixel of one image.

    Attributes:
        source: see `Detections`.
        size: height and width of the image in pixels.
        labels: (H, W) uint8, or uint16 with more than 256 classes: indices into `classes`.
        classes: names of all classes.
    """

    source: str
    size: tuple[int, int]
    labels: np.ndarray
    classes: tuple[str, ...]

    @classmethod
    def of(cls, source: str, size: tuple[int, int], labels: np.ndarray, classes: tuple[str, ...]) -> "LabelMap":
        """Return the label map of labels of any type."""
        return cls(source, size, labels.astype(np.uint8 if len(classes) <= 256 else np.uint16), classes)

    @property
    def shares(self) -> dict[str, float]:
        """Return the share of the pixels of each class that occurs, the largest first."""
        labels, counts = np.unique(self.labels, return_counts=True)
        order = np.argsort(-counts, kind="stable")
        return {name_of(self.classes, int(labels[index])): float(counts[index] / self.labels.size) for index in order}

    def to_png(self, path: Any) -> None:
        """Write the labels as a grey PNG; Pillow must be installed."""
        from PIL import Image

        Image.fromarray(self.labels).save(path, "PNG")


Result = Detections | LabelMap


def name_of(classes: Sequence[str], label: int) -> str:
    """Return the name of a class, or its number if it has none."""
    return classes[label] if label < len(classes) else str(label)


def shared(box: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Return the area that boxes (..., 4) have in common with each of others (N, 4), as (..., N)."""
    sides = np.minimum(box[..., None, 2:], boxes[:, 2:]) - np.maximum(box[..., None, :2], boxes[:, :2])
    return sides.clip(min=0).prod(axis=-1)


def run_lengths(mask: np.ndarray) -> dict[str, Any]:
    """Return COCO's uncompressed run lengths of a mask (H, W): down the columns, zeros first."""
    flat = np.asarray(mask, dtype=bool).ravel(order="F")
    edges = np.flatnonzero(np.diff(flat)) + 1
    counts = np.diff(np.concatenate(([0], edges, [flat.size]))).tolist()
    return dict(size=list(mask.shape), counts=[0, *counts] if flat.size and flat[0] else counts)
