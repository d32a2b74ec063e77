"""Rotated boxes and quadrilaterals: `box_iou_rotated`, `nms_rotated`, `box_iou_quadri`, `nms_quadri`.

Semantics: mmcv's csrc/common/box_iou_rotated_utils.hpp and csrc/pytorch/cpu/nms_rotated.cpp. A rotated box is (x, y, width,
height, angle), with the angle in radians, clockwise in the image; a quadrilateral is (x1, y1, ..., x4, y4). The intersection of
two is the convex hull of the points where their edges cross and of the corners of one inside the other. A corner is inside if
its projections onto the two edges at the first corner are, which is exact only for rectangles. Non-maximum suppression ignores
labels. All of this is as in mmcv.

Differences from mmcv: everything is computed in float64, where mmcv rounds to float32. A point within `NEAR` of an edge counts
as on it, so that boxes with a common corner or edge get their exact overlap. Equal scores keep their order.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from .kernel import SLICE_ELEMENTS, kernel, single, wide

NEAR = 1e-9  # share of the length of an edge
NO_AREA = 1e-14  # smaller boxes overlap nothing
POINTS = 24  # 4 x 4 crossings of edges and 2 x 4 corners
ELEMENTS = 16 * POINTS  # elements of the temporary tensors of a pair, roughly


@kernel
def box_iou_rotated(bboxes1: Tensor, bboxes2: Tensor, ious: Tensor, mode_flag: int, aligned: bool) -> None:
    """Fill `ious`, (N * M) or with `aligned` (N), with the overlaps of rotated boxes (N, 5) and (M, 5).

    `mode_flag` 0 divides by the union, 1 by the area of the first.
    """
    _fill(ious, bboxes1, bboxes2, mode_flag, aligned, _rotated_overlaps)


@kernel
def box_iou_quadri(bboxes1: Tensor, bboxes2: Tensor, ious: Tensor, mode_flag: int, aligned: bool) -> None:
    """Do the same as `box_iou_rotated` for quadrilaterals (N, 8) and (M, 8)."""
    _fill(ious, bboxes1, bboxes2, mode_flag, aligned, _quadri_overlaps)


@kernel
def nms_rotated(
    dets: Tensor, scores: Tensor, order: Tensor, dets_sorted: Tensor, labels: Tensor, iou_threshold: float, multi_label: int
) -> Tensor:
    """Return the indices (K,) of the rotated boxes to keep, best first: their IoU with every better one is below the threshold.

    `dets` is (N, 5), or (N, 6) with the label last. `order`, `dets_sorted` and `labels` are not used; mmcv's CPU code does not
    use them either.
    """
    return _nms(dets[:, :5], scores, iou_threshold, _rotated_overlaps)


@kernel
def nms_quadri(
    dets: Tensor, scores: Tensor, order: Tensor, dets_sorted: Tensor, iou_threshold: float, multi_label: int
) -> Tensor:
    """Do the same as `nms_rotated` for quadrilaterals (N, 8), or (N, 9) with the label last."""
    return _nms(dets[:, :8], scores, iou_threshold, _quadri_overlaps)


Overlaps = Callable[[Tensor, Tensor, int], Tensor]  # boxes (..., 5 or 8), broadcast with other boxes, and mode_flag to (...)


def _fill(ious: Tensor, first: Tensor, second: Tensor, mode: int, aligned: bool, overlaps: Overlaps) -> None:
    first, second = first.double(), second.double()
    if aligned:
        ious.copy_(overlaps(first, second, mode))
        return
    table = ious.view(len(first), len(second))
    at_once = max(SLICE_ELEMENTS // (ELEMENTS * max(len(second), 1)), 1)
    for rows, part in zip(first.split(at_once), table.split(at_once), strict=True):
        part.copy_(overlaps(rows[:, None], second, mode))


def _nms(boxes: Tensor, scores: Tensor, threshold: float, overlaps: Overlaps) -> Tensor:
    order = wide(scores).sort(stable=True, descending=True).indices
    ious = boxes.new_empty(len(boxes), len(boxes), dtype=torch.float32)
    _fill(ious, boxes[order], boxes[order], 0, False, overlaps)
    above = (ious >= single(threshold)).cpu()
    gone = torch.zeros(len(boxes), dtype=torch.bool)
    kept = []
    for index in range(len(boxes)):
        if not gone[index]:
            kept.append(index)
            gone |= above[index]
    return order[torch.tensor(kept, dtype=torch.long, device=order.device)]


def _rotated_overlaps(first: Tensor, second: Tensor, mode: int) -> Tensor:
    """Return the overlaps of rotated boxes; only those of pairs whose circumscribed circles meet are computed."""
    reach = (first[..., 2:4].norm(dim=-1) + second[..., 2:4].norm(dim=-1)) / 2
    distance = torch.hypot(first[..., 0] - second[..., 0], first[..., 1] - second[..., 1])
    near = distance <= reach
    first, second = (boxes.expand(*near.shape, 5)[near] for boxes in (first, second))
    centre = (first[:, None, :2] + second[:, None, :2]) / 2
    areas = first[:, 2] * first[:, 3], second[:, 2] * second[:, 3]
    found = torch.zeros_like(reach)
    found[near] = _overlaps(_corners(first) - centre, _corners(second) - centre, areas, mode)
    return found


def _corners(boxes: Tensor) -> Tensor:
    """Return the corners (P, 4, 2) of rotated boxes, in order around the box."""
    along = torch.stack([boxes[:, 4].cos(), boxes[:, 4].sin()], 1) * boxes[:, 2:3] / 2
    across = torch.stack([-boxes[:, 4].sin(), boxes[:, 4].cos()], 1) * boxes[:, 3:4] / 2
    return boxes[:, None, :2] + torch.stack([across - along, -across - along, along - across, along + across], 1)


def _quadri_overlaps(first: Tensor, second: Tensor, mode: int) -> Tensor:
    shape = torch.broadcast_shapes(first.shape, second.shape)
    first, second = (boxes.expand(shape).reshape(-1, 4, 2) for boxes in (first, second))
    centre = (first.mean(1, keepdim=True) + second.mean(1, keepdim=True)) / 2
    return _overlaps(first - centre, second - centre, (_area(first), _area(second)), mode).view(shape[:-1])


def _area(boxes: Tensor) -> Tensor:
    """Return the areas (P,) of quadrilaterals with corners (P, 4, 2), each the sum of two triangles."""
    sides = boxes[:, 1:] - boxes[:, :1]
    return _cross(sides[:, :2], sides[:, 1:]).abs().sum(1) / 2


def _overlaps(first: Tensor, second: Tensor, areas: tuple[Tensor, Tensor], mode: int) -> Tensor:
    """Return the overlaps (P,) of boxes with corners (P, 4, 2)."""
    points, valid = _common_points(first, second)
    meet = valid.sum(1) > 2
    common = torch.zeros_like(areas[0])
    common[meet] = _hull_area(points[meet], valid[meet])
    base = areas[0] + areas[1] - common if mode == 0 else areas[0]
    return torch.where((areas[0] < NO_AREA) | (areas[1] < NO_AREA), 0, common / base)


def _cross(first: Tensor, second: Tensor) -> Tensor:
    return first[..., 0] * second[..., 1] - first[..., 1] * second[..., 0]


def _common_points(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Return candidates (P, POINTS, 2) for the corners of the intersection, and which of them (P, POINTS) are corners."""
    edges, others = first.roll(-1, 1) - first, second.roll(-1, 1) - second
    start, edge, other = first[:, :, None], edges[:, :, None], others[:, None]
    determinant = _cross(other, edge)  # (P, 4, 4)
    between = second[:, None] - start
    along, beside = _cross(other, between) / determinant, _cross(edge, between) / determinant
    parallel = determinant.abs() <= NEAR * edge.norm(dim=-1) * other.norm(dim=-1)
    crossing = ~parallel & _from_0_to_1(along) & _from_0_to_1(beside)
    crossings = start + edge * torch.where(crossing, along, 0)[..., None]
    points = torch.cat([crossings.flatten(1, 2), first, second], 1)
    valid = torch.cat([crossing.flatten(1), _within(first, second, others), _within(second, first, edges)], 1)
    return points, valid


