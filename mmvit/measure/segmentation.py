"""How good predicted label maps are: confusion of pixels, mmseg's figures, and IoU of each class."""

from typing import Any

import numpy as np
import torch

from ..config.parts import mappings
from ..data.label_maps import IGNORED
from .coco import mean


def ignored_of(evaluator: Any) -> int:
    """Return the label that a config's evaluator, or the first of several that says so, leaves out of its figures."""
    return int(next((part["ignore_index"] for part in mappings(evaluator) if "ignore_index" in part), IGNORED))


def confusion(truth: np.ndarray, found: np.ndarray, classes: int, ignored: int = IGNORED) -> np.ndarray:
    """Return the number of pixels by true and by found label, (classes + 1, classes), of labels (H, W).

    The last row has the pixels whose true label is no class. Those with the label `ignored` are left out.
    """
    counted = truth != ignored
    rows = np.minimum(truth[counted], classes).astype(np.int64)
    return np.bincount(rows * classes + found[counted], minlength=(classes + 1) * classes).reshape(-1, classes)


def by_class(pixels: np.ndarray) -> dict[str, np.ndarray]:
    """Return `IoU`, `Acc` (recall) and `Precision` of each class, from 0 to 1, and `aAcc`, by mmseg's evaluator.

    They are NaN where the matrix from `confusion` has no pixels to divide by.
    """
    from mmseg.evaluation import IoUMetric

    right, found = (torch.from_numpy(part.astype(np.float64)) for part in (np.diag(pixels), pixels.sum(axis=0)))
    there = torch.from_numpy(pixels.sum(axis=1)[:-1].astype(np.float64))
    metrics: dict[str, np.ndarray] = IoUMetric.total_area_to_metrics(
        right, there + found - right, found, there, ["mIoU", "mFscore"]
    )
    return metrics


def figures(pixels: np.ndarray) -> dict[str, float]:
    """Return mIoU, mAcc and aAcc of a matrix from `confusion` in percent, as mmseg's evaluator does; NaN without pixels."""
    metrics = by_class(pixels)
    return {name: 100 * mean(metrics[key]) for name, key in (("mIoU", "IoU"), ("mAcc", "Acc"), ("aAcc", "aAcc"))}
