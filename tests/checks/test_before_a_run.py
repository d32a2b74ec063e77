"""What a run reads is checked before it begins; each fault stops it with path, key and remedy."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from makers import HOME, write_coco
from mmengine.config import Config
from mmengine.model import PretrainedInit
from small_datasets import refusal, refused

from mmvit.checks.pretrained import fetch_pretrained
from mmvit.checks.table import check_start
from mmvit.config.files import load_config
from mmvit.config.work_dirs import LAST
from mmvit.demo.recipe import DEMO
from mmvit.engine.configuration import TestOptions, TrainOptions, test_config, train_config, without_pretrained
from mmvit.errors import InputError
from mmvit.zoo import create

pytestmark = pytest.mark.stack


LEAF = HOME / "configs" / "retinanet_pvt_tiny_coco.py"
TestOptions.__test__ = False
test_config.__test__ = False


@pytest.fixture
def root(folder: Path) -> Path:
    write_coco(folder / "data" / "coco")
    return folder / "data" / "coco"


@pytest.fixture
def cfg() -> Config:
    cfg = load_config(LEAF)
    cfg.model.backbone.init_cfg = None
    return cfg


def edit_validation(root: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    file = root / "annotations" / "instances_val2017.json"
    content = json.loads(file.read_text())
    edit(content)
    file.write_text(json.dumps(content))


def test_wrapped_datasets_are_opened(root: Path, cfg: Config) -> None:
    inner = cfg.train_dataloader.dataset
    cfg.train_dataloader.dataset = dict(
        type="RepeatDataset", times=2, dataset=dict(type="ConcatDataset", datasets=[inner, inner])
    )
    check_start(cfg, ("train",))
    (root / "annotations" / "instances_train2017.json").unlink()
    assert "train_dataloader.dataset.dataset.datasets.1.ann_file" in refused(cfg, "train", "val")


@pytest.mark.usefixtures("folder")
def test_missing_dataset(cfg: Config) -> None:
    told = refused(cfg, "train", "val")
    for part in (
        "data/coco/annotations/instances_train2017.json",
        "train_dataloader.dataset.ann_file",
        "data/coco/val2017",
        "val_dataloader.dataset.data_prefix.img",
        "data_root",
        "cocodataset.org",
        "--demo",
    ):
        assert part in told


def test_test_dev_has_no_annotations(root: Path, cfg: Config) -> None:
    edit_validation(root, lambda content: content.pop("annotations"))
    check_start(cfg, ("test",))
    assert "no list annotations" in refused(cfg, "train", "val")


def test_other_categories(folder: Path, cfg: Config) -> None:
    write_coco(folder / "data" / "coco", ["screw", "nut"])
    assert "none of its categories (nut, screw) is a class of CocoDataset" in refused(cfg, "train", "val")
    for split in ("train", "val"):
        cfg[f"{split}_dataloader"].dataset.metainfo = dict(classes=("screw", "nut"))
    cfg.model.bbox_head.num_classes = 2
    check_start(cfg, ("train", "val"))


def test_splits_of_other_categories(root: Path, cfg: Config) -> None:
    edit_validation(root, lambda content: content["categories"].pop())
    assert "different categories (toothbrush in one of them only)" in refused(cfg, "train", "val")


def test_missing_checkpoint(root: Path, cfg: Config) -> None:
    cfg.model.backbone.init_cfg = dict(type="Pretrained", checkpoint="nowhere/pvt_tiny.pth")
    told = refused(cfg, "train", "val")
    assert "nowhere/pvt_tiny.pth: no such file (model.backbone.init_cfg.checkpoint" in told
    assert "for images of 224 pixels is https://github.com/whai362/PVT/releases/download/v2/pvt_tiny.pth" in told


@pytest.mark.usefixtures("folder")
def test_options_that_cannot_be() -> None:
    with pytest.raises(InputError, match=r"--resume absent\.pth: no such file"):
        train_config(TrainOptions(LEAF, resume="absent.pth"))
    with pytest.raises(InputError, match=r"checkpoint absent\.pth: no such file"):
        test_config(TestOptions(LEAF, Path("absent.pth")))
    if not torch.cuda.is_available():
        with pytest.raises(InputError, match="--launcher mpi"):
            train_config(TrainOptions(LEAF, launcher="mpi"))


def test_rates_of_a_larger_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of several processes and accumulated steps; the config of the work dir scales from what the first run had."""
    monkeypatch.setenv("WORLD_SIZE", "4")
    decay = dict(type="CosineAnnealingLR", eta_min=1e-3, T_max=10)
    changes = {"optim_wrapper.optimizer.lr": 0.01, "optim_wrapper.accumulative_counts": 2, "param_scheduler": [decay]}
    options = dict(batch_size=8, auto_scale_lr=True, launcher="pytorch")
    cfg = train_config(TrainOptions("retinanet_pvt_tiny_coco", cfg_options=changes, **options))
    assert (cfg.optim_wrapper.optimizer.lr, cfg.param_scheduler[0].eta_min) == (0.04, 4e-3)
    assert cfg.auto_scale_lr == dict(enable=False, base_batch_size=64)
    assert cfg.changed[-1].startswith("--auto-scale-lr: from 16 images a step to 64 = 8 x 4 x 2: optim_wrapper.optimizer.lr ")
    on = {"auto_scale_lr.enable": True, "optim_wrapper.optimizer.lr": 0.01}
    assert train_config(TrainOptions("retinanet_pvt_tiny_coco", cfg_options=on)).optim_wrapper.optimizer.lr == 0.01 / 8
    with pytest.raises(InputError, match=r"--auto-scale-lr: .* has no optim_wrapper.optimizer.lr"):
        train_config(TrainOptions("retinanet_pvt_tiny_coco", cfg_options={"optim_wrapper.optimizer": None}, **options))


