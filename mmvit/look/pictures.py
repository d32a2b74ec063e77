"""Pictures for a page: ground truth beside predictions."""

from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np

from ..measure.instances import Instances, drawn_from
from ..predict.drawing import Colour, draw
from ..predict.results import Detections, LabelMap

LEAST = 288  # pixels; smaller images are enlarged by a whole factor before anything is drawn, so that labels can be read
GAP = 6  # pixels


def side_by_side(*images: np.ndarray) -> np.ndarray:
    """Return images (H, W, 3) of one height in a row."""
    gap = np.full((images[0].shape[0], GAP, 3), 255, np.uint8)
    row = [part for image in images for part in (image, gap)]
    return np.concatenate(row[:-1], axis=1)


def step_of(size: tuple[int, ...]) -> int:
    """Return the whole factor by which an image of a height and width is enlarged."""
    return -(-LEAST // max(size[:2]))


def beside(
    image: np.ndarray, truth: Instances, found: Instances, path: str, classes: Sequence[str], palette: Sequence[Colour] | None
) -> np.ndarray:
    """Return an image (H, W, 3), BGR, twice: with the annotated objects and with the found ones."""
    step = step_of(image.shape)
    large = cv2.resize(image, None, fx=step, fy=step, interpolation=cv2.INTER_CUBIC) if step > 1 else image
    drawn = [draw(large, larger(drawn_from(path, one, image.shape[:2], classes), step), palette) for one in (truth, found)]
    return side_by_side(*drawn)


def larger(result: Detections, step: int) -> Detections:
    """Return the objects of an image that is enlarged by a whole factor."""
    masks = None if result.masks is None else result.masks.repeat(step, axis=1).repeat(step, axis=2)
    height, width = result.size
    return replace(result, boxes=result.boxes * step, masks=masks, size=(height * step, width * step))


def labels_beside(
    image: np.ndarray, truth: LabelMap, found: LabelMap, palette: Sequence[Colour] | None, ignored: int
) -> np.ndarray:
    """Return an image (H, W, 3), BGR, three times: unchanged, with its true labels, with the predicted ones.

    In the second picture, pixels that the truth ignores are unchanged.
    """
    step = step_of(image.shape)
    large = cv2.resize(image, None, fx=step, fy=step, interpolation=cv2.INTER_CUBIC) if step > 1 else image
    pictures = [large]
    for one in (truth, found):
        labels = one.labels.repeat(step, axis=0).repeat(step, axis=1)
        kept = labels != ignored if one is truth else np.ones(labels.shape, dtype=bool)
        drawn = draw(
            large,
            replace(one, labels=np.where(kept, labels, 0).astype(labels.dtype), size=(labels.shape[0], labels.shape[1])),
            palette,
        )
        pictures.append(np.where(kept[..., None], drawn, large) if one is truth else drawn)
    return side_by_side(*pictures)
