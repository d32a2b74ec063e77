"""Rotated boxes, quadrilaterals and rotated RoI align through mmcv.ops, against mmcv's own test vectors and the definitions."""

import math

import pytest
import torch
from definitions import sample
from definitions import single_wave as wave
from mmcv import ops
from torch.autograd import gradcheck

pytestmark = pytest.mark.stack


def boxes(count: int, phase: float = 0.0) -> torch.Tensor:
    """Rotated boxes, many of which overlap."""
    centre, size = wave(count, 2, phase=phase) * 12, 9 + 7 * wave(count, 2, phase=phase + 1)
    return torch.cat([centre, size, 3 * wave(count, 1, phase=phase + 2)], 1)


def corners(box: list[float]) -> list[tuple[float, float]]:
    """As the docstring of mmcv's box_iou_rotated has them, clockwise: A, B, C, D."""
    x, y, width, height, angle = box
    cosine, sine = math.cos(angle), math.sin(angle)
    signs = ((-0.5, -0.5), (0.5, -0.5), (0.5, 0.5), (-0.5, 0.5))
    return [(x + a * width * cosine - b * height * sine, y + a * width * sine + b * height * cosine) for a, b in signs]


def area(polygon: list[tuple[float, float]]) -> float:
    return abs(sum(x1 * y2 - x2 * y1 for (x1, y1), (x2, y2) in zip(polygon, polygon[1:] + polygon[:1], strict=True))) / 2


