"""`mmvit.torchvision.detector`: torchvision's detectors train and predict on our backbones."""

import pytest
import torch
from makers import tiers

from mmvit import InputError
from mmvit.torchvision import HEADS, detector

SIDE = 96
SIZES = dict(min_size=SIDE, max_size=SIDE)
FEW = dict(  # proposals, for speed
    box_batch_size_per_image=16, rpn_batch_size_per_image=64, rpn_post_nms_top_n_train=32, rpn_post_nms_top_n_test=32
)
BOX = [16.0, 24.0, 64.0, 80.0]


def picture() -> torch.Tensor:
    """A bright rectangle on a dark ground."""
    image = torch.full((3, SIDE, SIDE), 0.2)
    image[:, 24:80, 16:64] = 0.9
    return image


def target() -> dict[str, torch.Tensor]:
    mask = torch.zeros(1, SIDE, SIDE, dtype=torch.uint8)
    mask[:, 24:80, 16:64] = 1
    return dict(boxes=torch.tensor([BOX]), labels=torch.tensor([1]), masks=mask)


@pytest.mark.parametrize("head", tiers(HEADS, lambda head: head == "mask_rcnn"))
def test_trains_and_predicts(head: str) -> None:
    """The loss falls, gradients reach the whole network, and what was learnt is found."""
    torch.manual_seed(0)
    few = FEW if head.endswith("rcnn") else {}
    model = detector("van_b0", head, num_classes=2, backbone=dict(norm_eval=True), **SIZES, **few).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-4)
    history = []
    for step in range(10):
        loss = sum(model([picture()], [target()]).values())
        optimizer.zero_grad()
        loss.backward()
        if step == 0:
            lost = [name for name, value in model.named_parameters() if value.grad is None]
            assert lost == []
        optimizer.step()
        history.append(loss.item())
    assert min(history[-3:]) < 0.7 * history[0], history
    (found,) = model.eval()([picture()])
    assert found["boxes"].shape[1:] == (4,)
    assert set(found["labels"].tolist()) == {1}
    assert max(iou(box, BOX) for box in found["boxes"].tolist()) > 0.5, found
    if head == "mask_rcnn":
        assert found["masks"].shape[1:] == (1, SIDE, SIDE)


def iou(one: list[float], other: list[float]) -> float:
    width, height = (max(0.0, min(one[k + 2], other[k + 2]) - max(one[k], other[k])) for k in (0, 1))
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return width * height / (sum(areas) - width * height)


def test_maps_of_the_neck() -> None:
    for head, count in (("faster_rcnn", 5), ("retinanet", 5)):
        model = detector("pvt_v2_b0", head, num_classes=3, **SIZES).eval()
        with torch.no_grad():
            maps = model.backbone(torch.rand(1, 3, 64, 128))
        finest = 4 if head == "faster_rcnn" else 8
        assert [tuple(level.shape) for level in maps.values()] == [
            (1, 256, max(64 // stride, 1), max(128 // stride, 1)) for stride in (finest << power for power in range(count))
        ]


def test_options_reach_both_sides() -> None:
    model = detector(
        "pvt_v2_b0",
        "retinanet",
        num_classes=3,
        backbone=dict(in_channels=4, frozen_stages=2),
        image_mean=[0.5] * 4,
        image_std=[0.2] * 4,
        score_thresh=0.9,
        **SIZES,
    )
    assert model.score_thresh == 0.9
    assert not any(value.requires_grad for value in model.backbone.body.stages[1].parameters())
    with torch.no_grad():
        assert model.eval()([torch.rand(4, 64, 64)])[0]["boxes"].shape == (0, 4)


@pytest.mark.parametrize(
    ("name", "head", "backbone", "message"),
    [
        ("van_b9", "fcos", {}, "no backbone is called 'van_b9'"),
        ("van_b0", "fcso", {}, "no detector of torchvision is called 'fcso'.*fcos"),
        ("van_b0", "fcos", dict(in_channels=4), "in_channels=4 needs image_mean"),
        ("van_b0", "fcos", dict(out_indices=(0,)), "fcos takes the levels"),
        ("van_b0", "fcos", dict(depth=50), "has no option depth"),
    ],
)
def test_what_cannot_be(name: str, head: str, backbone: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        detector(name, head, num_classes=2, backbone=backbone)


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("option", ["pretrained", "score_tresh", "kwargs", "self", "rpn"])
def test_options_that_torchvision_passes_over(head: str, option: str) -> None:
    hint = {"pretrained": "checkpoint=", "score_tresh": "score_thresh"}.get(option, "")
    with pytest.raises(InputError, match=f"{head} has no option {option}, .*{hint}") as told:
        detector("van_b0", head, 2, **{option: True})
    hints = str(told.value).partition("did you mean ")[2].partition("?")[0].split(" or ")
    assert len(set(hints) - {"kwargs", "self"}) == len(hints)
