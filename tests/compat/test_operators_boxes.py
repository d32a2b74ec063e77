"""nms, soft_nms, nms_match, bbox_overlaps, batched_nms through mmcv.ops.

The stored numbers come from mmcv's own CPU code (onedl-mmcv 2.3.6, csrc compiled against torch 2.14).
"""

import numpy as np
import pytest
import torch
from definitions import single_wave as wave
from mmcv import ops

pytestmark = pytest.mark.stack


@pytest.fixture
def boxes() -> torch.Tensor:
    centre = wave(12, 2) * 20 + 20
    return torch.cat([centre, centre + 8 + 6 * wave(12, 2, phase=1)], 1)


@pytest.fixture
def scores() -> torch.Tensor:
    return wave(12, phase=2) / 2 + 0.5


def greedy(boxes: torch.Tensor, scores: torch.Tensor, limit: float, offset: int) -> list[int]:
    """NMS written out with Python numbers."""
    rows, kept = boxes.double().tolist(), []

    def area(box):
        return (box[2] - box[0] + offset) * (box[3] - box[1] + offset)

    for index in sorted(range(len(rows)), key=lambda i: -scores[i].item()):
        x1, y1, x2, y2 = rows[index]
        for other in kept:
            u1, v1, u2, v2 = rows[other]
            common = max(0, min(x2, u2) - max(x1, u1) + offset) * max(0, min(y2, v2) - max(y1, v1) + offset)
            if common > limit * (area(rows[index]) + area(rows[other]) - common):
                break
        else:
            kept.append(index)
    return kept


@pytest.mark.parametrize(
    ("limit", "offset", "kept"),
    [
        (0.1, 0, [7, 11, 3, 4, 10, 8, 6, 1, 2, 5, 9]),
        (0.1, 1, [7, 11, 3, 4, 10, 8, 6, 1, 2, 9]),
        (0.3, 0, [7, 11, 0, 3, 4, 10, 8, 6, 1, 2, 5, 9]),
        (0.3, 1, [7, 11, 3, 4, 10, 8, 6, 1, 2, 5, 9]),
    ],
)
def test_nms_keeps_what_mmcv_keeps(boxes, scores, limit, offset, kept):
    dets, indices = ops.nms(boxes, scores, limit, offset=offset)
    assert indices.tolist() == kept
    assert torch.equal(dets, torch.cat([boxes, scores[:, None]], 1)[kept])


@pytest.mark.parametrize("offset", [0, 1])
@pytest.mark.parametrize("seed", range(5))
def test_nms_against_the_definition(seed, offset):
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(80, 2, generator=generator) * 40
    boxes = torch.cat([corner, corner + 2 + torch.rand(80, 2, generator=generator) * 20], 1)
    scores = torch.rand(80, generator=generator)
    kept = ops.nms(boxes, scores, 0.43, offset=offset)[1].tolist()
    assert kept == greedy(boxes, scores, 0.43, offset)
    assert 5 < len(kept) < 75


@pytest.mark.parametrize("offset", [0, 1])
def test_nms_limit_is_rounded_to_float32_and_must_be_exceeded(offset):
    # The IoU is exactly 3 / 5 for either offset; float32(0.6) is above 0.6, so float32(3 / 5) does not exceed it.
    boxes = torch.tensor([[0.0, 0, 4 - offset, 1 - offset], [1, 0, 5 - offset, 1 - offset]])
    assert ops.nms(boxes, torch.tensor([0.9, 0.8]), 0.6, offset=offset)[1].tolist() == [0, 1]
    assert ops.nms(boxes, torch.tensor([0.9, 0.8]), 0.59, offset=offset)[1].tolist() == [0]


@pytest.mark.parametrize("offset", [0, 1])
def test_nms_equal_scores_keep_their_order(offset):
    boxes = torch.tensor([[0.0, 0, 9, 9]]).repeat(40, 1) + torch.arange(40)[:, None] % 3 * 20
    assert ops.nms(boxes, torch.full((40,), 0.5), 0.5, offset=offset)[1].tolist() == [0, 1, 2]


@pytest.mark.parametrize("offset", [0, 1])
def test_boxes_without_area_suppress_nothing(offset):
    boxes = torch.tensor([[3.0, 1, 3, 1], [3, 1, 3, 1], [9, 9, 2, 2]]) - torch.tensor([0, 0, offset, offset])
    assert len(ops.nms(boxes, torch.tensor([0.9, 0.8, 0.7]), 0.5, offset=offset)[1]) == 3


def test_nms_options_and_types(boxes, scores):
    assert ops.nms(boxes, scores, 0.1, score_threshold=0.5, max_num=3)[1].tolist() == [7, 11, 3]
    dets, kept = ops.nms(boxes.numpy(), scores.numpy(), 0.1)
    assert isinstance(dets, np.ndarray)
    assert kept.tolist()[:3] == [7, 11, 3]
    for dtype in (torch.float16, torch.bfloat16, torch.float64):
        assert ops.nms(boxes.to(dtype), scores.to(dtype), 0.1)[1].tolist()[:2] == [7, 11]
    strided = torch.stack([boxes, boxes], -1)[..., 0]
    assert not strided.is_contiguous()
    assert ops.nms(strided, scores, 0.1)[1].tolist()[:3] == [7, 11, 3]


