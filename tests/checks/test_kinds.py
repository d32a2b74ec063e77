"""Kinds of silent faults in losses, suffixes, crops and lists: each is reported before the run."""

import json
from pathlib import Path
from typing import Any

import pytest
from mmengine.config import Config
from mmengine.registry import DefaultScope
from PIL import Image
from small_datasets import coco, colour_image, label_map, own_config, refusal, segmenter, texts, write

from mmvit.checks.classes import check_classes
from mmvit.checks.losses import check_losses
from mmvit.checks.pipelines import check_packages, check_sizes
from mmvit.checks.plan import Plan
from mmvit.checks.table import check_start

pytestmark = pytest.mark.stack


def found(check: Any, cfg: Config, *splits: str) -> list[tuple[str, str]]:
    """Verdict and text of what a check finds."""
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        return [(finding.verdict, finding.text) for finding in check(Plan(cfg, splits or ("train", "val")))]


CE = dict(type="CrossEntropyLoss", loss_weight=1.0)
LOSSES: dict[str, tuple[str, dict[str, Any], str, str]] = {
    "a name that is not added up": (
        "fpn_van_b0_ade20k",
        {"model.decode_head.loss_decode": [CE, dict(type="DiceLoss", loss_name="dice")]},
        "wrong",
        "model.decode_head.loss_decode.1.loss_name is 'dice': mmengine adds up what has 'loss' in its name",
    ),
    "no weight at all": (
        "fpn_van_b0_ade20k",
        {"model.decode_head.loss_decode.loss_weight": 0},
        "wrong",
        "model: every loss has loss_weight=0: nothing learns",
    ),
    "no weight for one": (
        "retinanet_pvt_tiny_coco",
        {"model.bbox_head.loss_bbox.loss_weight": 0},
        "doubtful",
        "model.bbox_head.loss_bbox: loss_weight is 0",
    ),
    "weights in a file that is missing": (
        "fpn_van_b0_ade20k",
        {"model.decode_head.loss_decode.class_weight": "weights.npy"},
        "wrong",
        "model.decode_head.loss_decode.class_weight names the file weights.npy, which is not there",
    ),
    "weights of masks": (
        "mask_rcnn_pvt_tiny_coco",
        {"model.roi_head.mask_head.loss_mask.class_weight": [1.0] * 80},
        "wrong",
        "model.roi_head.mask_head.loss_mask.class_weight: a mask is compared with that of its own class",
    ),
    "weights of proposals": (
        "mask_rcnn_pvt_tiny_coco",
        {"model.rpn_head.loss_cls.class_weight": [1.0] * 80},
        "wrong",
        "model.rpn_head.loss_cls.class_weight has 80 numbers, expected 1",
    ),
}


@pytest.mark.parametrize("what", LOSSES)
def test_losses(what: str) -> None:
    name, options, verdict, words = LOSSES[what]
    ((given, told),) = found(check_losses, own_config(name, **options))
    assert given == verdict
    assert told.startswith(words)
    assert found(check_losses, own_config(name)) == []


def test_mmengine_adds_up_what_has_loss_in_its_name() -> None:
    """What the check says is so."""
    import torch
    from mmengine.model import BaseModel

    total, _ = BaseModel.parse_losses(None, dict(loss_ce=torch.tensor(1.0), dice=torch.tensor(2.0)))  # type: ignore[arg-type]
    assert total == 1


@pytest.mark.parametrize(
    ("size", "verdict", "words"),
    [
        ((256, 256), "wrong", "images of several sizes are no batch. Set model.data_preprocessor.size=(512, 512)"),
        ((1024, 1024), "doubtful", "75% of each batch is padding"),
        (None, "wrong", "has neither size nor size_divisor, expected one of them"),
        ((512, 512), None, ""),
    ],
)
def test_crops_and_the_size_of_batches(size: Any, verdict: str | None, words: str) -> None:
    told = found(check_sizes, own_config("fpn_van_b0_ade20k", **{"model.data_preprocessor.size": size}))
    assert [given for given, _ in told] == ([verdict] if verdict else [])
    assert all(words in text for _, text in told)


