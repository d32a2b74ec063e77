"""Labels without a class stop a training before they reach the model."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from mmengine.dataset import pseudo_collate
from mmengine.registry import DATASETS, HOOKS, DefaultScope
from small_datasets import CONFIGS, coco, label_map, refusal, segmenter, write
from torch import nn

from mmvit.checks import table
from mmvit.engine.checking import CheckLabelsHook, strangers
from mmvit.engine.configuration import TrainOptions, train_config

pytestmark = pytest.mark.stack


def module(**parts: Any) -> nn.Module:
    made = nn.Module()
    for name, part in parts.items():
        setattr(made, name, part)
    return made


def head(classes: int, **more: Any) -> nn.Module:
    return module(num_classes=classes, ignore_index=255, **more)


def of_model(**parts: Any) -> CheckLabelsHook:
    """The hook, before it sees batches for a model with such parts."""
    hook = HOOKS.build(dict(type="mmvit.CheckLabelsHook"))
    hook.before_train(SimpleNamespace(model=module(**parts)))
    return hook


def test_labels_of_no_class_stop_a_segmenter(tmp_path: Path) -> None:
    cfg = segmenter(tmp_path)
    label_map(tmp_path / "maps" / "2.png", [0, 1, 255, 7] * 10)
    with DefaultScope.overwrite_default_scope("mmseg"):
        dataset = DATASETS.build(cfg.train_dataloader.dataset)
        for decode_head in (head(2), nn.ModuleList([head(9), head(2)])):
            hook = of_model(decode_head=decode_head)
            hook.before_train_iter(None, 0, pseudo_collate([dataset[0]]))
            message = refusal(hook.before_train_iter, None, 0, pseudo_collate([dataset[0], dataset[1]]))
            assert message.startswith(
                f"label map {tmp_path}/maps/2.png of image {tmp_path}/images/2.png: labels [7], but the model has 2 classes"
            )
            assert "Expected 0 to 1, or 255 for what is ignored" in message
            assert "reduce_zero_label" in message
        for classes in (1, 2):  # background and foreground in one channel
            of_model(decode_head=head(classes, out_channels=1)).before_train_iter(None, 0, pseudo_collate([dataset[0]]))
        of_model(decode_head=head(8)).before_train_iter(None, 0, pseudo_collate([dataset[1]]))
        dataset = DATASETS.build(dict(cfg.train_dataloader.dataset, reduce_zero_label=True))
        message = refusal(of_model(decode_head=head(2)).before_train_iter, None, 0, pseudo_collate([dataset[1]]))
        assert "labels [6] (in the file each is one more: reduce_zero_label), but the model has 2 classes" in message


@pytest.mark.parametrize("augmented", [False, True])
def test_labels_of_no_class_stop_a_test(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, augmented: bool) -> None:
    """mmseg's figures would leave their pixels out. Classes of the data count, and what a metric ignores."""
    cfg = segmenter(tmp_path)
    label_map(tmp_path / "maps" / "2.png", [0, 1, 255, 254, 2] * 8)
    with DefaultScope.overwrite_default_scope("mmseg"):
        dataset = DATASETS.build(cfg.train_dataloader.dataset)
    samples = [dataset[0]["data_samples"], dataset[1]["data_samples"]]
    batch = dict(data_samples=[[sample, sample] for sample in samples] if augmented else samples)
    metric = SimpleNamespace(ignore_index=254)
    evaluator = SimpleNamespace(dataset_meta=dataset.metainfo, metrics=[metric, SimpleNamespace()])
    loops = SimpleNamespace(val_loop=SimpleNamespace(evaluator=evaluator), test_loop=SimpleNamespace(evaluator=evaluator))
    hook, said = of_model(decode_head=head(9)), []
    message = refusal(hook.before_test_iter, loops, 0, batch)
    assert "maps/2.png" in message
    assert "labels [2], but the data have 2 classes (metainfo.classes), and a figure would leave them out" in message
    assert "Expected 0 to 1, or 254 or 255 for what is ignored" in message
    monkeypatch.setattr(table, "require", lambda findings, _: said.extend(findings))
    for _ in range(2):
        hook.before_val_iter(loops, 0, batch)  # a training goes on
    assert [(finding.verdict, finding.text) for finding in said] == [("doubtful", message)]
    evaluator.dataset_meta = dict(classes=("a", "b", "c"))
    hook.before_test_iter(loops, 0, batch)


def test_labels_of_no_class_stop_a_detector(tmp_path: Path) -> None:
    content = coco()
    content["annotations"][1]["category_id"] = 2
    cfg = write(tmp_path, content)
    with DefaultScope.overwrite_default_scope("mmdet"):
        dataset = DATASETS.build(cfg.train_dataloader.dataset)
        batch = pseudo_collate([dataset[0], dataset[1]])
    agnostic = module(bbox_head=nn.ModuleList([head(2), head(2)]), mask_head=head(1, class_agnostic=True))
    second = module(bbox_head=head(2), mask_head=head(1))
    for parts in (dict(bbox_head=head(1)), dict(roi_head=second, rpn_head=head(1)), dict(mask_head=head(1))):
        message = refusal(of_model(**parts).before_train_iter, None, 0, batch)
        assert message.startswith(f"image {tmp_path}/images/2.png: boxes with labels [1], but the model has 1 classes")
    for parts in (dict(bbox_head=head(2)), dict(roi_head=agnostic, rpn_head=head(1)), dict(neck=head(1))):
        of_model(**parts).before_train_iter(None, 0, batch)


def test_every_run_checks_labels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    cfg = train_config(TrainOptions(CONFIGS / "retinanet_pvt_v2_b0_coco.py"))
    assert [hook.type for hook in cfg.custom_hooks].count("mmvit.CheckLabelsHook") == 1


def test_strangers() -> None:
    labels = torch.tensor([[0, 1, 255, 2, -1, 300]])
    assert strangers(labels, 2, 255) == [-1, 2, 300]
    assert strangers(labels[:, :3], 2, 255) == []
    assert strangers(labels[:, :4], 2) == [2, 255]
    assert strangers(labels[:, :0], 2) == []
