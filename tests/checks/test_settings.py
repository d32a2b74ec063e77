"""Settings that stop no run and do something other than they say, and data whose parts do not mean the same."""

import json
from pathlib import Path
from typing import Any

import pytest
from makers import HOME
from mmengine.config import Config
from mmengine.registry import DefaultScope
from small_datasets import NAMES, coco, label_map, own_config, refusal, segmenter, texts, write

from mmvit.checks.doctor import examine
from mmvit.checks.findings import Finding
from mmvit.checks.plan import Plan
from mmvit.checks.settings import check_settings, schedule_faults, vain_keys
from mmvit.checks.table import check_start

pytestmark = pytest.mark.stack

EPOCHS = dict(type="EpochBasedTrainLoop", max_epochs=12)
ITERATIONS = dict(type="IterBasedTrainLoop", max_iters=2000)


def odd(cfg: Config) -> list[str]:
    return [finding.text for finding in found(cfg)]


def found(cfg: Config) -> list[Finding]:
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        return list(check_settings(Plan(cfg, ("train", "val"))))


@pytest.mark.parametrize("name", sorted(file.stem for file in (HOME / "configs").glob("*.py"))[::3])
def test_our_configs_mean_what_they_say(name: str) -> None:
    assert odd(own_config(name)) == []


FRACTIONS = {"model.data_preprocessor.mean": (0.485, 0.456, 0.406), "model.data_preprocessor.std": (0.229, 0.224, 0.225)}
FLIP = [dict(type="mmvit.LoadImage"), dict(type="RandomFlip", prob=0.5), dict(type="PackDetInputs")]
NORMALIZE = dict(type="Normalize", mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], to_rgb=True)
CASES: dict[str, tuple[dict[str, Any], str]] = {
    "a mean in fractions": (FRACTIONS, "write mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375]"),
    "normalised twice": (
        {"val_dataloader.dataset.pipeline": [FLIP[0], NORMALIZE, FLIP[2]]},
        "val_dataloader.dataset.pipeline has Normalize, and model.data_preprocessor normalises, too",
    ),
    "normalised in one split": (
        {"val_dataloader.dataset.pipeline": [FLIP[0], NORMALIZE, FLIP[2]], **dict.fromkeys(FRACTIONS)},
        "val_dataloader.dataset.pipeline has Normalize, train_dataloader.dataset.pipeline has not: the model sees other",
    ),
    "not normalised": (dict.fromkeys(FRACTIONS), "pixels from 0 to 255 reach the backbone as they are"),
    "no rate": ({"optim_wrapper.optimizer.lr": 0}, "optim_wrapper.optimizer.lr is 0: nothing learns"),
    "frozen random weights": (
        {"model.backbone.init_cfg": None, "model.backbone.frozen_stages": 2},
        "model.backbone.frozen_stages is 2, and nothing is loaded into the backbone: random weights would stay as they are",
    ),
    "chance in a validation": ({"val_dataloader.dataset.pipeline": FLIP}, "val_dataloader.dataset.pipeline.1 is RandomFlip:"),
    "a filtered validation": (
        {"val_dataloader.dataset.test_mode": False, "val_dataloader.dataset.filter_cfg": dict(min_size=32)},
        "val_dataloader.dataset leaves out images (filter_cfg), because test_mode is not set",
    ),
}


IMPOSSIBLE: dict[str, tuple[dict[str, Any], str]] = {
    "no epoch": ({"train_cfg.max_epochs": 0}, "train_cfg.max_epochs is 0, expected a whole number from 1"),
    "an interval of 0": ({"train_cfg.val_interval": 0}, "train_cfg.val_interval is 0, expected a whole number from 1"),
    "an empty batch": ({"train_dataloader.batch_size": 0}, "train_dataloader.batch_size is 0, expected"),
    "no evaluator": (
        {"val_evaluator": None},
        "val_evaluator missing or None, but val_dataloader and val_cfg given: a validation needs all three",
    ),
    "half a test": (
        {"test_cfg": None, "test_evaluator": None},
        "test_cfg and test_evaluator missing or None, but test_dataloader given",
    ),
    "a batch to scale from": (
        {"auto_scale_lr.enable": True, "auto_scale_lr.base_batch_size": None},
        "auto_scale_lr.enable is on",
    ),
}