@pytest.mark.usefixtures("folder")
def test_options_reach_the_config(monkeypatch: pytest.MonkeyPatch) -> None:
    options = dict(auto_scale_lr=True, track=["tensorboard"], cfg_options={"optim_wrapper.optimizer.lr": 0.5})
    cfg = train_config(TrainOptions(LEAF, **options))
    assert cfg.work_dir == "work_dirs/retinanet_pvt_tiny_coco"
    assert cfg.optim_wrapper.optimizer.lr == 0.5 * 2 / 16
    assert [backend.type for backend in cfg.visualizer.vis_backends] == ["LocalVisBackend", "TensorboardVisBackend"]
    assert cfg.resume is False
    assert train_config(TrainOptions(LEAF, resume="auto")).resume is True
    loader = "train_dataloader = dict(_delete_=True, prefetch_factor=2, persistent_workers=True)"  # without num_workers
    Path("own.py").write_text(f"_base_ = {str(LEAF)!r}\n{loader}\n")
    assert train_config(TrainOptions("own.py")).train_dataloader == dict(persistent_workers=False)
    monkeypatch.setattr("mmvit.engine.configuration.cores", lambda: 1)
    cfg = train_config(TrainOptions(LEAF))
    assert cfg.val_dataloader.num_workers == 1
    assert "val_dataloader.num_workers 2 -> 1" in cfg.changed[0]
    assert train_config(TrainOptions(LEAF, variant=DEMO)).work_dir == "work_dirs/retinanet_pvt_tiny_coco_demo"


def test_demo_of_another_kind_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "segmenter.py"
    file.write_text("model = dict(type='EncoderDecoder')\ntrain_dataloader = dict(dataset=dict(type='ADE20KDataset'))")
    with pytest.raises(InputError, match="got EncoderDecoder with another head on ADE20KDataset"):
        train_config(TrainOptions(file, variant=DEMO))


@pytest.mark.usefixtures("folder")
def test_resuming_needs_no_released_file() -> None:
    torch.save({}, "epoch_1.pth")
    assert train_config(TrainOptions(LEAF, resume="epoch_1.pth")).model.backbone.init_cfg is None
    assert train_config(TrainOptions(LEAF, resume="auto")).model.backbone.init_cfg is not None


@pytest.mark.parametrize(
    ("name", "told"),
    [
        (
            "retinanet_shunted_small_coco",
            ["https://drive.google.com/drive/folders/", "put it at checkpoints/shunted_small.pth"],
        ),
        ("upernet_van_b5_ade20k", ["https://cloud.tsinghua.edu.cn/", "put it at checkpoints/van_b5.pth"]),
    ],
)
def test_files_to_be_fetched_by_hand(folder: Path, name: str, told: list[str]) -> None:
    cfg = load_config(LEAF.parent / f"{name}.py")
    source = cfg.model.backbone.init_cfg.checkpoint
    said = refusal(check_start, cfg, ())
    for part in (
        f"checkpoint {source}: no such file (model.backbone.init_cfg.checkpoint, looked in {folder / 'checkpoints'})",
        *told,
        "--cfg-options model.backbone.init_cfg.checkpoint=PATH",
        "--cfg-options model.backbone.init_cfg=None",
    ):
        assert part in said
    Path(source).parent.mkdir()
    Path(source).touch()
    check_start(cfg, ())


def test_advice_fits_the_door() -> None:
    """A config's file has options of the command line; the same file of `create` has none."""
    address = "file:///absent/van_b0.pth"
    cfg = load_config(LEAF)
    cfg.model.backbone.init_cfg.checkpoint = address
    told = refusal(fetch_pretrained, cfg)
    assert "Another path: --cfg-options model.backbone.init_cfg.checkpoint=PATH" in told
    assert "could not be downloaded" in told
    assert "--cfg" not in refusal(create, "van_b0", address)
    for option, hint in (("pretrained", "create('van_b0', 'mmvit://van_b0')"), ("num_classes", "classifier=True")):
        assert hint in refusal(lambda option=option: create("van_b0", **{option: True}))


@pytest.mark.parametrize("kind", ["Pretrained", "mmengine.Pretrained", PretrainedInit])
def test_missing_checkpoint_in_a_list(cfg: Config, kind: Any) -> None:
    cfg.model.backbone.init_cfg = [dict(type="Normal", layer="Conv2d"), dict(type=kind, checkpoint="nowhere/x.pth")]
    assert "nowhere/x.pth: no such file (model.backbone.init_cfg.1.checkpoint" in refusal(check_start, cfg, ())
    without_pretrained(cfg)
    assert [part["type"] for part in cfg.model.backbone.init_cfg] == ["Normal"], "as a checkpoint of the whole model resumes"


def test_resuming_from_where_the_last_checkpoint_is(tmp_path: Path) -> None:
    """Also where mmengine has written it to another storage than this machine's."""
    named = tmp_path / LAST
    named.write_text("s3://bucket/epoch_1.pth")
    cfg = train_config(TrainOptions(LEAF, tmp_path, resume="auto"))
    assert (cfg.load_from, cfg.resume) == ("s3://bucket/epoch_1.pth", True)
    named.write_text("absent/epoch_1.pth")
    with pytest.raises(InputError, match=r"last_checkpoint names absent/epoch_1\.pth, which does not exist"):
        train_config(TrainOptions(LEAF, tmp_path, resume="auto"))