def clip(polygon: list[tuple[float, float]], window: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """The part of a polygon within a convex window, cut off edge by edge (Sutherland and Hodgman)."""
    for (x1, y1), (x2, y2) in zip(window, window[1:] + window[:1], strict=True):
        sides = [(x2 - x1) * (y - y1) - (y2 - y1) * (x - x1) for x, y in polygon]
        kept = []
        for index, (x, y) in enumerate(polygon):
            (u, v), before = polygon[index - 1], sides[index - 1]
            if (sides[index] < 0) != (before < 0):
                share = before / (before - sides[index])
                kept.append((u + share * (x - u), v + share * (y - v)))
            if sides[index] >= 0:
                kept.append((x, y))
        polygon = kept
    return polygon


def overlap(one: list[float], other: list[float], mode: str = "iou") -> float:
    first, second = corners(one), corners(other)
    common = area(clip(first, second)) if clip(first, second) else 0.0
    return common / (area(first) + area(second) - common if mode == "iou" else area(first))


MMCV_FIRST = torch.tensor([[1.0, 1, 3, 4, 0.5], [2, 2, 3, 4, 0.6], [7, 7, 8, 8, 0.4]])
MMCV_SECOND = torch.tensor([[0.0, 2, 2, 5, 0.3], [2, 1, 3, 3, 0.5], [5, 5, 6, 7, 0.4]])
MMCV_OVERLAPS = {
    "iou": [[0.3708, 0.4351, 0.0], [0.1104, 0.4487, 0.0424], [0.0, 0.0, 0.3622]],
    "iof": [[0.4959, 0.5306, 0.0], [0.1823, 0.5420, 0.1832], [0.0, 0.0, 0.4404]],
}
COUNTER = torch.tensor([1.0, 1, 1, 1, -1])


@pytest.mark.parametrize("mode", MMCV_OVERLAPS)
def test_box_iou_rotated_has_the_values_of_mmcvs_test(mode):
    expected = torch.tensor(MMCV_OVERLAPS[mode])
    for aligned, wanted in ((False, expected), (True, expected.diagonal())):
        found = ops.box_iou_rotated(MMCV_FIRST, MMCV_SECOND, mode, aligned)
        torch.testing.assert_close(found, wanted, atol=1e-4, rtol=0)
        turned = ops.box_iou_rotated(MMCV_FIRST * COUNTER, MMCV_SECOND * COUNTER, mode, aligned, clockwise=False)
        torch.testing.assert_close(turned, found)


@pytest.mark.parametrize("mode", ["iou", "iof"])
def test_box_iou_rotated_against_the_definition(mode):
    first, second = boxes(30), boxes(20, phase=0.7)
    found = ops.box_iou_rotated(first, second, mode)
    expected = torch.tensor([[overlap(one, other, mode) for other in second.tolist()] for one in first.tolist()])
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    assert 100 < (found > 0.05).sum() < 500
    for slow in (first.double(), first.half()):
        assert ops.box_iou_rotated(slow, second.to(slow), mode).dtype == slow.dtype


@pytest.mark.parametrize("angle", [0.0, 0.3, 0.5, math.pi / 4, math.pi / 2, 2.0])
def test_boxes_that_share_edges(angle):
    """The same box, halves of it, neighbours, and quarter turns: exact in spite of rounding, also far from the origin."""
    turn = torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    places = torch.tensor([[0.0, 0, 8, 4, 0], [0, 1, 8, 2, 0], [4, 0, 8, 4, 0], [8, 0, 8, 4, 0], [0, 0, 4, 8, math.pi / 2]])
    turned = torch.cat([places[:, :2] @ turn.T + 100, places[:, 2:4], places[:, 4:] + angle], 1).double()
    found = ops.box_iou_rotated(turned[:1], turned)
    torch.testing.assert_close(found[0], torch.tensor([1, 0.5, 1 / 3, 0, 1]).double(), atol=1e-5, rtol=0)
    around = turned[:1] + torch.tensor([0, 0, 0, 0, math.pi])
    torch.testing.assert_close(ops.box_iou_rotated(around, turned), found, atol=1e-6, rtol=0)


def test_boxes_without_area_overlap_nothing():
    flat = torch.tensor([[0.0, 0, 4, 0, 0.2], [0, 0, 0, 0, 0], [0, 0, 4, 4, 0]])
    assert ops.box_iou_rotated(flat, flat).tolist() == [[0, 0, 0], [0, 0, 0], [0, 0, 1]]
    assert ops.box_iou_rotated(flat[:0], flat).shape == (0, 3)
    assert ops.box_iou_rotated(flat, flat[:0]).shape == (3, 0)


def test_pairs_in_slices(monkeypatch):
    from mmvit.compat.operators import rotated

    whole = ops.box_iou_rotated(boxes(12), boxes(9))
    monkeypatch.setattr(rotated, "SLICE_ELEMENTS", 1)
    assert torch.equal(ops.box_iou_rotated(boxes(12), boxes(9)), whole)


MMCV_DETS = torch.tensor([[6.0, 3, 8, 7, 0.5], [3, 6, 9, 11, 0.6], [3, 7, 10, 12, 0.3], [1, 4, 13, 7, 0.6]])
MMCV_SCORES = torch.tensor([0.7, 0.8, 0.5, 0.9])
MMCV_LABELS = torch.tensor([1.0, 0, 1, 0])


def test_nms_rotated_keeps_what_mmcvs_test_keeps():
    for labels in (None, MMCV_LABELS):
        dets, kept = ops.nms_rotated(MMCV_DETS, MMCV_SCORES, 0.5, labels)
        assert kept.tolist() == [3, 1, 0]
        assert torch.equal(dets, torch.cat([MMCV_DETS, MMCV_SCORES[:, None]], 1)[kept])
        assert ops.nms_rotated(MMCV_DETS * COUNTER, MMCV_SCORES, 0.5, labels, clockwise=False)[1].tolist() == [3, 1, 0]
    options = dict(type="nms_rotated", iou_threshold=0.5)
    assert ops.batched_nms(MMCV_DETS, MMCV_SCORES, MMCV_LABELS, options, class_agnostic=True)[1].tolist() == [3, 1, 0]
    assert ops.batched_nms(MMCV_DETS, MMCV_SCORES, MMCV_LABELS, options)[1].tolist() == [3, 1, 0, 2]


@pytest.mark.parametrize("limit", [0.1, 0.3, 0.5])
def test_nms_rotated_against_the_definition(limit):
    dets, scores = boxes(40), wave(40, phase=3)
    kept: list[int] = []
    for index in sorted(range(40), key=lambda place: -scores[place].item()):
        if all(overlap(dets[index].tolist(), dets[other].tolist()) < limit for other in kept):
            kept.append(index)
    assert ops.nms_rotated(dets, scores, limit)[1].tolist() == kept
    assert 3 < len(kept) < 38


def test_nms_rotated_drops_at_the_threshold_and_keeps_the_order_of_equal_scores():
    halves = torch.tensor([[0.0, 0, 4, 4, 0], [0, 1, 4, 2, 0], [50, 0, 4, 4, 0]])
    assert ops.nms_rotated(halves, torch.ones(3), 0.5)[1].tolist() == [0, 2]
    assert ops.nms_rotated(halves, torch.ones(3), 0.51)[1].tolist() == [0, 1, 2]


def quadri(rotated: torch.Tensor) -> torch.Tensor:
    return torch.tensor([[number for corner in corners(box) for number in corner] for box in rotated.tolist()])


QUADRI_FIRST = torch.tensor([[1.0, 1, 3, 4, 4, 4, 4, 1], [2, 2, 3, 4, 4, 2, 3, 1], [7, 7, 8, 8, 9, 7, 8, 6]])
QUADRI_SECOND = torch.tensor([[0.0, 0, 0, 2, 2, 2, 2, 0], [2, 1, 2, 4, 4, 4, 4, 1], [7, 6, 7, 8, 9, 8, 9, 6]])


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("iou", [[0.0714, 1.0, 0.0], [0.0, 0.5, 0.0], [0.0, 0.0, 0.5]]),
        ("iof", [[0.1111, 1.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]),
    ],
)
def test_box_iou_quadri(mode, expected):
    """mmcv's test, whose second value shows its approximation: a trapezium of area 6 covers a box of area 6 that it is not."""
    expected = torch.tensor(expected)
    torch.testing.assert_close(ops.box_iou_quadri(QUADRI_FIRST, QUADRI_SECOND, mode), expected, atol=1e-4, rtol=0)
    aligned = ops.box_iou_quadri(QUADRI_FIRST, QUADRI_SECOND, mode, aligned=True)
    torch.testing.assert_close(aligned, expected.diagonal(), atol=1e-4, rtol=0)
    rotated = boxes(15), boxes(12, phase=0.4)
    found = ops.box_iou_quadri(*map(quadri, rotated), mode)
    torch.testing.assert_close(found, ops.box_iou_rotated(*rotated, mode), atol=1e-5, rtol=1e-5)


