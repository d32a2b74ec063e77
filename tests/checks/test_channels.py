"""Stock models whose channels are still a ResNet's: told as wrong, or as not checked with the reason, never as fitting."""

from typing import Any

import pytest
from families import FAMILIES
from mmengine.config import Config
from mmengine.registry import DefaultScope
from small_datasets import own_config

from mmvit.checks.channels import check_channels
from mmvit.checks.model import check_forward
from mmvit.checks.plan import Plan

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


@pytest.mark.parametrize("model", STOCK)
def test_a_resnets_channels_are_never_said_to_fit(model: str) -> None:
    name, options, key = STOCK[model]
    config = stock(name, **options)
    with DefaultScope.overwrite_default_scope(config.default_scope):
        (finding, *_) = check_channels(Plan(config, ()))
        assert not list(check_forward(Plan(config, ()))), "said once"
    assert finding.verdict == ("not checked" if key is None else "wrong")
    assert key is None or finding.text.startswith(f"{key}.in_channels is "), finding
    assert key is not None or "does not" in finding.text


def test_what_was_not_looked_at_is_not_ok() -> None:
    config = Config(dict(model=dict(backbone=dict(type="ResNet", depth=18)), default_scope="mmdet"))
    with DefaultScope.overwrite_default_scope("mmdet"):
        (finding,) = check_forward(Plan(config, ()))
    assert str(finding) == "not checked  channels     ResNet is not one of mmvit's backbones"


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
}


@pytest.mark.parametrize("what", HEADS)
def test_an_image_passes_through_the_heads(what: str) -> None:
    """Options without in_channels in their names, which no comparison of options finds."""
    name, options, words = HEADS[what]
    cfg = own_config(name, **options)
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        assert list(check_channels(Plan(cfg, ()))) == []
        (told,) = check_forward(Plan(cfg, ()))
    assert told.verdict == "wrong"
    assert words in told.text
