"""Schedules that end elsewhere than they say, and data whose parts do not mean the same."""

import json
from pathlib import Path
from typing import Any

import pytest
from mmengine.config import Config
from mmengine.registry import DefaultScope
from small_datasets import NAMES, coco, label_map, own_config, refused, segmenter, texts, write
from test_findings import found

from mmvit.checks.doctor import examine
from mmvit.checks.options import check_options
from mmvit.checks.pipelines import check_views
from mmvit.checks.settings import check_settings, schedule_faults, vain_keys
from mmvit.checks.table import check_start
from mmvit.config.parts import build
from mmvit.demo.recipe import ROOT, apply
from mmvit.engine.configuration import TrainOptions, train_config

pytestmark = pytest.mark.stack

EPOCHS = dict(type="EpochBasedTrainLoop", max_epochs=12)
ITERATIONS = dict(type="IterBasedTrainLoop", max_iters=2000)


SCHEDULES: dict[str, tuple[dict[str, Any], list[dict[str, Any]], str]] = {
    "a warm-up as long as nothing": (
        ITERATIONS,
        [dict(type="LinearLR", start_factor=0.001, by_epoch=False, begin=0, end=5000)],
        "param_scheduler.0: LinearLR ends after 5000 iterations, the training after 2000: the learning rate never reaches",
    ),
    "a warm-up longer than all epochs": (
        EPOCHS,
        [dict(type="LinearLR", start_factor=0.001, by_epoch=False, begin=0, end=500)],
        "param_scheduler.0: LinearLR ends after 500 iterations, the training after 120",
    ),
    "epochs where iterations are counted": (
        ITERATIONS,
        [dict(type="MultiStepLR", milestones=[8, 11])],
        "param_scheduler.0 counts epochs (by_epoch=True, its default), the training iterations (train_cfg.max_iters)",
    ),
    "milestones beyond the end": (
        EPOCHS,
        [dict(type="MultiStepLR", milestones=[16, 22], by_epoch=True)],
        "param_scheduler.0.milestones are [16, 22], the training ends after 12 epochs: the rate never falls",
    ),
    "the schedule of a longer training": (
        ITERATIONS,
        [dict(type="PolyLR", power=0.9, begin=0, end=80000, by_epoch=False)],
        "param_scheduler.0: PolyLR ends after 80000 iterations, the training after 2000: the rate does not fall to its end",
    ),
}


@pytest.mark.parametrize("what", SCHEDULES)
def test_schedules(what: str) -> None:
    training, schedulers, words = SCHEDULES[what]
    (finding,) = schedule_faults(Config(dict(train_cfg=training, param_scheduler=schedulers)), per_epoch=10)
    assert finding.text.startswith(words)
    assert finding.verdict == ("wrong" if "counts epochs" in words else "doubtful")


def test_views_of_sizes_that_the_model_does_not_know() -> None:
    """`mmvit test --tta` after a training on small images: COCO's views are four times as large."""
    assert found(check_views, own_config("retinanet_pvt_small_coco"), "test") == []
    small = own_config("retinanet_pvt_small_coco")
    (step,) = (step for step in small.val_dataloader.dataset.pipeline if step.type == "Resize")
    step.scale = (320, 240)
    assert found(check_views, small, "test") == [], "without --tta"
    small.model = dict(small.tta_model, module=small.model)
    ((verdict, words),) = found(check_views, small, "test")
    assert verdict == "doubtful"
    assert words.startswith("tta_pipeline resizes longer sides to 666, 1333, 2000, validation to 320")


def test_schedules_in_order() -> None:
    ways: list[tuple[dict, list[dict]]] = [
        (EPOCHS, [dict(type="LinearLR", start_factor=0.1, by_epoch=False, end=500), dict(type="MultiStepLR", milestones=[8])]),
        (
            EPOCHS,
            [dict(type="LinearLR", start_factor=0.1, end=1, convert_to_iter_based=True), dict(type="ExponentialLR", gamma=0.9)],
        ),
        (ITERATIONS, [dict(type="CosineAnnealingLR", begin=100, end=2000, by_epoch=False)]),
        (ITERATIONS, [dict(type="PolyLR", by_epoch=False)]),
    ]
    for training, schedulers in ways:
        cfg = Config(dict(train_cfg=training, param_scheduler=schedulers))
        assert list(schedule_faults(cfg, per_epoch=1000)) == []
        assert list(schedule_faults(cfg)) == []


def test_keys_of_the_demo_are_part_of_names() -> None:
    """The head that joins masks has no parameters."""
    cfg = own_config("mask2former_instance_pvt_v2_b2_coco")
    apply(cfg, ROOT)
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        names = [name for name, _ in build(cfg.model).named_parameters()]
    assert not list(vain_keys(cfg, names))


def other_file(root: Path, name: str, **changed: Any) -> None:
    (root / name).write_text(json.dumps(coco(**changed)))