def test_nms_quadri():
    """mmcv's test, and rotated boxes as quadrilaterals."""
    dets = torch.cat([QUADRI_FIRST, QUADRI_SECOND[:1]])
    scores = torch.tensor([0.7, 0.8, 0.5, 0.9])
    for labels in (None, MMCV_LABELS):
        assert ops.nms_quadri(dets, scores, 0.3, labels)[1].tolist() == [3, 1, 2]
    options = dict(type="nms_quadri", iou_threshold=0.3)
    assert ops.batched_nms(dets, scores, MMCV_LABELS, options)[1].tolist() == [3, 1, 0, 2]
    rotated, order = boxes(30), wave(30, phase=3)
    assert torch.equal(ops.nms_quadri(quadri(rotated), order, 0.3)[1], ops.nms_rotated(rotated, order, 0.3)[1])


def align(maps, rois, size, scale, ratio, aligned, clockwise):
    """Rotated RoI align written out with Python numbers."""
    output = torch.zeros(len(rois), maps.shape[1], *size, dtype=maps.dtype)
    for index, (image, *roi) in enumerate(rois.tolist()):
        x, y, width, height = (number * scale for number in roi[:4])
        x, y = x - 0.5 * aligned, y - 0.5 * aligned
        width, height = (width, height) if aligned else (max(width, 1), max(height, 1))
        cosine, sine = math.cos(roi[4]), math.sin(roi[4]) * (-1 if clockwise else 1)
        steps = height / size[0], width / size[1]
        counts = [ratio or math.ceil(step) for step in steps]
        for channel, plane in enumerate(maps[int(image)].tolist()):
            for row in range(size[0]):
                for column in range(size[1]):
                    values = []
                    for i in range(counts[0]):
                        for j in range(counts[1]):
                            v = -height / 2 + (row + (i + 0.5) / counts[0]) * steps[0]
                            u = -width / 2 + (column + (j + 0.5) / counts[1]) * steps[1]
                            values.append(sample(plane, v * cosine - u * sine + y, v * sine + u * cosine + x))
                    output[index, channel, row, column] = sum(values) / max(len(values), 1)
    return output


