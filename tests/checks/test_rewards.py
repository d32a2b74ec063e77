"""Losses are tried on a perfect and on an inverted prediction; heads with one channel have two classes."""

from pathlib import Path
from typing import Any

import pytest
from mmengine.config import Config
from mmengine.utils import is_installed
from small_datasets import own_config, segmenter
from test_kinds import CE, found

from mmvit.checks.classes import check_classes
from mmvit.checks.rewards import check_rewards

pytestmark = pytest.mark.stack


def binary(loss: Any, head: str = "decode_head", leaf: str = "fpn_van_b0_ade20k", **options: Any) -> Config:
    cfg = own_config(leaf)
    for key, value in {"num_classes": 2, "out_channels": 1, "loss_decode": loss, **options}.items():
        cfg.model[head][key] = value
    return cfg


DICE, SIGMOID = dict(type="DiceLoss"), dict(type="CrossEntropyLoss", use_sigmoid=True)
REWARDS: dict[str, tuple[Config, str | None, str]] = {
    "dice of one channel": (
        binary([SIGMOID, DICE]),
        "wrong",
        "model.decode_head.loss_decode.1 (DiceLoss) with one channel costs 1.000 for a perfect prediction and ",
    ),
    "the same, called one class": (binary(DICE, num_classes=1, out_channels=None), "wrong", "model.decode_head.loss_decode"),
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
    "class weights and ignored pixels": (
        binary(dict(CE, class_weight=[1.0, 2.0]), out_channels=2),
        "doubtful",
        "model.decode_head.loss_decode (CrossEntropyLoss) fails where a pixel is ignored (255): IndexError",
    ),
    "another signature": (
        binary(dict(type="BoundaryLoss")),
        "not checked",
        "model.decode_head.loss_decode: whether it rewards",
    ),
    "two channels": (binary([CE, DICE, dict(type="TverskyLoss")], out_channels=2), None, ""),
    "one channel": (binary([SIGMOID, dict(type="mmvit.StructureLoss")]), None, ""),
    "150 channels": (own_config("upernet_van_b0_ade20k"), None, ""),
}


if is_installed("onedl-mmsegmentation"):
    REWARDS.pop("class weights and ignored pixels")  # the forks have mended it


@pytest.mark.parametrize("what", REWARDS)
def test_losses_are_tried_on_a_perfect_and_on_an_inverted_prediction(what: str) -> None:
    cfg, verdict, words = REWARDS[what]
    told = found(check_rewards, cfg)
    assert [given for given, _ in told] == ([verdict] if verdict else [])
    assert all(text.startswith(words) for _, text in told)


def test_one_channel_tells_two_classes_apart(tmp_path: Path) -> None:
    cfg = segmenter(tmp_path)
    cfg.model.decode_head.num_classes = 1
    assert found(check_classes, cfg) == []
    cfg.train_dataloader.dataset.metainfo = dict(classes=("polyp",))
    ((verdict, text),) = found(check_classes, cfg)
    assert verdict == "doubtful"
    assert "Name two in train_dataloader.dataset.metainfo.classes, such as ('background', 'polyp')" in text


def test_the_second_head_is_tried_too() -> None:
    cfg = binary(DICE, "auxiliary_head", "upernet_van_b0_ade20k")
    (told,) = found(check_rewards, cfg)
    assert told[1].startswith("model.auxiliary_head.loss_decode (DiceLoss) with one channel")
