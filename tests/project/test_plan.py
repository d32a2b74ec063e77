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
from mmvit.config.files import load_config, our_config
from mmvit.project import plan
from mmvit.project.config import Files, text
from mmvit.project.survey import Facts


@pytest.mark.parametrize("released", [False, True])
@pytest.mark.parametrize("head", plan.HEADS["boxes"])
def test_random_weights_and_small_objects_change_the_recipe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, head: str, released: bool
) -> None:
    """The rate and the norms follow from the weights, sizes and anchors from the class with the smallest objects."""
    monkeypatch.setattr(plan, "_absence", lambda recipe: None if released else "nowhere")
    monkeypatch.setattr(plan.torch.cuda, "is_available", lambda: False)
    facts = Facts(Counter(train=200), (640, 480), True, 80.0, 38.0, 9, 0)
    planned = plan.plan("boxes", "van_b2", head, facts)
    assert planned.sizes.scale == (320, 240)
    assert (planned.fine, planned.lr, planned.light is None) == (19.0, "5e-05" if released else "0.0005", released)
    files = Files(tmp_path, dict.fromkeys(SPLITS, "a.json"), {name: dict(img="") for name in SPLITS})
    cfg = Config.fromstring(text("", planned, ("a",), files).replace("{{ fileDirname }}", "."), ".py")
    norms = [cfg.model[part].get("norm_cfg") for part in ("neck", "bbox_head")]
    assert norms == [None if released else dict(type="GN", num_groups=32)] * 2
    recipe = load_config(our_config(f"{head}_van_b2_coco"))
    assert (
        cfg.model.bbox_head.anchor_generator.octave_base_scale == recipe.model.bbox_head.anchor_generator.octave_base_scale / 2
    )
    assert plan.plan("boxes", "van_b2", head, replace(facts, least=80.0)).fine is None


@pytest.mark.parametrize("task", ["classes", "binary"])
@pytest.mark.parametrize("head", ["fpn", "segformer", "upernet"])
def test_segmenters_without_weights_have_one_rate_and_a_light_head(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, task: plan.Task, head: str
) -> None:
    """The tenfold rate of SegFormer's head is for a trained backbone, and none of Polyp-PVT's."""
    facts = Facts(Counter(train=200), (640, 480), True, None, None, 0, 0)
    files = Files(tmp_path, dict.fromkeys(SPLITS, "a.txt"), {name: dict(img_path="", seg_map_path="b") for name in SPLITS})
    monkeypatch.setattr(plan.torch.cuda, "is_available", lambda: False)
    for absence in (None, "nowhere"):
        monkeypatch.setattr(plan, "_absence", lambda recipe, absence=absence: absence)
        planned = plan.plan(task, "pvt_v2_b2", head, facts)
        cfg = Config.fromstring(text("", planned, ("a", "b"), files).replace("{{ fileDirname }}", "."), ".py")
        rules = cfg.optim_wrapper.paramwise_cfg.custom_keys
        tenfold = head == "segformer" and task == "classes" and absence is None
        assert {rule.get("lr_mult", 1.0) for key, rule in rules.items() if key.startswith("decode_head")} <= {
            10.0 if tenfold else 1.0
        }
        assert (planned.light is not None) == (absence is not None and head != "upernet")
        with DefaultScope.overwrite_default_scope("mmseg"), torch.device("meta"):
            model = MODELS.build(cfg.model).eval()
        maps = model.extract_feat(torch.zeros(1, 3, 64, 64, device="meta"))
        assert model.decode_head(maps).shape[1] == (1 if task == "binary" else 2)


@pytest.mark.parametrize("file", sorted((HOME / "configs" / "examples").glob("*.py")), ids=lambda file: file.stem)
def test_examples_build(file: Path) -> None:
    cfg = Config.fromfile(file)
    with DefaultScope.overwrite_default_scope(cfg.default_scope), torch.device("meta"):
        model = MODELS.build(cfg.model)
    head = model.bbox_head if cfg.default_scope == "mmdet" else model.decode_head
    assert head.num_classes == len(cfg.train_dataloader.dataset.metainfo.classes)