ROIS = torch.tensor([[0, 10.0, 9, 14, 8, 0.6], [1, 12.3, 4.2, 21, 17, -2.1], [0, 1, 2, 30, 3, 1.4], [1, 9, 9, 0, 0, 0.3]])


@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize("clockwise", [True, False])
@pytest.mark.parametrize("ratio", [0, 2])
def test_roi_align_rotated_against_the_definition(aligned, clockwise, ratio):
    maps, rois = wave(2, 2, 6, 7).double(), ROIS.double()
    result = ops.roi_align_rotated(maps, rois, (2, 3), 0.25, ratio, aligned, clockwise)
    torch.testing.assert_close(result, align(maps, rois, (2, 3), 0.25, ratio, aligned, clockwise))
    assert result[:3].abs().amax((1, 2, 3)).min() > 0.1
    single = ops.RoIAlignRotated((2, 3), 0.25, ratio, aligned, clockwise)(maps.half(), rois.half())
    torch.testing.assert_close(single.double(), result, atol=0.03, rtol=0)


@pytest.mark.parametrize(
    ("maps", "angle", "output", "gradient"),
    [
        ([[1.0, 2], [3, 4]], 0, [[1.0, 1.25], [1.5, 1.75]], [[3.0625, 0.4375], [0.4375, 0.0625]]),
        ([[1.0, 2], [3, 4]], math.pi / 2, [[1.5, 1], [1.75, 1.25]], [[3.0625, 0.4375], [0.4375, 0.0625]]),
    ],
)
def test_roi_align_rotated_has_the_values_of_mmcvs_test(maps, angle, output, gradient):
    given = torch.tensor([[maps]], requires_grad=True)
    result = ops.roi_align_rotated(given, torch.tensor([[0, 0.5, 0.5, 1, 1, angle]]), 2, 1.0, 2, True)
    result.sum().backward()
    torch.testing.assert_close(result[0, 0], torch.tensor(output), atol=1e-5, rtol=0)
    torch.testing.assert_close(given.grad[0, 0], torch.tensor(gradient), atol=1e-5, rtol=0)


@pytest.mark.parametrize("ratio", [0, 2])
def test_roi_align_rotated_gradient(ratio):
    maps, rois = wave(2, 2, 5, 4).double().requires_grad_(), ROIS.double()
    assert gradcheck(lambda x: ops.roi_align_rotated(x, rois, (2, 3), 0.25, ratio, True, True), (maps,), fast_mode=True)


def test_upright_rois_are_those_of_roi_align():
    maps = wave(2, 3, 9, 8).requires_grad_()
    upright = torch.tensor([[0.0, 1.3, 0.7, 21.9, 17.2], [1, 2, 3, 11, 30]])
    size = upright[:, 3:] - upright[:, 1:3]
    turned = torch.cat([upright[:, :1], upright[:, 1:3] + size / 2, size, torch.zeros(2, 1)], 1)
    results = ops.roi_align(maps, upright, 3, 0.25, 0), ops.roi_align_rotated(maps, turned, 3, 0.25, 0)
    torch.testing.assert_close(*results, atol=1e-5, rtol=1e-5)
    grads = [torch.autograd.grad(result, maps, wave(2, 3, 3, 3, phase=2))[0] for result in results]
    torch.testing.assert_close(*grads, atol=1e-5, rtol=1e-5)
    none = ops.roi_align_rotated(maps, turned[:0], 3, 0.25)
    assert none.shape == (0, 3, 3, 3)
    assert torch.autograd.grad(none.sum(), maps)[0].abs().max() == 0
