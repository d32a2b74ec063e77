"""Detectors and segmenters that others trained: evaluated, predicted with and fine-tuned under our configs."""

from copy import deepcopy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import mmengine
import numpy as np
import pytest
import torch
from families import FAMILIES, Family
from makers import tiers, write_coco
from mmengine.config import Config
from mmengine.logging import MessageHub
from mmengine.registry import MODELS, DefaultScope
from mmengine.runner import save_checkpoint
from mmengine.runner.checkpoint import CheckpointLoader
from PIL import Image
from predict.trained import shrink
from states import mmdet_sizes, under
from torch import nn

from mmvit.__main__ import main
from mmvit.config.files import load_config, our_config
from mmvit.engine.configuration import TestOptions as Options
from mmvit.engine.launch import test as evaluate
from mmvit.engine.start import Start
from mmvit.errors import CheckpointError
from mmvit.predict.predictor import Predictor
from mmvit.weights import layouts
from mmvit.weights.archives import read_checkpoint
from mmvit.weights.loading import require_match
from mmvit.weights.published import WHOLE_MODELS, WholeModelFile
from mmvit.weights.whole import NORM_EPS, WholeModel, whole_of

pytestmark = pytest.mark.stack

BY_NAME = {family.kind.record.name: family for family in FAMILIES}
MMDET = {"pvt": "PyramidVisionTransformer", "pvt_v2": "PyramidVisionTransformerV2"}


def read_whole(file: Path, model: nn.Module) -> WholeModel:
    return whole_of(read_checkpoint(file), file, file, model)


def tiny_detector(family: str, root: Path) -> Config:
    """Our RetinaNet with a tiny backbone, on the pictures under `root`."""
    cfg = load_config(our_config(f"retinanet_{family}_{'tiny' if family == 'pvt' else 'b0'}_coco"))
    shrink(cfg, BY_NAME[family].name)
    cfg.model.test_cfg.nms_pre = 50
    for split in ("val", "test"):
        dataset = cfg[f"{split}_dataloader"].dataset
        next(step for step in dataset.pipeline if step.type == "Resize").scale = (96, 64)
        dataset.update(data_root=f"{root}/", ann_file="annotations/instances_val2017.json")
        cfg[f"{split}_evaluator"].ann_file = f"{root}/annotations/instances_val2017.json"
    return cfg


def theirs(cfg: Config, family: str) -> Config:
    """The same model with mmdet's own backbone."""
    cfg = deepcopy(cfg)
    cfg.model.backbone = dict(type=f"mmdet.{MMDET[family]}", **mmdet_sizes(BY_NAME[family].tiny))
    return cfg


def build(cfg: Config) -> nn.Module:
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        mmengine.utils.import_modules_from_strings([f"{cfg.default_scope}.models"])
        model = MODELS.build(deepcopy(cfg.model))
    return model


def train_a_little(model: nn.Module) -> None:
    """Three steps of mmdet's own on one picture, as its loop makes them."""
    from mmdet.structures import DetDataSample
    from mmengine.optim import OptimWrapper
    from mmengine.structures import InstanceData

    torch.manual_seed(1)
    for name, value in model.named_parameters():  # tables and biases, too, so that nothing stays zero
        value.data.add_(torch.randn_like(value) * (0.005 if "retina_" in name else 0.01))
    sample = DetDataSample(metainfo=dict(img_shape=(64, 64), pad_shape=(64, 64), batch_input_shape=(64, 64)))
    sample.gt_instances = InstanceData(bboxes=torch.tensor([[8.0, 8, 40, 40]]), labels=torch.tensor([3]))
    wrapper = OptimWrapper(torch.optim.SGD(model.parameters(), lr=1e-6))
    for _ in range(3):
        model.train_step(dict(inputs=[torch.randint(255, (3, 64, 64)).byte()], data_samples=[sample]), wrapper)
    model.eval()


