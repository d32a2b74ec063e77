"""The label that heads, padding and figures ignore is one, and no class."""

from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config
from mmengine.registry import DefaultScope
from small_datasets import segmenter, texts
from test_before_a_run import LEAF

from mmvit.checks.ignored import check_ignored
from mmvit.checks.plan import Plan
from mmvit.config.files import load_config

pytestmark = pytest.mark.stack


def found(changes: dict[str, object]) -> list[str]:
    cfg = load_config(LEAF.parent / "fpn_van_b2_ade20k.py")
    cfg.merge_from_dict(changes)
    with DefaultScope.overwrite_default_scope("mmseg"):
        return [f"{finding.verdict} {finding.text}" for finding in check_ignored(Plan(cfg, ("train", "val")))]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (
            {"model.decode_head.ignore_index": 0, "model.data_preprocessor.seg_pad_val": 0},
            "doubtful model.decode_head.ignore_index is 0, one of its 150 classes",
        ),
        ({"model.data_preprocessor.seg_pad_val": 0}, "the head gets padding that it learns as class 0"),
        ({"model.decode_head.ignore_index": 254}, "seg_pad_val is 255, and model.decode_head.ignore_index 254: where an image"),
        ({"val_evaluator.ignore_index": 3}, "doubtful val_evaluator.ignore_index is 3, the class 'floor': figures leave out"),
    ],
)
def test_labels_that_are_ignored_in_one_place(changes: dict[str, object], told: str) -> None:
    (text,) = found(changes)
    assert told in text


def test_a_number_that_no_class_has() -> None:
    assert found({}) == []
    both = {
        "model.decode_head.ignore_index": 254,
        "model.data_preprocessor.seg_pad_val": 254,
        "val_evaluator.ignore_index": 254,
    }
    assert found(both) == []


@pytest.mark.parametrize(("reduced", "number"), [(True, 1), (False, 0)])
def test_a_first_class_that_is_taken_away(tmp_path: Path, reduced: bool, number: int) -> None:
    """Before a run, too: with reduce_zero_label, classes 0 to 2 became none, 0 and 1, and the names stayed."""
    cfg: Config = segmenter(tmp_path, np.arange(40) % 3)
    cfg.model.decode_head.num_classes = 3
    cfg.train_dataloader.dataset.update(reduce_zero_label=reduced, metainfo=dict(classes=("a", "b", "c")))
    told = [text for text in texts(cfg, ("train",), "doubtful") if "makes 2 of 3, which no map has" in text]
    assert len(told) == number
