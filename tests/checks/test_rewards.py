"""What losses of mmseg's heads cost for a perfect and for an inverted prediction."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mmengine.config import Config
from mmengine.registry import MODELS
from small_datasets import own_config, segmenter, texts
from test_findings import CE, found
from torch import Tensor, nn

from mmvit.checks.losses import check_ignored_pixels, check_rewards

pytestmark = pytest.mark.stack


def binary(loss: Any, head: str = "decode_head", leaf: str = "fpn_van_b0_ade20k", **options: Any) -> Config:
    cfg = own_config(leaf)
    for key, value in {"num_classes": 2, "out_channels": 1, "loss_decode": loss, **options}.items():
        cfg.model[head][key] = value
    return cfg


DICE, SIGMOID = dict(type="DiceLoss"), dict(type="CrossEntropyLoss", use_sigmoid=True)
STRUCTURE = dict(type="mmvit.StructureLoss")
OHEM = dict(type="OHEMPixelSampler", thresh=0.7, min_kept=100)


@MODELS.register_module()
class PickyLoss(nn.Module):
    def forward(self, logits: Tensor, labels: Tensor, **_: Any) -> Tensor:
        if labels.max() > 1:
            raise IndexError(f"no class {labels.max()}")
        return nn.functional.cross_entropy(logits, labels)


REWARDS: dict[str, tuple[Config, str | None, str]] = {
    "dice of one channel": (
        binary([SIGMOID, DICE]),
        "wrong",
        "model.decode_head.loss_decode.1 (DiceLoss) with one channel costs 1.000 for a perfect prediction and ",
    ),
    "the same, called one class": (binary(DICE, num_classes=1, out_channels=None), "wrong", "model.decode_head.loss_decode"),
    "dice of the second head": (
        binary(DICE, "auxiliary_head", "upernet_van_b0_ade20k"),
        "wrong",
        "model.auxiliary_head.loss_decode (DiceLoss) with one channel",
    ),
    "tversky of one channel": (
        binary(dict(type="TverskyLoss")),
        "wrong",
        "model.decode_head.loss_decode (TverskyLoss) with one channel costs 0.000 for a perfect prediction and 0.000 for "
        "the inverted one: it teaches nothing",
    ),
    "labels taken for probabilities": (
        binary(dict(type="HuasdorffDisstanceLoss"), num_classes=5, out_channels=5),
        "wrong",
        "model.decode_head.loss_decode (HuasdorffDisstanceLoss) with 5 channels costs",
    ),
    "a softmax of one": (
        binary(CE),
        "wrong",
        "model.decode_head has one channel, and model.decode_head.loss_decode has no use_",
    ),
    "its brother": (binary(CE, num_classes=1, out_channels=None), "wrong", "model.decode_head has one channel"),
    "a loss of every pixel": (
        binary(dict(type="PickyLoss"), out_channels=2),
        "doubtful",
        "model.decode_head.loss_decode (PickyLoss) fails where a pixel is ignored (255): IndexError: no class 255",
    ),
    "class weights and ignored pixels": (binary(dict(CE, class_weight=[1.0, 2.0]), out_channels=2), None, ""),
    "class weights of sigmoids": (binary(dict(SIGMOID, class_weight=[1.0, 2.0]), out_channels=2), None, ""),
    "focal loss": (binary(dict(type="FocalLoss"), num_classes=5, out_channels=5), None, ""),
    "another signature": (
        binary(dict(type="BoundaryLoss")),
        "wrong",
        "model.decode_head.loss_decode: FPNHead gives its losses options that BoundaryLoss does not take: ",
    ),
    "another signature in a head that knows": (
        binary(dict(type="BoundaryLoss"), leaf="fpn_van_b0_ade20k", type="PIDHead"),
        "not checked",
        "model.decode_head.loss_decode: whether it rewards",
    ),
    "two channels": (binary([CE, DICE, dict(type="TverskyLoss")], out_channels=2), None, ""),
    "one channel": (binary([SIGMOID, STRUCTURE]), None, ""),
    "a sampler of one channel": (
        binary(SIGMOID, sampler=OHEM),
        "wrong",
        "model.decode_head.sampler: OHEMPixelSampler fails with",
    ),
    "a sampler of one number": (binary(STRUCTURE, sampler=dict(OHEM, thresh=None)), "wrong", "model.decode_head.sampler: OHEM"),
    "a sampler of two": (binary(CE, out_channels=2, sampler=OHEM), None, ""),
    "150 channels": (own_config("upernet_van_b0_ade20k"), None, ""),
}


@pytest.mark.parametrize("channels", [2, 5])
@pytest.mark.parametrize("loss", [DICE, CE, SIGMOID, *(dict(type=f"{name}Loss") for name in ("Tversky", "Focal", "Lovasz"))])
def test_losses_that_count_ignored_pixels(loss: dict[str, Any], channels: int) -> None:
    cfg = binary(
        dict(loss, reduction="none") if "Lovasz" in loss["type"] else loss, out_channels=channels, num_classes=channels
    )
    told = found(partial(check_ignored_pixels, counts=np.full(256, 5)), cfg)
    assert [text.partition(", ")[0].partition(".decode_head.")[2] for _, text in told] == (
        ["loss_decode (DiceLoss) counts ignored pixels (255)"] if loss is DICE else []
    )


@pytest.mark.parametrize("rest", [1, 255])
def test_ignored_pixels_are_looked_for_in_the_label_maps(tmp_path: Path, rest: int) -> None:
    cfg = segmenter(tmp_path, [0, 1, rest, rest] * 10)
    cfg.model.decode_head.loss_decode = DICE
    told = [text for text in texts(cfg, ("train",), "doubtful") if "counts ignored pixels" in text]
    assert len(told) == (rest == 255)


@pytest.mark.parametrize("what", REWARDS)
def test_losses_are_tried_on_a_perfect_and_on_an_inverted_prediction(what: str) -> None:
    cfg, verdict, words = REWARDS[what]
    told = found(check_rewards, cfg)
    assert [given for given, _ in told] == ([verdict] if verdict else [])
    assert all(text.startswith(words) for _, text in told)
