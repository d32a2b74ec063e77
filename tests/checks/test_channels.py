"""Parts of a model that do not fit each other: channels, classes, losses. What was not looked at is never said to fit."""

import copy
import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from families import FAMILIES
from makers import tiers
from mmengine.config import Config
from mmengine.registry import DefaultScope
from small_datasets import coco, own_config, refused, write
from test_findings import found

from mmvit.checks.channels import check_channels, misfits
from mmvit.checks.classes import class_faults, known_classes
from mmvit.checks.model import Fake, check_forward
from mmvit.checks.pipelines import LVIS, check_packages
from mmvit.checks.plan import Plan
from mmvit.checks.table import check_start
from mmvit.config.datasets import datasets_of

pytestmark = pytest.mark.stack

SIZES = dict(FAMILIES[0].tiny)
OURS = dict(_delete_=True, type="mmvit.PVT", arch=SIZES)
LAST = dict(out_indices=(3,))
# Config, changes of the backbone, key of what is wrong; None: it cannot be tried out.
STOCK: dict[str, tuple[str, dict[str, Any], str | None]] = {
    "CARAFE": ("mmdet::carafe/faster-rcnn_r50_fpn-carafe_1x_coco.py", {}, "model.neck"),
    "CenterNet": ("mmdet::centernet/centernet_r18-dcnv2_8xb16-crop512-140e_coco.py", LAST, "model.neck"),
    "NAS-FCOS": ("mmdet::nas_fcos/nas-fcos_r50-caffe_fpn_nashead-gn-head_4xb4-1x_coco.py", {}, "model.neck"),
    "YOLOF": ("mmdet::yolof/yolof_r50-c5_8xb8-1x_coco.py", LAST, "model.neck"),
    "CornerNet": ("mmdet::cornernet/cornernet_hourglass104_8xb6-210e-mstest_coco.py", {}, None),
    "Mask2Former": ("mmdet::mask2former/mask2former_r50_8xb2-lsj-50e_coco.py", {}, "model.panoptic_head"),
    "MaskFormer": ("mmdet::maskformer/maskformer_r50_ms-16xb1-75e_coco.py", {}, "model.panoptic_head"),
    "Mask2Former of mmseg": ("mmseg::mask2former/mask2former_r50_8xb2-160k_ade20k-512x512.py", {}, "model.decode_head"),
    "Segmenter": ("mmseg::segmenter/segmenter_vit-t_mask_8xb1-160k_ade20k-512x512.py", LAST, "model.decode_head"),
    "FastFCN": ("mmseg::fastfcn/fastfcn_r50-d32_jpu_psp_4xb2-80k_cityscapes-512x1024.py", {}, "model.neck"),
    "DPT": ("mmseg::dpt/dpt_vit-b16_8xb2-160k_ade20k-512x512.py", {}, None),
}


def stock(name: str, **backbone: Any) -> Config:
    config = Config.fromfile(Config._get_cfg_path(name, "")[0])
    config.model.pop("pretrained", None)
    config.merge_from_dict(dict(model=dict(backbone=dict(OURS, **backbone))))
    return config


@pytest.mark.parametrize("model", tiers(STOCK, ("CARAFE", "YOLOF", "CornerNet", "Mask2Former of mmseg").__contains__))
def test_a_resnets_channels_are_never_said_to_fit(model: str) -> None:
    name, options, key = STOCK[model]
    config = stock(name, **options)
    with DefaultScope.overwrite_default_scope(config.default_scope):
        (finding, *_) = check_channels(Plan(config, ()))
        assert not list(check_forward(Plan(config, ()))), "said once"
    assert finding.verdict == ("not checked" if key is None else "wrong")
    assert key is None or finding.text.startswith(f"{key}.in_channels is "), finding
    assert key is not None or "does not" in finding.text


