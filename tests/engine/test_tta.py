"""Test-time augmentation of instance segmentation: views are turned back, and what is found twice stays once, with its mask."""

import subprocess
import sys
from copy import deepcopy
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from mmdet.models.test_time_augs import DetTTAModel
from mmdet.structures import DetDataSample
from mmengine.config import ConfigDict
from mmengine.structures import InstanceData, PixelData
from torch import Tensor, nn

from mmvit.engine.tta import InstanceTTAModel, SegTTAModel

pytestmark = pytest.mark.stack

HEIGHT, WIDTH = 40, 60
CFG = ConfigDict(nms=dict(type="nms", iou_threshold=0.5), max_per_img=3)
BOX = (5, 10, 25, 22)  # left, top, right, bottom, pixels
FLIPPED = {
    "horizontal": (WIDTH - 25, 10, WIDTH - 5, 22),
    "vertical": (5, HEIGHT - 22, 25, HEIGHT - 10),
    "diagonal": (WIDTH - 25, HEIGHT - 22, WIDTH - 5, HEIGHT - 10),
}


class Detector(nn.Module):
    """Predicts what it is given."""

    def test_step(self, data: dict[str, Any]) -> list[DetDataSample]:
        return data["data_samples"]


def model(**cfg: Any) -> InstanceTTAModel:
    return InstanceTTAModel(ConfigDict(CFG, **cfg), module=Detector())


def filled(box: tuple[int, ...], corner: str | None = None) -> Tensor:
    """A mask (H, W) of a box without its upper left quarter, or of what a flip makes of it."""
    left, top, right, bottom = box
    mask = torch.zeros(HEIGHT, WIDTH, dtype=torch.bool)
    mask[top:bottom, left:right] = True
    high, low = slice(top, top + 3), slice(bottom - 3, bottom)
    near, far = slice(left, left + 4), slice(right - 4, right)
    rows, columns = {None: (high, near), "horizontal": (high, far), "vertical": (low, near), "diagonal": (low, far)}[corner]
    mask[rows, columns] = False
    return mask


def view(
    boxes: list[tuple[int, ...]],
    scores: list[float],
    flip: str | None = None,
    labels: list[int] | None = None,
    masks: bool = True,
) -> DetDataSample:
    sample = DetDataSample(metainfo=dict(ori_shape=(HEIGHT, WIDTH), flip=flip is not None, flip_direction=flip))
    sample.pred_instances = InstanceData(
        bboxes=torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        scores=torch.tensor(scores),
        labels=torch.tensor(labels or [0] * len(boxes), dtype=torch.long),
    )
    if masks:
        drawn = [filled(box, flip) for box in boxes]
        sample.pred_instances.masks = torch.stack(drawn) if drawn else torch.zeros(0, HEIGHT, WIDTH, dtype=torch.bool)
    return sample


def merge(*views: DetDataSample, **cfg: Any) -> InstanceData:
    (merged,) = model(**cfg).merge_preds([views])
    return merged.pred_instances


@pytest.mark.parametrize("direction", FLIPPED)
def test_masks_of_a_flipped_view_come_back(direction: str) -> None:
    found = merge(view([BOX], [0.6]), view([FLIPPED[direction]], [0.9], direction))
    assert found.bboxes.tolist() == [list(BOX)]
    assert found.scores.tolist() == pytest.approx([0.9])
    assert torch.equal(found.masks, filled(BOX)[None])


def test_suppressed_boxes_lose_their_masks() -> None:
    other = (30, 5, 50, 30)
    shifted = (6, 10, 26, 22)
    found = merge(view([shifted, other], [0.8, 0.3]), view([BOX], [0.9]))
    assert found.bboxes.tolist() == [list(BOX), list(other)]
    assert torch.equal(found.masks, torch.stack([filled(BOX), filled(other)]))