def _within(points: Tensor, box: Tensor, edges: Tensor) -> Tensor:
    """Return which of the points (P, 4, 2) project onto both edges at the first corner of the box."""
    offset = points - box[:, :1]
    return torch.stack(
        [
            _from_0_to_1((offset * side[:, None]).sum(-1) / side.square().sum(-1, keepdim=True))
            for side in (edges[:, 0], -edges[:, 3])
        ]
    ).all(0)


def _from_0_to_1(share: Tensor) -> Tensor:
    return (share >= -NEAR) & (share <= 1 + NEAR)


def _hull_area(points: Tensor, valid: Tensor) -> Tensor:
    """Return the areas (P,) of the convex hulls of the valid ones of the points (P, K, 2), at least one each."""
    count = int(valid.sum(1).max()) if len(valid) else 0
    front = valid.to(torch.uint8).sort(dim=1, descending=True, stable=True).indices[:, :count]
    points, valid = points.gather(1, front[..., None].expand(-1, -1, 2)), valid.gather(1, front)
    points = torch.where(valid[..., None], points, points[:, :1])  # a repeated point does not change the hull
    order = points[..., 1].sort(1).indices
    order = order.gather(1, points[..., 0].gather(1, order).sort(dim=1, stable=True).indices)
    points = points.gather(1, order[..., None].expand_as(points))  # from left to right
    return (_chain_area(points) + _chain_area(points.flip(1))) / 2


def _chain_area(points: Tensor) -> Tensor:
    """Return twice the area (P,) between the origin and the left-turning half of the hull of sorted points (Andrew's chain)."""
    every = torch.arange(len(points), device=points.device)
    chain, size = torch.zeros_like(points), torch.zeros_like(every)
    for point in points.unbind(1):
        rows = every
        while len(rows):
            rows = rows[size[rows] > 1]
            last, before = chain[rows, size[rows] - 1], chain[rows, size[rows] - 2]
            rows = rows[_cross(last - before, point[rows] - before) <= 0]
            size[rows] -= 1
        chain[every, size] = point
        size += 1
    used = torch.arange(points.shape[1], device=points.device)[1:] < size[:, None]
    return torch.where(used, _cross(chain[:, :-1], chain[:, 1:]), 0).sum(1)
