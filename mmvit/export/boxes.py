"""Selection of boxes in a graph: a fixed number of candidates, then a threshold and NMS."""

from typing import Any

import torch
from torch import Tensor
from torchvision.ops import nms


def best(scores: Tensor, most: int) -> tuple[Tensor, Tensor]:
    """Return the `most` highest of (N,) scores and their indices; where N is less, -1 and a valid index fill up.

    Of equal scores, which saturated sigmoids give, the first comes first, as in mmdet. `topk` leaves their order open, and to
    sort all of the millions of a detector's scores takes as long as its backbone: only those that `topk` may choose are sorted.
    """
    filled = torch.cat([scores, scores.new_full((most,), -1.0)])
    chosen = (filled >= filled.topk(most, sorted=False).values.min()).nonzero().squeeze(1)
    torch._check(chosen.shape[0] >= most)  # more, if several equal the last
    top, order = filled[chosen].sort(descending=True, stable=True)
    return top[:most], chosen[order[:most]].clamp(max=scores.shape[0] - 1)


def suppressed(boxes: Tensor, scores: Tensor, groups: Tensor, keep: Tensor, threshold: float, most: int) -> Tensor:
    """Return the indices that non-maximum suppression within each group leaves, by falling score, at most `most`.

    Args:
        boxes: (N, 4), corners.
        groups: (N,) class or level; boxes of two groups do not suppress each other.
        keep: (N,) bool, which take part.
        threshold: highest intersection over union of two that stay.
    """
    chosen = keep.nonzero().squeeze(1)
    furthest = (boxes * keep[:, None]).max()  # of those that take part, as in mmcv's batched_nms: a shift rounds the boxes
    shifted = boxes + (groups.to(boxes.dtype) * (furthest + 1))[:, None]
    # To programs of torch.export, torchvision promises two boxes at least: two without area, which suppress none, come last.
    # Torch 2.6 cannot export a slice of unknown length: a mask takes its place.
    padded = torch.cat([shifted[chosen], boxes.new_zeros(2, 4)])
    left = nms(padded, torch.cat([scores[chosen], scores.new_full((2,), -1.0)]), threshold)
    left = left[(left < chosen.shape[0]) & (torch.arange(left.shape[0], device=left.device) < most)]
    torch._check(left.shape[0] <= most)
    return chosen[left]


def with_four_sides(boxes: Tensor) -> Tensor:
    """Return (N, 4) boxes in a form that keeps the 4 in a graph: from mmdet's coders, OpenVINO cannot tell it."""
    return torch.stack([boxes[:, side] for side in range(4)], dim=1)


def not_empty(boxes: Tensor, least: float) -> Tensor:
    """Return whether each (N, 4) box is larger than `least` pixels on both sides; all are where `least` is negative."""
    sides = boxes[:, 2:] - boxes[:, :2]
    return (sides > least).all(dim=1) if least >= 0 else torch.ones_like(sides[:, 0], dtype=torch.bool)


def by_position(scores: Tensor, channels: int) -> Tensor:
    """Return (h * w * anchors, channels) of (1, anchors * channels, h, w), in the order of the anchors."""
    return scores[0].permute(1, 2, 0).reshape(-1, channels)


def iou_of(settings: Any) -> float:
    """Return the threshold of a config's plain NMS."""
    return float(settings.get("iou_threshold", settings.get("iou_thr", 0.5)))
