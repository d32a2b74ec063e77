"""Tiny models whose scores are spread as a trained model's are, with configs, checkpoints and photographs of odd sizes."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import skimage.data
import torch
from families import FAMILIES
from makers import HOME
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope

from mmvit.predict.results import Detections, LabelMap, Result
from mmvit.recipes.tables import HEADS as TABLE

WIDTH, CLASSES = 8, 5
FAMILY = {family.name: family for family in FAMILIES}
SIZES = ((211, 333), (97, 140))
SEGMENTERS = ("fpn", "upernet", "segformer")
SPREAD = (
    "retina_cls",
    "fc_cls",
    "conv_seg",
    "conv_logits",
    "rpn_cls",
    "rpn_reg",
    "conv_cls",
    "atss_cls",
    "gfl_cls",
    "cls_convs.0.0.conv",
    "rtm_cls.0",
    "rtm_cls.1",
    "rtm_cls.2",
)  # what gives the scores
WIDE = {"rpn_": 0.03, "retina_": 0.6, "bbox_head.cls_": 2.0, "bbox_head.rtm_": 2.0}  # no ties, and scores that count
DENSE = dict(in_channels=WIDTH, stacked_convs=1, num_classes=CLASSES)
CHANGES: dict[str, dict] = dict(
    retinanet=dict(bbox_head=dict(DENSE, feat_channels=WIDTH)),
    atss=dict(bbox_head=dict(DENSE, feat_channels=32)),  # for their norms of 32 groups
    gfl=dict(bbox_head=dict(DENSE, feat_channels=32)),
    mask_rcnn=dict(
        rpn_head=dict(in_channels=WIDTH, feat_channels=WIDTH),
        roi_head=dict(
            bbox_roi_extractor=dict(out_channels=WIDTH),
            mask_roi_extractor=dict(out_channels=WIDTH),
            bbox_head=dict(in_channels=WIDTH, fc_out_channels=16, num_classes=CLASSES),
            mask_head=dict(in_channels=WIDTH, conv_out_channels=WIDTH, num_convs=1, num_classes=CLASSES),
        ),
    ),
    rtmdet=dict(
        neck=dict(num_csp_blocks=1),
        bbox_head=dict(DENSE, feat_channels=WIDTH),
    ),
    fpn=dict(decode_head=dict(in_channels=[WIDTH] * 4, channels=WIDTH, num_classes=CLASSES)),
    upernet=dict(decode_head=dict(channels=WIDTH, num_classes=CLASSES), auxiliary_head=None),
    segformer=dict(decode_head=dict(channels=WIDTH, num_classes=CLASSES)),
)


def write_config(folder: Path, head: str, family: str, data: Path | None = None, **changes: Any) -> Path:
    """Write the config of a tiny model.

    Args:
        folder: where to.
        head: one of ours.
        family: of the backbone.
        data: the demo dataset, for the test.
        changes: options of parts of `model`.
    """
    cfg = Config.fromfile(HOME / f"configs/_base_/heads/{head}.py")
    segments = head in SEGMENTERS
    cfg.default_scope = "mmseg" if segments else "mmdet"
    first = 0 if "start_level" in (cfg.model.get("neck") or {}) else TABLE[head].first
    cfg.model.backbone = dict(type=f"mmvit.{family}", arch=FAMILY[family].tiny, out_indices=tuple(range(first, 4)))
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        channels = list(MODELS.build(cfg.model.backbone).out_channels)
    model = dict(CHANGES[head])
    for part, options in changes.items():
        model[part] = {**(model.get(part) or {}), **options} if options and not options.get("_delete_") else options
    if head in ("upernet", "segformer") and "in_channels" not in model["decode_head"]:
        model["decode_head"] = dict(model["decode_head"], in_channels=channels)
    elif head not in ("upernet", "segformer"):
        model["neck"] = dict(model.get("neck") or {}, in_channels=channels, out_channels=WIDTH)
    cfg.merge_from_dict(dict(model=model))
    cfg.test_dataloader = dict(dataset=test_dataset(segments, data))
    file = folder / f"{head}_{family}.py"
    cfg.dump(file)
    return file


def test_dataset(segments: bool, data: Path | None) -> dict[str, Any]:
    """Return the dataset of a config's test; without `data` its files are nowhere."""
    read, resize = dict(type="LoadImageFromFile"), dict(type="Resize", scale=(320, 200), keep_ratio=True)
    if not segments:
        dataset: dict[str, Any] = dict(type="CocoDataset", metainfo=dict(classes=tuple("abcde")))
        if data:
            root = str(data / "coco")
            files = dict(ann_file="annotations/instances_val2017.json", data_prefix=dict(img="val2017/"))
            dataset |= dict(data_root=root, metainfo=dict(classes=tuple("01234")), **files)
        return dict(dataset, pipeline=[read, resize, dict(type="PackDetInputs")])
    dataset = dict(type="BaseSegDataset", metainfo=dict(classes=tuple("abcde")))
    if data:
        folders = dict(img_path="images/validation", seg_map_path="annotations/validation")
        dataset |= dict(data_root=str(data / "ade" / "ADEChallengeData2016"), data_prefix=folders, reduce_zero_label=True)
    labels = dict(type="LoadAnnotations", reduce_zero_label=bool(data))
    return dict(dataset, pipeline=[read, resize, labels, dict(type="PackSegInputs")])