class Foreign:
    """A detector of mmdet's that was trained and saved by mmdet, and our config for it."""

    def __init__(self, family: str, root: Path) -> None:
        write_coco(root / "coco")
        for picture in (root / "coco/val2017").iterdir():  # with much to see, so that no two boxes are equally good
            Image.fromarray(np.random.default_rng(5).integers(0, 255, (64, 96, 3), dtype=np.uint8)).save(picture)
        self.family, self.root = family, root
        ours = tiny_detector(family, root / "coco")
        self.ours, self.theirs = root / "ours.py", root / "theirs.py"
        ours.dump(self.ours)
        theirs(ours, family).dump(self.theirs)
        torch.manual_seed(0)  # or the weights would depend on the tests before
        self.model = build(load_config(self.theirs))
        train_a_little(self.model)
        self.file = root / "retinanet_mmdet.pth"
        meta = dict(epoch=12, iter=3, mmengine_version="0.10.7", seed=0)
        optimizer = torch.optim.SGD(self.model.parameters(), lr=1e-6).state_dict()
        hub = MessageHub.get_instance("weights")
        content = dict(meta=meta, state_dict=self.model.state_dict(), optimizer=optimizer, message_hub=hub.state_dict())
        save_checkpoint(content, str(self.file))

    def results(self, config: Path, checkpoint: Path | str) -> list[dict]:
        out = self.root / f"{config.stem}.pkl"
        evaluate(Options(config, checkpoint, work_dir=self.root / "runs", out=out))
        return mmengine.load(out)


@pytest.fixture(scope="module", params=tiers(MMDET, "pvt".__eq__))
def detector(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Foreign:
    return Foreign(request.param, tmp_path_factory.mktemp(request.param))


def require_same_boxes(found: Any, expected: Any) -> None:
    torch.testing.assert_close(torch.as_tensor(found), torch.as_tensor(expected), atol=1e-3, rtol=1e-5)


def test_detectors_of_mmdet_evaluate_the_same(detector: Foreign) -> None:
    expected, found = (detector.results(config, detector.file) for config in (detector.theirs, detector.ours))
    assert len(expected) == len(found) == 2
    for one, other in zip(expected, found, strict=True):
        wanted, got = one["pred_instances"], other["pred_instances"]
        assert len(wanted["labels"]) == 20
        assert 0 < wanted["scores"].min() < wanted["scores"].max() < 1
        assert torch.equal(wanted["labels"], got["labels"])
        torch.testing.assert_close(got["scores"], wanted["scores"], atol=1e-6, rtol=1e-5)
        require_same_boxes(got["bboxes"], wanted["bboxes"])


def test_heads_give_the_same_numbers(detector: Foreign) -> None:
    model = build(load_config(detector.ours))
    model.load_state_dict(dict(read_whole(detector.file, model).state))
    images = torch.randn(2, 3, 64, 96)
    with torch.no_grad():
        expected, found = (network.double().eval()(images.double()) for network in (deepcopy(detector.model), model))
    for wanted, got in zip([*expected[0], *expected[1]], [*found[0], *found[1]], strict=True):
        assert (got - wanted).abs().max() <= 1e-10 * wanted.std()


def test_detectors_of_mmdet_predict_the_same(detector: Foreign) -> None:
    image = next((detector.root / "coco/val2017").iterdir())
    configs = (detector.theirs, detector.ours)
    expected, found = (next(Predictor(one, detector.file, device="cpu", score=0.0)(image)) for one in configs)
    assert len(expected.scores) == 20
    require_same_boxes(found.boxes, expected.boxes)


def test_the_eps_is_kept_in_what_is_saved(detector: Foreign, tmp_path: Path) -> None:
    model = build(load_config(detector.ours))
    whole = read_whole(detector.file, model)
    require_match(model, whole.state, "file")
    assert f"mmdet {detector.family}" in str(whole)
    assert "norm_eps=1e-06" in str(whole)
    assert model.backbone.norm_eps == 1e-6
    torch.save(dict(state_dict=whole.state, meta={NORM_EPS: 1e-6}), tmp_path / "ours.pth")
    again = build(load_config(detector.ours))
    assert not read_whole(tmp_path / "ours.pth", again).translated
    assert again.backbone.norm_eps == 1e-6


def test_fine_tuning_begins_from_them(detector: Foreign) -> None:
    """With other classes: what fits is loaded, as mmengine does."""
    cfg = load_config(detector.ours)
    cfg.model.bbox_head.num_classes = 3
    runner = stub(build(cfg))
    start = Start(str(detector.file))
    start.fit(runner, exactly=False)
    start.hand_over()
    content = CheckpointLoader.load_checkpoint(start.source, "cpu")
    before = {name: value.clone() for name, value in runner.model.state_dict().items()}
    fitting = {name: value for name, value in content["state_dict"].items() if value.shape == before[name].shape}
    missed = runner.model.load_state_dict(fitting, strict=False)
    assert {name.rpartition(".")[0] for name in missed.missing_keys} == {"bbox_head.retina_cls"}
    after = runner.model.backbone.state_dict(prefix="backbone.")
    assert not any(torch.equal(value, before[name]) for name, value in after.items())
    with pytest.raises(CheckpointError, match=r"retina_cls\.weight \(720, 16, 3, 3\), expected \(27, 16, 3, 3\)"):
        Start(str(detector.file)).fit(runner, exactly=True)


def stub(model: nn.Module) -> SimpleNamespace:
    """What `Start.fit` needs of a runner."""
    return SimpleNamespace(model=model, cfg=Config())


@pytest.mark.once
def test_published_models_by_name(detector: Foreign, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`mmvit://NAME` alone: the file from its address, our config, and mmdet's figures."""
    row = WholeModelFile(str(detector.ours), "36.6", "mmdetection", url=detector.file.as_uri())
    monkeypatch.setitem(WHOLE_MODELS, "retinanet_tiny", row)
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path))
    image = next((detector.root / "coco/val2017").iterdir())
    expected = next(Predictor(detector.theirs, detector.file, device="cpu", score=0.0)(image))
    found = next(Predictor(None, "mmvit://retinanet_tiny", device="cpu", score=0.0)(image))
    require_same_boxes(found.boxes, expected.boxes)
    start = Start("mmvit://retinanet_tiny")
    start.fit(stub(build(load_config(detector.ours))), exactly=True)
    words = ["predict", "mmvit://retinanet_tiny", str(image), "--out", str(tmp_path / "out"), "--device", "cpu"]
    assert main(words) == 0
    assert (tmp_path / "out/predictions.json").is_file()