def test_classes_do_not_suppress_each_other_and_the_best_stay() -> None:
    found = merge(view([BOX, BOX], [0.2, 0.9], labels=[0, 1]), view([BOX], [0.5], labels=[2]), max_per_img=2)
    assert found.labels.tolist() == [1, 2]
    assert found.masks.shape == (2, HEIGHT, WIDTH)


def test_views_without_anything() -> None:
    empty = merge(view([], []), view([], [], "horizontal"))
    assert (empty.bboxes.shape, empty.masks.shape) == ((0, 4), (0, HEIGHT, WIDTH))
    found = merge(view([], []), view([FLIPPED["horizontal"]], [0.9], "horizontal"))
    assert torch.equal(found.masks, filled(BOX)[None])


def test_boxes_alone_are_merged_as_mmdet_does() -> None:
    torch.manual_seed(0)
    for direction in (None, *FLIPPED):
        corners = torch.randint(0, 20, (2, 12, 2))
        boxes = torch.cat([corners, corners + torch.randint(5, 20, (2, 12, 2))], dim=-1)
        scores, labels = torch.rand(2, 12).tolist(), torch.randint(0, 2, (2, 12)).tolist()

        views = [
            view(boxes[0].tolist(), scores[0], None, labels[0], masks=False),
            view(boxes[1].tolist(), scores[1], direction, labels[1], masks=False),
        ]
        (expected,) = DetTTAModel(CFG, module=Detector()).merge_preds([deepcopy(views)])
        found = merge(*views)
        assert len(found) == 3
        assert "masks" not in found
        for field in ("bboxes", "scores", "labels"):
            assert torch.equal(found[field], expected.pred_instances[field])


def test_soft_suppression_lowers_scores() -> None:
    nms = dict(type="soft_nms", iou_threshold=0.5, min_score=0.05)
    found = merge(view([BOX], [0.9]), view([(6, 10, 26, 22)], [0.8]), nms=nms)
    assert len(found.masks) == 2
    assert found.scores[1] < 0.2


def test_batches_go_through_the_detector() -> None:
    """Two images in two views, as a data loader gives them."""
    batch = dict(
        inputs=[None, None],
        data_samples=[
            [view([BOX], [0.6]), view([], [])],
            [view([FLIPPED["vertical"]], [0.9], "vertical"), view([], [], "vertical")],
        ],
    )
    first, second = model().test_step(batch)
    assert torch.equal(first.pred_instances.masks, filled(BOX)[None])
    assert len(second.pred_instances) == 0


@pytest.mark.parametrize("channels", [1, 3])
def test_label_maps_come_from_the_mean_of_probabilities(channels: int) -> None:
    from mmseg.structures import SegDataSample

    torch.manual_seed(0)
    scores = torch.randn(2, channels, 4, 5)
    views = [
        SegDataSample(seg_logits=PixelData(data=one.sigmoid() if channels == 1 else one), metainfo=dict(img_path="1.png"))
        for one in scores
    ]
    segmenter = Detector()
    segmenter.out_channels, segmenter.decode_head = channels, SimpleNamespace(threshold=0.4)
    (merged,) = SegTTAModel(module=segmenter).merge_preds([views])
    mean = scores.sigmoid().mean(0) if channels == 1 else scores.softmax(1).mean(0)
    expected = (mean > 0.4).long() if channels == 1 else mean.argmax(0, keepdim=True)
    assert torch.equal(merged.pred_sem_seg.data, expected)
    assert expected.float().mean() > 0
    again = merged.seg_logits.data if channels == 1 else merged.seg_logits.data.softmax(0)
    assert torch.allclose(again, mean, atol=1e-6)


def test_backbones_are_found_without_mmdet_and_without_an_import() -> None:
    script = (
        "import sys; sys.modules['mmdet'] = None; from mmengine.registry import MODELS\n"
        "print(type(MODELS.build(dict(type='mmvit.PVT', arch='tiny'))).__name__)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout.strip().endswith("PVT"), done.stderr