def write_checkpoint(config: Path, wide: Mapping[str, float] = WIDE) -> Path:
    """Write random but fixed weights of a config's model, beside it.

    Args:
        config: the model's.
        wide: deviation of the weights that give the scores, by a part of their name; 0.3 for others.
    """
    cfg = Config.fromfile(config)
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        model = MODELS.build(cfg.model)
        model.init_weights()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.removesuffix(".weight").endswith(SPREAD):
                parameter.normal_(std=next((std for part, std in wide.items() if part in name), 0.3))
                if "conv_seg.weight" in name:  # without what all features have in common, for which one class would win
                    parameter -= parameter.mean(dim=1, keepdim=True)
    file = config.with_suffix(".pth")
    torch.save(dict(state_dict=model.state_dict(), meta=dict(dataset_meta=dict(classes=tuple("abcde")))), file)
    return file


def write_model(folder: Path, head: str = "fpn", family: str = "VAN", **changes: Any) -> tuple[Path, Path]:
    """Write a config and a checkpoint of a tiny model, and return both."""
    config = write_config(folder, head, family, **changes)
    return config, write_checkpoint(config)


def write_photographs(folder: Path) -> Path:
    """Write photographs of the sizes of `SIZES`."""
    folder.mkdir()
    for index, (height, width) in enumerate(SIZES):
        photograph = (skimage.data.coffee, skimage.data.astronaut)[index]()[..., ::-1]
        cv2.imwrite(str(folder / f"{index}.png"), cv2.resize(photograph, (width, height), interpolation=cv2.INTER_AREA))
    return folder


def require_same(found: Result, wanted: Result, least: int = 6) -> None:
    """Fail unless an exported model and its checkpoint found the same, and at least so many objects."""
    assert (found.source, found.size, found.classes) == (wanted.source, wanted.size, wanted.classes)
    if isinstance(wanted, LabelMap):
        assert isinstance(found, LabelMap)
        assert found.labels.dtype == wanted.labels.dtype
        assert (found.labels == wanted.labels).mean() >= 0.999
        assert len(np.unique(wanted.labels)) > 1
        return
    assert isinstance(found, Detections)
    assert len(found) == len(wanted) >= least
    if not len(wanted):
        return
    np.testing.assert_allclose(found.scores, wanted.scores, atol=1e-3, rtol=0)
    apart = np.abs(found.boxes[:, None] - wanted.boxes).max(axis=2) + 1e6 * (found.labels[:, None] != wanted.labels)
    nearest = apart.argmin(axis=1)
    assert apart.min(axis=1).max() < 0.2
    assert len(set(nearest)) == len(nearest)
    assert (found.masks is None) == (wanted.masks is None)
    if wanted.masks is not None and found.masks is not None:
        assert (found.masks == wanted.masks[nearest]).mean() >= 0.999