@pytest.mark.parametrize("what", IMPOSSIBLE)
def test_what_every_run_would_stop_at(what: str) -> None:
    options, words = IMPOSSIBLE[what]
    cfg = own_config(**options)
    (finding,) = found(cfg)
    assert finding.verdict == "wrong"
    assert finding.text.startswith(words)


def test_a_class_that_is_ignored() -> None:
    (told,) = odd(own_config("fpn_van_b0_ade20k", **{"model.decode_head.ignore_index": 0}))
    assert told.startswith("model.decode_head.ignore_index is 0, one of its 150 classes: the head learns no pixel of it")


@pytest.mark.parametrize("what", CASES)
def test_what_does_something_else(what: str) -> None:
    options, words = CASES[what]
    (told,) = odd(own_config(**options))
    assert words in told


def test_a_validation_on_the_training_data() -> None:
    own = {"ann_file": "annotations/instances_train2017.json", "data_prefix": dict(img="train2017/")}
    cfg = own_config(**{f"val_dataloader.dataset.{name}": value for name, value in own.items()})
    (finding,) = found(cfg)
    assert finding.verdict == "doubtful", "one begins so, to see a model learn at all"
    assert finding.text.startswith("val_dataloader.dataset reads the data of train_dataloader.dataset")


def test_what_is_meant_so_is_not_told() -> None:
    loaded = {"model.backbone.frozen_stages": 2}
    assert odd(own_config(**loaded)) == [], "the authors' file is in there"
    assert odd(own_config(**{**loaded, "model.backbone.init_cfg": None, "load_from": "own.pth"})) == []
    still = [FLIP[0], dict(type="RandomFlip", prob=0.0), FLIP[2]]
    assert odd(own_config(**{"val_dataloader.dataset.pipeline": still})) == []
    bgr = {"model.data_preprocessor.mean": [103.53, 116.28, 123.675], "model.data_preprocessor.std": [1.0, 1.0, 1.0]}
    assert odd(own_config(**bgr)) == []


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


def test_checkpoints_that_count_epochs_of_none() -> None:
    cfg = own_config("fpn_van_b0_ade20k", **{"default_hooks.checkpoint.by_epoch": True})
    (told,) = odd(cfg)
    assert told.startswith("default_hooks.checkpoint counts epochs")


def test_keys_that_are_part_of_no_name() -> None:
    names = ["backbone.stages.0.norm.weight", "bbox_head.retina_cls.bias"]
    keys = dict(bakcbone=dict(lr_mult=0.1), bbox_head=dict(lr_mult=2.0), cls_token=dict(decay_mult=0.0))
    (finding,) = vain_keys(Config(dict(optim_wrapper=dict(paramwise_cfg=dict(custom_keys=keys)))), names)
    assert finding.text == (
        "optim_wrapper.paramwise_cfg.custom_keys: no parameter has bakcbone in its name, so its factors apply to nothing; did "
        "you mean backbone?"
    )


def other_file(root: Path, name: str, **changed: Any) -> None:
    (root / name).write_text(json.dumps(coco(**changed)))


TURNED = dict(categories=[dict(id=2, name="nut"), dict(id=1, name="screw")])


