"""The figures of binary segmentation as a metric of mmseg."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from mmseg.evaluation import IoUMetric

from ..registry import METRICS
from .binary import dice, figures


@METRICS.register_module()
class BinaryMetric(IoUMetric):
    """mmseg's `IoUMetric`, in percent, and with it the field's figures from 0 to 1, averaged over the images.

    They are Dice of the predicted masks, and S-measure, E-measure, weighted F (wF) and MAE of the probabilities. Ignored pixels
    count as background that was found. The options are those of `IoUMetric`.
    """

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        start = len(self.results)
        super().process(data_batch, data_samples)
        if self.format_only:
            return
        own = [self._figures(sample) for sample in data_samples]
        self.results[start:] = list(zip(self.results[start:], own, strict=True))

    def _figures(self, sample: dict) -> dict[str, float]:
        labels = sample["gt_sem_seg"]["data"].squeeze()
        seen = (labels != self.ignore_index).cpu().numpy()
        truth = (labels == 1).cpu().numpy()
        predicted = (sample["pred_sem_seg"]["data"].squeeze() == 1).cpu().numpy()
        found = probabilities(sample["seg_logits"]["data"]).cpu().numpy()
        return dict(Dice=dice(predicted & seen, truth), **figures(np.where(seen, found, 0), truth))

    def compute_metrics(self, results: list) -> dict[str, Any]:
        if self.format_only:
            return super().compute_metrics(results)
        computed = super().compute_metrics([entry for entry, _ in results])
        own = {name: float(np.mean([found[name] for _, found in results])) for name in results[0][1]}
        return {**computed, **{name: round(value, 4) for name, value in own.items()}}


def probabilities(scores: torch.Tensor) -> torch.Tensor:
    """Return the probabilities (H, W) of the foreground: mmseg gives those of one channel, and logits (2, H, W) of two."""
    return scores[0] if len(scores) == 1 else scores.softmax(0)[1]