TURNED = dict(categories=[dict(id=2, name="nut"), dict(id=1, name="screw")])


def test_categories_in_another_order_than_in_training(tmp_path: Path, cfg: Config) -> None:
    """mmdet numbers classes as a file lists them: such a validation would take screws for nuts."""
    other_file(tmp_path, "val.json", **TURNED)
    cfg.val_dataloader.dataset.ann_file = "val.json"
    cfg.val_evaluator.ann_file = str(tmp_path / "val.json")
    told = refused(cfg, "train", "val")
    assert (
        "train_dataloader.dataset and val_dataloader.dataset have the same categories in different orders (number 1 is 'screw' "
        "and 'nut')"
    ) in told
    cfg.val_dataloader.dataset.ann_file = "ann.json"
    told = refused(cfg, "train", "val")
    assert "train_dataloader.dataset and val_evaluator.ann_file have the same categories in different orders" in told


def test_categories_in_another_order_than_the_classes(tmp_path: Path) -> None:
    cfg = write(tmp_path, coco(**TURNED))
    told = refused(cfg)
    assert "results would get the wrong names" in told
    assert "its categories are in the order nut, screw, the classes of CocoDataset in the order screw, nut" in told
    cfg.train_dataloader.dataset.metainfo.classes = tuple(reversed(NAMES))
    check_start(cfg, ("train",))


def test_a_category_that_the_file_lacks(tmp_path: Path) -> None:
    """mmdet numbers the categories of the file: with the last one lacking the others keep their names, with another not."""
    cfg = write(tmp_path, coco(categories=[dict(id=2, name="nut")]))
    told = refused(cfg)
    assert "1 of the 2 classes of CocoDataset have no category there (screw)" in told
    assert "'nut' would be called 'screw'" in told
    cfg = write(tmp_path, coco(categories=[dict(id=1, name="screw")]))
    assert any("evaluation fails once such a class is predicted" in text for text in texts(cfg, ("train",), "doubtful"))


def test_an_evaluator_with_more_images(tmp_path: Path, cfg: Config) -> None:
    content = coco()
    content["images"].append(dict(id=3, file_name="3.png", width=96, height=64))
    (tmp_path / "more.json").write_text(json.dumps(content))
    cfg.val_evaluator.ann_file = str(tmp_path / "more.json")
    (told,) = [text for text in texts(cfg, ("val",), "doubtful") if "count as missed" in text]
    assert f"another file than {tmp_path / 'ann.json'} (val_dataloader.dataset.ann_file)" in told
    assert "which lacks 1 of its 3 images (3.png)" in told


def test_a_balance_of_classes_that_a_dataset_cannot_tell(tmp_path: Path, cfg: Config) -> None:
    """Neither mmengine's ConcatDataset can, nor any dataset of mmseg."""
    boxes = cfg.train_dataloader.dataset
    balanced = dict(type="ClassBalancedDataset", oversample_thr=0.5)
    cfg.train_dataloader.dataset = dict(type="ConcatDataset", datasets=[dict(balanced, dataset=boxes)] * 2)
    check_start(cfg, ("train",))
    several = dict(type="ConcatDataset", datasets=[boxes, boxes])
    cfg.train_dataloader.dataset = dict(type="RepeatDataset", times=2, dataset=dict(balanced, dataset=several))
    assert "train_dataloader has a ClassBalancedDataset around a ConcatDataset, which does not tell" in refused(cfg)
    maps = segmenter(tmp_path / "maps", [0, 1] * 20)
    maps.model.decode_head.num_classes = 2
    maps.train_dataloader.dataset = dict(balanced, dataset=maps.train_dataloader.dataset)
    assert "around a BaseSegDataset, which does not tell" in refused(maps)


@pytest.mark.parametrize("key", ["val_dataloader.drop_last", "test_dataloader.batch_sampler.drop_last"])
def test_images_that_a_loader_drops(key: str) -> None:
    loader = key.partition(".")[0]
    sampler = dict(type="mmdet.AspectRatioBatchSampler", drop_last=False)
    cfg = own_config(**{f"{loader}.batch_sampler": sampler, f"{loader}.batch_size": 4, "train_dataloader.drop_last": True})
    assert found(check_settings, cfg) == []
    cfg.merge_from_dict({key: True})
    ((verdict, words),) = found(check_settings, cfg)
    assert (verdict, words.partition(" ")[0]) == ("wrong", key)
    assert found(check_settings, cfg, "train") == [], "what does not run"
    cfg.merge_from_dict({f"{loader}.batch_size": 1})
    assert found(check_settings, cfg) == [], "each batch is full"