def test_categories_in_another_order_than_in_training(tmp_path: Path) -> None:
    """mmdet numbers classes as a file lists them: such a validation would take screws for nuts."""
    cfg = write(tmp_path, coco())
    other_file(tmp_path, "val.json", **TURNED)
    cfg.val_dataloader.dataset.ann_file = "val.json"
    cfg.val_evaluator.ann_file = str(tmp_path / "val.json")
    told = refusal(check_start, cfg, ("train", "val"))
    assert (
        "train_dataloader.dataset and val_dataloader.dataset have the same categories in different orders (number 1 is 'screw' "
        "and 'nut')"
    ) in told
    cfg.val_dataloader.dataset.ann_file = "ann.json"
    told = refusal(check_start, cfg, ("train", "val"))
    assert "train_dataloader.dataset and val_evaluator.ann_file have the same categories in different orders" in told


def test_categories_in_another_order_than_the_classes(tmp_path: Path) -> None:
    cfg = write(tmp_path, coco(**TURNED))
    told = refusal(check_start, cfg, ("train",))
    assert "results would get the wrong names" in told
    assert "its categories are in the order nut, screw, the classes of CocoDataset in the order screw, nut" in told
    cfg.train_dataloader.dataset.metainfo.classes = tuple(reversed(NAMES))
    check_start(cfg, ("train",))


def test_a_category_that_the_file_lacks(tmp_path: Path) -> None:
    """mmdet numbers the categories of the file: with the last one lacking the others keep their names, with another not."""
    cfg = write(tmp_path, coco(categories=[dict(id=2, name="nut")]))
    told = refusal(check_start, cfg, ("train",))
    assert "1 of the 2 classes of CocoDataset have no category there (screw)" in told
    assert "'nut' would be called 'screw'" in told
    cfg = write(tmp_path, coco(categories=[dict(id=1, name="screw")]))
    assert any("evaluation fails once such a class is predicted" in text for text in texts(cfg, ("train",), "doubtful"))


def test_an_evaluator_with_more_images(tmp_path: Path) -> None:
    cfg = write(tmp_path, coco())
    content = coco()
    content["images"].append(dict(id=3, file_name="3.png", width=96, height=64))
    (tmp_path / "more.json").write_text(json.dumps(content))
    cfg.val_evaluator.ann_file = str(tmp_path / "more.json")
    (told,) = [text for text in texts(cfg, ("val",), "doubtful") if "count as missed" in text]
    assert f"another file than {tmp_path / 'ann.json'} (val_dataloader.dataset.ann_file)" in told
    assert "which lacks 1 of its 3 images (3.png)" in told


def test_label_maps_that_mean_something_else_in_validation(tmp_path: Path) -> None:
    cfg = segmenter(tmp_path, [0, 1] * 20)
    cfg.model.decode_head.num_classes = 2
    label_map(tmp_path / "maps" / "2.png", [0, 1] * 20)
    check_start(cfg, ("train", "val"))
    cfg.val_dataloader.dataset.reduce_zero_label = True
    told = refusal(check_start, cfg, ("train", "val"))
    assert told.startswith("train_dataloader.dataset has reduce_zero_label=False, val_dataloader.dataset has True")
    cfg.val_dataloader.dataset.reduce_zero_label = False
    cfg.val_dataloader.dataset.metainfo = dict(classes=tuple(reversed(NAMES)))
    told = refusal(check_start, cfg, ("train", "val"))
    assert told.startswith("train_dataloader.dataset has 2 classes (screw, nut), val_dataloader.dataset has 2 (nut, screw)")


def test_the_doctor_has_a_line_for_it(tmp_path: Path) -> None:
    cfg = write(tmp_path, coco())
    cfg.optim_wrapper.paramwise_cfg.custom_keys = dict(bakcbone=dict(lr_mult=0.1))
    cfg.optim_wrapper.optimizer.lr = 0
    cfg.dump(tmp_path / "own.py")
    told = [finding.text for finding in examine(str(tmp_path / "own.py"), {}) if finding.subject == "settings"]
    assert told[0] == "optim_wrapper.optimizer.lr is 0: nothing learns"
    assert any("no parameter has bakcbone in its name" in text for text in told)
