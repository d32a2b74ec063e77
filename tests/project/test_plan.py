"""What `mmvit new` decides from facts of the data and of the machine."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from makers import HOME
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope

from mmvit.config.datasets import SPLITS
from mmvit.project import plan
from mmvit.project.config import Files, text
from mmvit.project.survey import Facts


@pytest.mark.parametrize("released", [False, True])
def test_random_weights_and_small_objects_change_the_recipe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, released: bool
) -> None:
    """The rate and the norms follow from the weights, sizes and anchors from the class with the smallest objects."""
    monkeypatch.setattr(plan, "_absence", lambda recipe: None if released else "nowhere")
    monkeypatch.setattr(plan.torch.cuda, "is_available", lambda: False)
    facts = Facts(Counter(train=200), (640, 480), True, 80.0, 38.0, 9, 0)
    planned = plan.plan("boxes", "van_b0", None, facts)
    assert planned.sizes.scale == (320, 240)
    assert (planned.fine, planned.lr, planned.light) == (19.0, "5e-05" if released else "0.0005", not released)
    files = Files(tmp_path, dict.fromkeys(SPLITS, "a.json"), {name: dict(img="") for name in SPLITS})
    cfg = Config.fromstring(text("", planned, ("a",), files).replace("{{ fileDirname }}", "."), ".py")
    norms = [cfg.model[part].get("norm_cfg") for part in ("neck", "bbox_head")]
    assert norms == [None if released else dict(type="GN", num_groups=32)] * 2
    assert cfg.model.bbox_head.anchor_generator.octave_base_scale == 2
    assert plan.plan("boxes", "van_b0", None, replace(facts, least=80.0)).fine is None


@pytest.mark.parametrize("file", sorted((HOME / "configs" / "examples").glob("*.py")), ids=lambda file: file.stem)
def test_examples_build(file: Path) -> None:
    cfg = Config.fromfile(file)
    with DefaultScope.overwrite_default_scope("mmdet"), torch.device("meta"):
        model = MODELS.build(cfg.model)
    assert model.bbox_head.num_classes == len(cfg.train_dataloader.dataset.metainfo.classes)