@pytest.mark.parametrize("kind", ["InfiniteSampler", "mmdet.GroupMultiSourceSampler"])
def test_samplers_that_never_end_an_epoch(kind: str) -> None:
    cfg = own_config(**{f"{split}_dataloader.sampler": dict(_delete_=True, type=kind) for split in ("train", "val")})
    (training, words), (validation, other) = found(check_settings, cfg)
    assert (training, validation) == ("wrong", "wrong")
    assert words.startswith(f"train_dataloader.sampler is {kind.removeprefix('mmdet.')}, which yields images without end: no")
    assert other.startswith("val_dataloader.sampler is ")
    cfg.train_cfg = ITERATIONS
    assert "train_dataloader.sampler" not in str(found(check_settings, cfg)), "which counts iterations"


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (dict(type="RepeatDataset", times=2), None),
        (dict(type="RepeatDataset", times=1.5), ".times is 1.5, expected a whole number from 1"),
        (dict(type="RepeatDataset", times=0), ".times is 0, expected a whole number from 1"),
        (dict(type="mmengine.RepeatDataset"), ": RepeatDataset needs times"),
        (dict(type="ClassBalancedDataset", oversample_thr="0.1"), ".oversample_thr is '0.1', expected a share of the images"),
        (
            dict(type="ClassBalancedDataset", oversample_thr=0.1, indices=4),
            ".indices: ClassBalancedDataset takes no such option",
        ),
        (
            dict(type="MultiImageMixDataset", pipeline=[dict(type="RandomFlip", prop=0.5)]),
            ".pipeline.0.prop: RandomFlip takes no",
        ),
    ],
)
def test_datasets_around_others(options: dict[str, Any], told: str | None) -> None:
    cfg = own_config()
    inner = dict(options, dataset=cfg.train_dataloader.dataset)
    cfg.train_dataloader.dataset = dict(type="ConcatDataset", datasets=[inner])
    verdicts = [
        (verdict, words.startswith(f"train_dataloader.dataset.datasets.0{told}"))
        for verdict, words in found(check_options, cfg)
    ]
    assert verdicts == ([] if told is None else [("wrong", True)])


def test_label_maps_that_mean_something_else_in_validation(tmp_path: Path) -> None:
    cfg = segmenter(tmp_path, [0, 1] * 20)
    cfg.model.decode_head.num_classes = 2
    label_map(tmp_path / "maps" / "2.png", [0, 1] * 20)
    check_start(cfg, ("train", "val"))
    cfg.val_dataloader.dataset.reduce_zero_label = True
    told = refused(cfg, "train", "val")
    assert told.startswith("train_dataloader.dataset has reduce_zero_label=False, val_dataloader.dataset has True")
    cfg.val_dataloader.dataset.reduce_zero_label = False
    cfg.val_dataloader.dataset.metainfo = dict(classes=tuple(reversed(NAMES)))
    told = refused(cfg, "train", "val")
    assert told.startswith("train_dataloader.dataset has 2 classes (screw, nut), val_dataloader.dataset has 2 (nut, screw)")


def test_the_doctor_has_a_line_for_it(tmp_path: Path, cfg: Config) -> None:
    keys = dict(bakcbone=dict(lr_mult=0.1), bbox_head=dict(lr_mult=2.0), cls_token=dict(decay_mult=0.0))
    cfg.optim_wrapper.paramwise_cfg.custom_keys = keys
    cfg.optim_wrapper.optimizer.lr = 0
    cfg.dump(tmp_path / "own.py")
    told = [finding.text for finding in examine(str(tmp_path / "own.py"), {}) if finding.subject == "settings"]
    assert told[0] == "optim_wrapper.optimizer.lr is 0: nothing learns"
    assert told[-1] == (
        "optim_wrapper.paramwise_cfg.custom_keys: no parameter has bakcbone in its name, so its factors apply to nothing; did "
        "you mean backbone?"
    )
    assert len(told) == 3  # the config validates on its training data, which is said as well


RUNTIME = ("custom_hooks", "default_hooks", "env_cfg", "randomness", "auto_scale_lr", "log_level", "load_from", "resume")


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


@pytest.mark.parametrize("inner", [False, True])
def test_half_precision_needs_a_gpu(monkeypatch: pytest.MonkeyPatch, inner: bool) -> None:
    cfg, wrapper = own_config("retinanet_pvt_tiny_coco"), dict(type="AmpOptimWrapper", optimizer=dict(type="SGD", lr=0.01))
    cfg.optim_wrapper = dict(constructor="Some", backbone=wrapper) if inner else wrapper
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    ((verdict, words),) = found(check_settings, cfg, "train", "val")
    assert (verdict, words[:47]) == ("wrong", "optim_wrapper.type is AmpOptimWrapper, for whic")
    assert "--amp auto" in words
    assert found(check_settings, cfg, "test") == []
    assert found(check_settings, cfg)[0][0] == "doubtful"  # the doctor's, where no training may run
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    assert found(check_settings, cfg) == []