DMNET = {
    "model.neck": None,
    "model.decode_head": dict(
        _delete_=True, type="DMHead", in_channels=256, in_index=3, channels=8, num_classes=150, norm_cfg=dict(type="BN")
    ),
}
HEADS = {
    "Mask R-CNN with a narrower neck": (
        "mask_rcnn_pvt_v2_b0_coco",
        {"model.neck.out_channels": 64, "model.rpn_head.in_channels": 64},
        "cannot be broadcast",
    ),
    "DeepLabV3+ with a ResNet's first map": (
        "fpn_pvt_v2_b0_ade20k",
        {
            "model.neck": None,
            "model.decode_head": dict(
                _delete_=True,
                type="DepthwiseSeparableASPPHead",
                in_channels=256,
                in_index=3,
                channels=64,
                dilations=(1, 12),
                c1_in_channels=256,
                c1_channels=48,
                num_classes=150,
                norm_cfg=dict(type="BN"),
            ),
        },
        "to have 256 channels, but got 32",
    ),
    "DMNet, which calls view() on maps": ("fpn_pvt_v2_b0_ade20k", DMNET, "set model.backbone.contiguous_maps=True"),
    "that remedy": ("fpn_pvt_v2_b0_ade20k", DMNET | {"model.backbone.contiguous_maps": True}, None),
    "900 queries": ("dino_pvt_v2_b2_coco", {f"model.{part}.num_layers": 1 for part in ("encoder", "decoder")}, None),
    "a head that wants samples": ("mask2former_semantic_pvt_v2_b2_ade20k", {}, None),
}


@pytest.mark.parametrize("what", HEADS)
def test_images_pass_through_the_heads(what: str) -> None:
    """What no comparison of in_channels finds: options with other names, and how maps lie in memory."""
    name, options, words = HEADS[what]
    cfg = own_config(name, **options)
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        assert list(check_channels(Plan(cfg, ()))) == []
        (told,) = check_forward(Plan(cfg, ()))
    assert told.verdict == ("wrong" if words else "ok")
    assert (words or "fit what follows") in told.text


def test_copies_of_fake_layers_share_one_mode() -> None:
    """Torch frees the storages of a copied mode twice: the doctor on DINO could end with a segmentation fault."""
    with Fake() as mode:
        layers = copy.deepcopy(torch.nn.Linear(2, 2))
    assert all(weight.fake_mode is mode for weight in layers.parameters())


def test_cascades_and_wrapped_datasets() -> None:
    heads = [dict(type="Shared2FCBBoxHead", num_classes=count) for count in (80, 80, 3)]
    model = dict(roi_head=dict(bbox_head=heads, mask_head=dict(type="FCNMaskHead", num_classes=80)))
    coco = dict(type="CocoDataset")
    wrapped = dict(type="RepeatDataset", times=2, dataset=dict(type="ConcatDataset", datasets=[coco, coco]))
    config = Config(dict(train_dataloader=dict(dataset=wrapped)))
    with DefaultScope.overwrite_default_scope("mmdet"):
        (fault,) = class_faults(model, datasets_of(config, ("train",)))
        assert fault.text.startswith(
            "model.roi_head.bbox_head.2.num_classes is 3, but train_dataloader.dataset.dataset.datasets."
        )
        wrapped["dataset"]["datasets"] = [coco, dict(coco, metainfo=dict(classes=("screw",)))]
        config = Config(dict(train_dataloader=dict(dataset=wrapped)))
        assert list(class_faults(model, datasets_of(config, ("train",)))) == [], "which of them is meant cannot be known"
        assert known_classes(dict(type="CocoDataset"))[:2] == ["person", "bicycle"]


def test_mmengine_adds_up_what_has_loss_in_its_name() -> None:
    """What the check says is so."""
    from mmengine.model import BaseModel

    total, _ = BaseModel.parse_losses(None, dict(loss_ce=torch.tensor(1.0), dice=torch.tensor(2.0)))  # type: ignore[arg-type]
    assert total == 1


def test_packages_that_are_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mmvit.checks.pipelines.find_spec", lambda name: None)
    cfg = own_config(**{"visualizer.vis_backends": [dict(type="WandbVisBackend")], "model.bbox_head.type": "mmdet.PAAHead"})
    cfg.val_evaluator = dict(type="LVISMetric")
    assert found(check_packages, cfg) == [
        ("wrong", f"{kind} needs the package {module}, which is not installed. pip install {package}")
        for kind, module, package in (
            ("PAAHead", "sklearn", "scikit-learn"),
            ("WandbVisBackend", "wandb", "wandb"),
            ("LVISMetric", "lvis", LVIS),
        )
    ]