def test_batched_nms_separates_classes(boxes, scores):
    together = ops.batched_nms(boxes, scores, torch.zeros(12), {"type": "nms", "iou_threshold": 0.1})[1]
    apart = ops.batched_nms(boxes, scores, torch.arange(12), {"type": "nms", "iou_threshold": 0.1})[1]
    assert len(together) == 11
    assert len(apart) == 12
    soft, kept = ops.batched_nms(boxes, scores, torch.zeros(12), {"type": "soft_nms", "iou_threshold": 0.1})
    assert kept.tolist()[:3] == [7, 11, 3]
    assert soft.shape == (len(kept), 5)


@pytest.mark.parametrize(
    ("method", "kept", "values"),
    [
        ("naive", [7, 11, 3, 4, 10, 8, 6, 1], [0.986, 0.98058, 0.86448, 0.79246, 0.57494, 0.55388, 0.32089, 0.23508]),
        (
            "linear",
            [7, 11, 3, 4, 0, 10, 8, 6, 1],
            [0.986, 0.98058, 0.86448, 0.79246, 0.67785, 0.57494, 0.55388, 0.32089, 0.23508],
        ),
        (
            "gaussian",
            [7, 11, 3, 0, 4, 10, 8, 6, 1],
            [0.986, 0.98058, 0.86448, 0.8069, 0.79246, 0.57494, 0.55388, 0.32089, 0.23508],
        ),
    ],
)
def test_soft_nms_stored(boxes, scores, method, kept, values):
    before = scores.clone()
    dets, indices = ops.soft_nms(boxes, scores, 0.1, sigma=0.5, min_score=0.2, method=method)
    assert indices.tolist() == kept
    assert torch.equal(dets[:, :4], boxes[kept])
    torch.testing.assert_close(dets[:, 4], torch.tensor(values), atol=1e-5, rtol=0)
    assert torch.equal(scores, before)


def test_soft_nms_moves_the_last_box_into_a_gap():
    # 0 drops 1; mmcv then puts the last box, 4, into its place, and so before 2 and 3, which score the same.
    boxes = torch.tensor([[0.0, 0, 9, 9], [0, 0, 9, 9], [20, 0, 29, 9], [40, 0, 49, 9], [60, 0, 69, 9]])
    kept = ops.soft_nms(boxes, torch.tensor([0.9, 0.8, 0.5, 0.5, 0.5]), 0.3, method="naive")[1]
    assert kept.tolist() == [0, 4, 2, 3]


def test_nms_match(boxes, scores):
    groups = ops.nms_match(torch.cat([boxes, scores[:, None]], 1), 0.1)
    assert [group.tolist() for group in groups] == [[7], [11, 0], [3], [4], [10], [8], [6], [1], [2], [5], [9]]
    equal = torch.tensor([[0.0, 0, 4, 1, 0.9], [2, 0, 4, 1, 0.8]])  # An IoU of exactly 1 / 2 matches.
    assert [group.tolist() for group in ops.nms_match(equal, 0.5)] == [[0, 1]]
    assert ops.nms_match(np.zeros((0, 5), np.float32), 0.5) == []


def test_bbox_overlaps():
    first = torch.tensor([[0.0, 0, 10, 10], [10, 10, 20, 20], [32, 32, 38, 42]])
    second = torch.tensor([[0.0, 0, 10, 20], [0, 10, 10, 19], [10, 10, 20, 20]])
    expected = torch.tensor([[0.5, 0, 0], [0, 0, 1], [0, 0, 0]])
    torch.testing.assert_close(ops.bbox_overlaps(first, second), expected)
    torch.testing.assert_close(ops.bbox_overlaps(first, second, aligned=True), expected.diagonal())
    torch.testing.assert_close(ops.bbox_overlaps(first, second, mode="iof")[0], torch.tensor([1.0, 0, 0]))
    # With an offset of 1 the first pair is 11 x 11 pixels of 11 x 21, the boxes of the second share 11 x 1.
    torch.testing.assert_close(
        ops.bbox_overlaps(first[:1], second[:2], offset=1), torch.tensor([[11 / 21, 11 / (121 + 110 - 11)]])
    )


def test_no_boxes():
    none, nothing = torch.zeros(0, 4), torch.zeros(0)
    for offset in (0, 1):
        dets, kept = ops.nms(none, nothing, 0.5, offset=offset)
        assert dets.shape == (0, 5)
        assert kept.shape == (0,)
        assert kept.dtype == torch.long
        dets, kept = ops.soft_nms(none, nothing, offset=offset)
        assert dets.shape == (0, 5)
        assert kept.shape == (0,)
    assert ops.bbox_overlaps(none, torch.rand(3, 4)).shape == (0, 3)
    assert ops.batched_nms(none.reshape(0, 4), nothing, nothing, None)[0].shape == (0, 5)