SEGMENTERS = {"upernet_van_b2_ade20k": "van", "fpn_van_b2_ade20k": "van", "fpn_pvt_small_ade20k": "pvt"}


@pytest.mark.parametrize("config", SEGMENTERS)
def test_segmenters_of_the_authors(config: str, tmp_path: Path) -> None:
    """As mmseg 0.x and its projects/van save them: the authors' names below `backbone.`, all else as mmseg has it still."""
    cfg, family = load_config(our_config(config)), BY_NAME[SEGMENTERS[config]]
    shrink(cfg, family.name)
    torch.manual_seed(0)
    model = build(cfg)
    state = {theirs: value for name, value in model.state_dict().items() if (theirs := authors_name(name, family)) is not None}
    assert any(name.startswith("backbone.block1.0.") for name in state)
    meta = dict(mmcv_version="1.3.9", CLASSES=("wall",), PALETTE=[[1, 2, 3]], config="model = dict()")
    torch.save(dict(meta=meta, state_dict=state, optimizer={}), tmp_path / "iter_160000.pth")
    torch.manual_seed(1)
    again = build(cfg)
    whole = read_whole(tmp_path / "iter_160000.pth", again)
    assert whole.translated
    require_match(again, whole.state, "file")
    again.load_state_dict(dict(whole.state))
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(again.eval()(images), model.eval()(images))


def authors_name(name: str, family: Family) -> str | None:
    if not name.startswith("backbone."):
        return name
    released = family.released(name.removeprefix("backbone."))
    return None if released is None else f"backbone.{released}"


def test_teachers_and_students(tmp_path: Path) -> None:
    """Of semi-supervised training: the average is taken, and said, with the command that takes the other."""
    cfg: Any = load_config(our_config("fpn_pvt_small_ade20k"))
    shrink(cfg)
    model = build(cfg)
    state = model.state_dict()
    student = {name: value + 1 for name, value in state.items()}
    both = under("module.student.", student) | under("module.teacher.", state)
    torch.save({"state_dict": both}, tmp_path / "file.pth")
    whole = read_whole(tmp_path / "file.pth", model)
    assert all(torch.equal(value, state[name]) for name, value in whole.state.items())
    assert "took the averaged weights under 'state_dict.module.teacher.'" in str(whole)
    advice = str(whole).partition("mmvit convert ")[2].replace("--out FILE", f"--out {tmp_path / 'raw.pth'}")
    assert main(["convert", *advice.split()]) == 0
    raw = read_whole(tmp_path / "raw.pth", model)
    assert raw.state.keys() == state.keys()
    assert all(torch.equal(raw.state[name], student[name]) for name in state)


def test_the_layouts_write_whole_backbones(detector: Foreign) -> None:
    """What mmdet saved is what we would write for it."""
    model = build(load_config(detector.ours))
    state = read_whole(detector.file, model).state
    backbone = {name.removeprefix("backbone."): value for name, value in state.items() if name.startswith("backbone.")}
    back = layouts.layout_of(detector.family, "mmdet").from_ours(backbone).tensors
    saved = detector.model.backbone.state_dict()
    assert back.keys() == saved.keys()
    assert all(torch.equal(value, saved[name]) for name, value in back.items())
