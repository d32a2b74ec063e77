"""The figures of binary segmentation as a metric of mmseg."""

from collections.abc import Sequence
from pathlib import PurePath
from typing import Any

import numpy as np
from mmengine.logging import print_log
from mmseg.evaluation import IoUMetric
from prettytable import PrettyTable  # which mmseg needs for its own

from ..errors import InputError, first_few
from ..registry import METRICS
from .binary import dice_by_threshold, figures_of, means, nearest_best

THRESHOLD = "threshold"  # the figure that checkpoints keep


@METRICS.register_module()
class BinaryMetric(IoUMetric):
    """mmseg's `IoUMetric`, in percent, and with it the field's figures from 0 to 1, averaged over the images.

    They are Dice of the predicted masks, and S-measure, E-measure, weighted F (wF) and MAE of the probabilities. Ignored pixels
    count as background that was found. Of models with one channel, it also finds the `threshold` with the highest mean Dice
    (`best Dice`), which checkpoints keep after a validation.

    Args:
        sets: names of test sets that are measured apart, side by side; each is a folder in the paths of its images.
        options: those of `IoUMetric`.
    """

    def __init__(self, sets: Sequence[str] = (), **options: Any) -> None:
        super().__init__(**options)
        self.sets = tuple(sets)

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        start = len(self.results)
        super().process(data_batch, data_samples)
        if self.format_only:
            return
        own = [(self._set_of(sample), *self._figures(sample)) for sample in data_samples]
        self.results[start:] = list(zip(self.results[start:], own, strict=True))

    def _set_of(self, sample: dict) -> str:
        """Return the test set of an image. Raise InputError if it is of none, or of several."""
        found = [name for name in self.sets if f"/{name}/" in f"/{PurePath(sample['img_path']).as_posix()}"]
        if self.sets and len(found) != 1:
            raise InputError(
                f"image {sample['img_path']}: of {'several' if found else 'none'} of the test sets {first_few(self.sets)}. "
                "Expected one of these as a folder in its path (sets of mmvit.BinaryMetric)"
            )
        return found[0] if found else ""

    def _figures(self, sample: dict) -> tuple[dict[str, float], np.ndarray | None]:
        labels = sample["gt_sem_seg"]["data"].squeeze().cpu().numpy()
        predicted = (sample["pred_sem_seg"]["data"].squeeze() == 1).cpu().numpy()
        scores = sample["seg_logits"]["data"]
        single = len(scores) == 1  # of one channel mmseg gives probabilities, of two logits
        found = (scores[0] if single else scores.softmax(0)[1]).cpu().numpy()
        found = np.where(labels != self.ignore_index, found, 0)
        curve = dice_by_threshold(found, labels == 1) if single else None
        return figures_of(labels, predicted, found, self.ignore_index), curve

    def compute_metrics(self, results: list) -> dict[str, Any]:
        if self.format_only:
            return super().compute_metrics(results)
        computed = super().compute_metrics([entry for entry, _ in results])
        computed |= means([found for _, (_, found, _) in results])
        if all(curve is not None for _, (_, _, curve) in results):
            curve = np.mean([curve for _, (_, _, curve) in results], axis=0)
            threshold = nearest_best(curve)
            computed |= {THRESHOLD: threshold, "best Dice": round(float(curve.max()), 4)}
        rows = {name: means([found for _, (ours, found, _) in results if ours == name]) for name in self.sets}
        rows = {name: row for name, row in rows.items() if row}
        if rows:
            print_log(table(rows), logger="current")
        return {**computed, **{f"{name}/{figure}": value for name, row in rows.items() for figure, value in row.items()}}


def table(rows: dict[str, dict[str, float]]) -> str:
    """Return the figures of several test sets side by side, a line each."""
    made = PrettyTable(["test set", *next(iter(rows.values()))], float_format=".4")
    made.add_rows([[name, *row.values()] for name, row in rows.items()])
    return f"\n{made}"