def test_batches_of_a_validation() -> None:
    options = {"val_dataloader.batch_size": 2, "model.data_preprocessor.test_cfg": None}
    ((verdict, told),) = found(check_sizes, own_config("fpn_van_b0_ade20k", **options))
    assert verdict == "doubtful"
    assert told.startswith("val_dataloader.batch_size is 2: images of several sizes stop the run")


def test_packages_that_are_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mmvit.checks.pipelines.find_spec", lambda name: None)
    cfg = own_config(**{"visualizer.vis_backends": [dict(type="WandbVisBackend")], "model.bbox_head.type": "mmdet.PAAHead"})
    assert found(check_packages, cfg) == [
        ("wrong", f"{kind} needs the package {module}, which is not installed. pip install {package}")
        for kind, module, package in (("PAAHead", "sklearn", "scikit-learn"), ("WandbVisBackend", "wandb", "wandb"))
    ]


def test_a_class_twice() -> None:
    classes = dict(classes=("cat", "dog", "cat"))
    cfg = own_config(**{"train_dataloader.dataset.metainfo": classes, "model.bbox_head.num_classes": 3})
    assert found(check_classes, cfg)[0] == ("wrong", "train_dataloader.dataset.metainfo.classes has cat more than once")


def test_a_file_of_classes_that_ends_in_a_line_break(tmp_path: Path) -> None:
    cfg = write(tmp_path, coco())
    (tmp_path / "classes.txt").write_text("screw\nnut\n")
    cfg.train_dataloader.dataset.metainfo = dict(classes=str(tmp_path / "classes.txt"))
    check_start(cfg, ("train",))


def two_classes(root: Path, **options: Any) -> Config:
    cfg = segmenter(root, [0, 1] * 20)
    cfg.model.decode_head.num_classes = 2
    cfg.train_dataloader.dataset.update(options)
    return cfg


def test_files_of_other_suffixes(tmp_path: Path) -> None:
    cfg = two_classes(tmp_path)
    colour_image(tmp_path / "images" / "3.JPG")
    colour_image(tmp_path / "images" / "4.PNG")
    (told,) = texts(cfg, ("train",), "doubtful")
    assert told.startswith(f"2 of 4 files of {tmp_path}/images (train_dataloader.dataset.data_prefix.img_path) are left aside")
    assert told.endswith("img_suffix is '.png': 3.JPG, 4.PNG. Give all the same suffix, capitals included")


def test_label_maps_as_jpeg(tmp_path: Path) -> None:
    cfg = two_classes(tmp_path)
    Image.open(tmp_path / "maps" / "1.png").save(tmp_path / "maps" / "1.png", "JPEG")
    assert "maps/1.png is a JPEG, which changes the numbers of pixels" in refusal(check_start, cfg, ("train",))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"1\n\n2\n", "line 2 is blank, and would count as an image without a name"),
        (b"\xef\xbb\xbf1\n2\n", "begins with a byte order mark"),
        (b"1.png\n2.png\n", "names 1.png: expected names without .png, which img_suffix adds"),
        (b"1\r\n2\r\n", None),
    ],
)
def test_lists_of_images(tmp_path: Path, content: bytes, words: str | None) -> None:
    cfg = two_classes(tmp_path, ann_file=str(tmp_path / "list.txt"))
    (tmp_path / "list.txt").write_bytes(content)
    if words is None:
        check_start(cfg, ("train",))
    else:
        assert words in refusal(check_start, cfg, ("train",))


def test_a_validation_in_which_all_is_ignored(tmp_path: Path) -> None:
    cfg = two_classes(tmp_path)
    for name in ("1.png", "2.png"):
        label_map(tmp_path / "maps" / name, 255)
    (tmp_path / "maps" / "image of it.png").unlink()
    assert "all pixels are ignored (255): every figure is nan" in refusal(check_start, cfg, ("val",))


def semi_supervised(root: Path, **changes: Any) -> Config:
    """A teacher and a student around a detector, with a second training set of images without labels."""
    cfg = write(root, coco())
    (root / "unlabelled.json").write_text(json.dumps(coco(annotations=[], categories=[])))
    cfg.model.update(changes)
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
    told = refusal(check_start, cfg, ("train",))
    assert "neck.in_channels is [256, 512, 1024, 2048], but what comes before it gives [32, 64, 160, 256]" in told
    assert "model.detector.bbox_head.num_classes is 3, but train_dataloader.dataset.datasets.0 (CocoDataset) has 2" in told
