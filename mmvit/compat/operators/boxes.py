"""Boxes: `nms`, `softnms`, `nms_match`, `bbox_overlaps`.

Semantics: mmcv's csrc/pytorch/cpu/nms.cpp and bbox_overlaps_cpu.cpp. Boxes are (x1, y1, x2, y2) in pixels; with
`offset` 1 a box is one pixel wider and higher than x2 - x1, y2 - y1.

Difference from mmcv: equal scores keep their order in `nms` and `nms_match`. mmcv's sort is not stable.
"""

import numpy as np
import torch
import torchvision
from torch import Tensor

from .kernel import kernel, single, wide


@kernel
def nms(boxes: Tensor, scores: Tensor, iou_threshold: float, offset: int) -> Tensor:
    """Return the indices (K,) of the boxes (N, 4) to keep, best first: no two kept boxes overlap by more than the threshold."""
    if offset == 0:
        return torchvision.ops.nms(wide(boxes), wide(scores).to(wide(boxes)), single(iou_threshold))
    # torchvision has no offset, and adding it to x2, y2 rounds differently from mmcv.
    groups = _suppress(boxes, scores, iou_threshold, offset, equal_too=False)
    return torch.tensor([group[0] for group in groups], dtype=torch.long, device=boxes.device)


@kernel
def nms_match(dets: Tensor, iou_threshold: float) -> list[list[int]]:
    """Return one list for each kept row of `dets` (N, 5: box and score): its index, then those it suppressed, best first."""
    return _suppress(dets[:, :4], dets[:, 4], iou_threshold, offset=0, equal_too=True)


def _suppress(boxes: Tensor, scores: Tensor, iou_threshold: float, offset: int, equal_too: bool) -> list[list[int]]:
    order = wide(scores).sort(stable=True, descending=True).indices.cpu().numpy()
    corners, areas = _arrays(boxes, offset)
    above = np.greater_equal if equal_too else np.greater
    groups = []
    while order.size:
        best, rest = order[0], order[1:]
        gone = above(_iou(corners, areas, best, rest, offset), np.float32(iou_threshold))
        groups.append([int(best), *rest[gone].tolist()])
        order = rest[~gone]
    return groups


@kernel
def softnms(
    boxes: Tensor, scores: Tensor, dets: Tensor, iou_threshold: float, sigma: float, min_score: float, method: int, offset: int
) -> Tensor:
    """Lower the scores of boxes (N, 4) by their overlap with better ones; drop those that fall below `min_score`.

    `method`: 0 drops, 1 multiplies by 1 - IoU, both from `iou_threshold` on, 2 by exp(-IoU^2 / sigma). Returns the
    indices (K,) in the order of choice; the first K rows of `dets` (N, 5) receive boxes and lowered scores.
    """
    corners, areas = _arrays(boxes, offset)
    values = wide(scores).detach().cpu().numpy().copy()
    index = np.arange(len(values))
    real = values.dtype.type
    chosen = np.empty_like(values)
    first = 0
    while first < len(index):
        # A NaN score, from boxes without area, is never taken for the largest unless it stands first.
        waiting = values[index[first:]]
        pick = first if np.isnan(waiting[0]) else first + int(np.nanargmax(waiting))
        index[[first, pick]] = index[[pick, first]]
        best, rest = index[first], index[first + 1 :]
        chosen[first] = values[best]
        iou = _iou(corners, areas, best, rest, offset)
        if method == 2:
            decay = np.exp(-(iou * iou) / real(sigma))
        else:
            decay = np.where(iou >= np.float32(iou_threshold), 1 - iou if method == 1 else real(0), real(1))
        values[rest] *= decay.astype(values.dtype)
        stays = ~(values[rest] < np.float32(min_score))
        count = int(stays.sum())
        # mmcv fills each gap with the last box that stays; the new order decides between equal scores later.
        still = rest[:count].copy()
        still[~stays[:count]] = rest[count:][stays[count:]][::-1]
        index = np.concatenate([index[: first + 1], still])
        first += 1
    kept = torch.from_numpy(index).to(boxes.device)
    dets[: len(index), :4] = boxes[kept].to(dets)
    dets[: len(index), 4] = torch.from_numpy(chosen[: len(index)]).to(dets)
    return kept


def _arrays(boxes: Tensor, offset: int) -> tuple[np.ndarray, np.ndarray]:
    corners = wide(boxes).detach().cpu().numpy().T.copy()
    x1, y1, x2, y2 = corners
    return corners, (x2 - x1 + offset) * (y2 - y1 + offset)


def _iou(corners: np.ndarray, areas: np.ndarray, one: int, others: np.ndarray, offset: int) -> np.ndarray:
    """Return the IoU of one box with `others`; NaN if neither has an area."""
    x1, y1, x2, y2 = corners[:, others]
    left, top, right, bottom = corners[:, one]
    width = np.maximum(0, np.minimum(right, x2) - np.maximum(left, x1) + offset)
    height = np.maximum(0, np.minimum(bottom, y2) - np.maximum(top, y1) + offset)
    common = width * height
    with np.errstate(divide="ignore", invalid="ignore"):
        return common / (areas[one] + areas[others] - common)


def bbox_overlaps(bboxes1: Tensor, bboxes2: Tensor, ious: Tensor, mode: int, aligned: bool, offset: int) -> None:
    """Fill `ious`, (M, N) or with `aligned` (M,), with the overlaps of boxes (M, 4) with (N, 4).

    `mode` 0 divides by the union, 1 by the area of the first. Gradients reach the boxes, as in mmcv's CPU version.
    """
    if not aligned:
        bboxes1 = bboxes1[:, None]
    first, second = wide(bboxes1), wide(bboxes2)
    low = torch.maximum(first[..., :2], second[..., :2])
    high = torch.minimum(first[..., 2:], second[..., 2:])
    common = (high - low + offset).clamp(min=0).prod(-1)
    area = (first[..., 2:] - first[..., :2] + offset).prod(-1)
    if mode == 0:
        area = area + (second[..., 2:] - second[..., :2] + offset).prod(-1) - common
    ious.copy_(common / area)