def semi_supervised(root: Path) -> Config:
    """A teacher and a student around a detector, with a second training set of images without labels."""
    cfg = write(root, coco())
    (root / "unlabelled.json").write_text(json.dumps(coco(annotations=[], categories=[])))
    cfg.model = dict(type="SemiBaseDetector", detector=cfg.model)
    labelled = cfg.train_dataloader.dataset
    steps = [dict(type="LoadImageFromFile"), dict(type="LoadEmptyAnnotations"), dict(type="PackDetInputs")]
    unlabelled = {**labelled, "ann_file": "unlabelled.json", "pipeline": steps}
    cfg.train_dataloader.dataset = dict(type="ConcatDataset", datasets=[labelled, unlabelled])
    return cfg


def test_models_inside_wrappers(tmp_path: Path) -> None:
    check_start(semi_supervised(tmp_path / "whole"), ("train",))
    cfg = semi_supervised(tmp_path / "broken")
    cfg.model.detector.neck.in_channels = [256, 512, 1024, 2048]
    cfg.model.detector.bbox_head.num_classes = 3
    told = refused(cfg)
    assert "neck.in_channels is [256, 512, 1024, 2048], but what comes before it gives [32, 64, 160, 256]" in told
    assert "model.detector.bbox_head.num_classes is 3, but train_dataloader.dataset.datasets.0 (CocoDataset) has 2" in told


def test_things_and_stuff() -> None:
    dataset = dict(type="CocoPanopticDataset", ann_file="ann.json")
    head = dict(type="Mask2FormerHead", num_things_classes=80, num_stuff_classes=50)
    head["loss_cls"] = dict(type="CrossEntropyLoss", class_weight=[1.0] * 81)
    cfg = Config(dict(train_dataloader=dict(dataset=dataset), model=dict(panoptic_head=head), default_scope="mmdet"))
    with DefaultScope.overwrite_default_scope("mmdet"):
        told = [finding.text for finding in class_faults(cfg.model, datasets_of(cfg, ("train",)))]
        assert told == [
            "model.panoptic_head.loss_cls.class_weight has 81 numbers, expected 131: one for each of 130 classes and the "
            "background",
            "model.panoptic_head.num_stuff_classes is 50, but train_dataloader.dataset (CocoPanopticDataset) has 53 classes of "
            "stuff. Set it to 53",
        ]


@pytest.mark.parametrize(
    ("model", "told"),
    [
        (dict(decode_head=dict(in_channels=[8, 16, 24, 32], in_index=[0, 1, 2, 3])), []),
        (dict(decode_head=dict(in_channels=[8, 16, 24, 32])), []),
        (dict(decode_head=dict(in_channels=32)), []),
        (dict(auxiliary_head=dict(in_channels=24, in_index=2)), []),
        (dict(auxiliary_head=dict(in_channels=16, in_index=2)), ["model.auxiliary_head.in_channels is 16, but .* gives 24"]),
        (
            dict(decode_head=[dict(in_channels=[8, 16], in_index=(0, 1)), dict(in_channels=[8, 32], in_index=(0, 2))]),
            [r"model.decode_head.1.in_channels is \[8, 32\], but .* gives \[8, 24\]"],
        ),
        (dict(decode_head=dict(in_channels=32, in_index=4)), ["model.decode_head.in_index is 4, but there are 4 maps"]),
        (dict(neck=dict(in_channels=(8, 16, 24, 32), out_channels=64), rpn_head=dict(in_channels=64)), []),
        (dict(neck=dict(in_channels=[8, 16, 24, 32], out_channels=64), decode_head=dict(in_channels=[64, 64])), []),
        (
            dict(neck=dict(in_channels=[8, 16, 24], out_channels=64), bbox_head=dict(in_channels=256)),
            [r"model.neck.in_channels is \[8, 16, 24\]", "model.bbox_head.in_channels is 256, but .* gives 64"],
        ),
        (dict(neck=[dict(in_channels=[8, 16, 24, 32], out_channels=64), dict(in_channels=64, out_channels=64)]), []),
        (dict(neck=dict(in_channels=[8, 16, 24, 32]), bbox_head=dict(in_channels=7)), []),
    ],
)
def test_channels_of_necks_and_heads(model: dict[str, Any], told: list[str]) -> None:
    found = list(misfits(model, (8, 16, 24, 32)))
    assert len(found) == len(told)
    assert all(re.search(expected, str(misfit)) for expected, misfit in zip(told, found, strict=True))
