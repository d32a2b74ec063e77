"""Label maps that leave nothing to learn from, and options that nothing takes."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from makers import HOME
from mmengine.config import Config
from mmengine.registry import DefaultScope
from small_datasets import label_map, own_config, refusal, segmenter
from test_files import doctored

from mmvit.checks.classes import class_faults
from mmvit.checks.label_maps import Labels
from mmvit.checks.options import check_options
from mmvit.checks.plan import Plan
from mmvit.checks.table import check_start
from mmvit.checks.targets import absent_classes, count_pixels, pixel_fault
from mmvit.config.datasets import datasets_of
from mmvit.engine.configuration import TrainOptions, train_config

pytestmark = pytest.mark.stack


def two_classes(root: Path, values: Any = 1) -> Config:
    cfg = segmenter(root, values)
    cfg.model.decode_head.num_classes = 2
    return cfg


def test_masks_of_0_and_255_are_refused(tmp_path: Path) -> None:
    cfg = two_classes(tmp_path, [0, 255] * 20)
    told = refusal(check_start, cfg, ("train",))
    assert "maps (train_dataloader.dataset.data_prefix.seg_map_path): every pixel is 'screw' (0) or ignored (255, 50.0%" in told
    assert "write its number, 1, into the files" in told
    check_start(cfg, ("val",))
    label_map(tmp_path / "maps" / "2.png", [0, 1] * 20)
    check_start(cfg, ("train",))


def test_maps_in_which_all_is_ignored_are_refused(tmp_path: Path) -> None:
    cfg = two_classes(tmp_path, [0] * 40)
    check_start(cfg, ("train",))
    cfg.train_dataloader.dataset.reduce_zero_label = True
    told = refusal(check_start, cfg, ("train",))
    assert "nothing to learn from: all pixels are ignored (255). reduce_zero_label=True ignores 0; is 0 a class?" in told


def test_a_wrong_reduce_zero_label_is_told(tmp_path: Path) -> None:
    cfg = two_classes(tmp_path, [0, 1] * 20)
    assert doctored(cfg, ("train",))[1] == ""
    cfg.train_dataloader.dataset.reduce_zero_label = True
    assert "which no map has: where 0 is the first class" in (
        absent_classes(np.bincount([0, 0, 255], minlength=256), ["a", "b"], True) or ""
    )
    assert "wrong        label maps" in doctored(cfg, ("train",))[1]


def test_few_maps_are_read_where_they_suffice() -> None:
    read: list[int] = []

    def labels(entry: dict[str, Any]) -> np.ndarray:
        read.append(entry["number"])
        return np.full((2, 2), 1 if entry["number"] == 999 else 0, np.uint8)

    entries = [dict(number=number) for number in range(1000)]
    assert count_pixels(entries, labels, Labels(("a", "b"), False)).any()
    assert len(read) <= 17
    assert pixel_fault(np.bincount([0] * 5000 + [255], minlength=256), ["a", "b"], False) is None, "a border is no object"
    assert pixel_fault(np.bincount([0, 255], minlength=256), ["all"], False) is None


def faults(cfg: Config) -> list[str]:
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        return [finding.text for finding in check_options(Plan(cfg, ("train", "val", "test")))]


UNKNOWN = {
    "train_cfg.max_epoch": ("EpochBasedTrainLoop takes no such option; did you mean max_epochs", {}),
    "default_hooks.checkpoint.intervall": ("CheckpointHook takes no such option; did you mean interval", {}),
    "train_dataloader.batchsize": ("a data loader takes no such option; did you mean batch_size", {}),
    "train_dataloader.sampler.shufle": ("DefaultSampler takes no such option; did you mean shuffle", {}),
    "train_dataloader.dataset.pipeline.2.scales": ("takes no such option; ", {}),
    "optim_wrapper.optimizer.learning_rate": ("AdamW takes no such option", {}),
    "optim_wrapper.clip_grads": ("OptimWrapper takes no such option; did you mean clip_grad", {}),
    "param_scheduler.0.start_facto": ("takes no such option; did you mean start_factor", {}),
    "val_evaluator.metrics": ("CocoMetric takes no such option; did you mean metric", {}),
    "model.bbox_head.loss_bbox.loss_weights": ("L1Loss takes no such option; did you mean loss_weight", {}),
}


@pytest.mark.parametrize("key", UNKNOWN)
def test_options_that_nothing_takes(key: str) -> None:
    words, _ = UNKNOWN[key]
    (told,) = faults(own_config(**{key: 1}))
    assert told.startswith(f"{key}: ")
    assert words in told


def test_options_that_a_head_takes_out_of_its_loss() -> None:
    loss = dict(type="CrossEntropyLoss", bg_cls_weight=0.1, class_weight=1.0)
    head = dict(_delete_=True, type="DETRHead", num_classes=80, embed_dims=256, loss_cls=loss)
    assert faults(own_config(**{"model.bbox_head": head})) == []


def test_epochs_of_a_training_by_iterations() -> None:
    (told,) = faults(own_config("fpn_van_b0_ade20k", **{"train_cfg.max_epochs": 1}))
    assert told.startswith("train_cfg.max_epochs: IterBasedTrainLoop takes no such option; did you mean max_iters")


@pytest.mark.parametrize("name", sorted(file.stem for file in (HOME / "configs").glob("*.py"))[::6])
def test_our_configs_have_no_unknown_options(name: str) -> None:
    assert faults(own_config(name)) == []


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("train_dataloader.dataset.metainfo.classes", "cat"),
        ("test_evaluator.iou_metrics", "mIoU"),
        ("val_dataloader.dataset.metainfo.thing_classes", "cat"),
    ],
)
def test_strings_where_tuples_are_meant(key: str, value: str) -> None:
    name = "fpn_van_b0_ade20k" if "iou" in key else "retinanet_pvt_tiny_coco"
    last = key.rpartition(".")[2]
    told = [fault for fault in faults(own_config(name, **{key: value})) if "string" in fault]
    assert told == [f"{key} is the string {value!r}, where a tuple is meant. Write {last}=({value!r},) with a comma"]


def test_mmsegs_pretrained_is_told() -> None:
    cfg = own_config("fpn_van_b0_ade20k", **{"model.pretrained": "open-mmlab://resnet50_v1c"})
    (told,) = faults(cfg)
    assert told.startswith("model.pretrained is 'open-mmlab://resnet50_v1c', which mmseg hands to the backbone")
    assert "model=dict(pretrained=None, ...)" in told
    assert "_delete_" not in told


def texts_of(cfg: Config) -> list[str]:
    return [finding.text for finding in class_faults(cfg.model, datasets_of(cfg, ("train",)))]


def test_weights_of_classes() -> None:
    cfg = own_config("fpn_van_b0_ade20k", **{"model.decode_head.loss_decode.class_weight": [1.0] * 3})
    with DefaultScope.overwrite_default_scope("mmseg"):
        assert texts_of(cfg) == [
            "model.decode_head.loss_decode.class_weight has 3 numbers, expected 150: one for each of 150 classes"
        ]
        cfg.model.decode_head.loss_decode.class_weight = [1.0] * 150
        assert texts_of(cfg) == []


RUNTIME = (
    "custom_hooks",
    "default_hooks",
    "env_cfg",
    "randomness",
    "auto_scale_lr",
    "log_level",
    "load_from",
    "resume",
    "visualizer",
)


@pytest.mark.parametrize("way", ["missing", "None"])
@pytest.mark.parametrize("name", ["retinanet_pvt_tiny_coco", "fpn_van_b0_ade20k"])
def test_what_the_default_runtime_has_may_be_missing(tmp_path: Path, way: str, name: str) -> None:
    whole = own_config(name)
    for key in (*RUNTIME, "visualizer", "log_processor", "vis_backends"):
        if way == "missing":
            whole.pop(key, None)
        else:
            whole[key] = None
    whole.dump(tmp_path / "bare.py")
    cfg = train_config(TrainOptions(tmp_path / "bare.py", tmp_path, track=["tensorboard"]))
    assert {"LocalVisBackend", "TensorboardVisBackend"} == {backend.type for backend in cfg.visualizer.vis_backends}
    assert cfg.default_hooks.visualization.type.endswith("VisualizationHook")
    assert [hook.type for hook in cfg.custom_hooks][-3:] == ["mmvit.ProgressHook", "mmvit.PicturesHook", "mmvit.ResultsHook"]
    assert cfg.resume is False


def test_things_and_stuff() -> None:

    dataset = dict(type="CocoPanopticDataset", ann_file="ann.json")
    head = dict(type="Mask2FormerHead", num_things_classes=80, num_stuff_classes=50)
    head["loss_cls"] = dict(type="CrossEntropyLoss", class_weight=[1.0] * 81)
    cfg = Config(dict(train_dataloader=dict(dataset=dataset), model=dict(panoptic_head=head), default_scope="mmdet"))
    with DefaultScope.overwrite_default_scope("mmdet"):
        assert texts_of(cfg) == [
            "model.panoptic_head.loss_cls.class_weight has 81 numbers, expected 131: one for each of 130 classes and the "
            "background",
            "model.panoptic_head.num_stuff_classes is 50, but train_dataloader.dataset (CocoPanopticDataset) has 53 classes of "
            "stuff. Set it to 53",
        ]


def test_images_without_labels_need_no_folder_of_labels(tmp_path: Path) -> None:
    cfg = two_classes(tmp_path)
    cfg.test_dataloader.dataset.data_prefix.seg_map_path = "absent"
    told = refusal(check_start, cfg, ("test",))
    assert "absent   (test_dataloader.dataset.data_prefix.seg_map_path)" in told
    assert "Images without label maps: --no-labels --out DIR" in told
    assert "ln -s" not in told, "whose data these are, nobody knows"
    steps = cfg.test_dataloader.dataset.pipeline
    cfg.test_dataloader.dataset.pipeline = [step for step in steps if step.type != "LoadAnnotations"]
    check_start(cfg, ("test",))
