"""What a run reads is checked before it begins; each fault stops it with path, key and remedy."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from mmdet.datasets import CocoDataset
from mmengine.config import Config
from PIL import Image

from mmvit.engine import preflight
from mmvit.engine.configuration import TestOptions, TrainOptions, load_config, test_config, train_config
from mmvit.errors import InputError

pytestmark = pytest.mark.stack

LEAF = Path(__file__).parent.parent / "configs" / "retinanet_pvt_tiny_coco.py"
TestOptions.__test__ = False
test_config.__test__ = False


def write_coco(root: Path, names: Sequence[str] = CocoDataset.METAINFO["classes"], images: int = 2) -> None:
    for split in ("train2017", "val2017"):
        (root / split).mkdir(parents=True)
        content = dict(
            images=[dict(id=i, file_name=f"{i:012d}.jpg", width=96, height=64) for i in range(images)],
            annotations=[
                dict(id=i, image_id=i, category_id=1 + i % len(names), bbox=[8, 8, 40, 48], area=1920, iscrowd=0)
                for i in range(images)
            ],
            categories=[dict(id=1 + i, name=name) for i, name in enumerate(names)],
        )
        for image in content["images"]:
            Image.new("RGB", (96, 64), (90, 120, 40)).save(root / split / image["file_name"])
        (root / "annotations").mkdir(exist_ok=True)
        (root / "annotations" / f"instances_{split}.json").write_text(json.dumps(content))


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_coco(tmp_path / "data" / "coco")
    return tmp_path / "data" / "coco"


@pytest.fixture
def cfg() -> Config:
    cfg = load_config(LEAF)
    cfg.model.backbone.init_cfg = None
    return cfg


def fault(cfg: Config) -> str:
    with pytest.raises(InputError) as raised:
        preflight.check(cfg, ("train", "val"))
    return str(raised.value)


def test_whole_dataset_passes(root: Path, cfg: Config) -> None:
    preflight.check(cfg, ("train", "val", "test"))


def test_wrapped_datasets_are_opened(root: Path, cfg: Config) -> None:
    inner = cfg.train_dataloader.dataset
    cfg.train_dataloader.dataset = dict(
        type="RepeatDataset", times=2, dataset=dict(type="ConcatDataset", datasets=[inner, inner])
    )
    preflight.check(cfg, ("train",))
    (root / "annotations" / "instances_train2017.json").unlink()
    assert "train_dataloader.dataset.dataset.datasets.1.ann_file" in fault(cfg)


def test_missing_dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cfg: Config) -> None:
    monkeypatch.chdir(tmp_path)
    told = fault(cfg)
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


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ('{"images": [', "no valid JSON"),
        ("[]", "no list images, categories, annotations"),
        ('{"images": [], "annotations": [], "categories": []}', "list of images is empty"),
    ],
)
def test_bad_annotation_files(root: Path, cfg: Config, content: str, told: str) -> None:
    (root / "annotations" / "instances_train2017.json").write_text(content)
    message = fault(cfg)
    assert told in message
    assert "instances_train2017.json (train_dataloader.dataset.ann_file)" in message


def test_test_dev_has_no_annotations(root: Path, cfg: Config) -> None:
    file = root / "annotations" / "instances_val2017.json"
    content = json.loads(file.read_text())
    del content["annotations"]
    file.write_text(json.dumps(content))
    preflight.check(cfg, ("test",))
    assert "no list annotations" in fault(cfg)


def test_annotations_that_name_missing_images(root: Path, cfg: Config) -> None:
    (root / "val2017" / "000000000001.jpg").unlink()
    assert "names 1 images (of 2) that are not in data/coco/val2017" in fault(cfg)
    assert "000000000001.jpg" in fault(cfg)


def test_other_categories(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cfg: Config) -> None:
    monkeypatch.chdir(tmp_path)
    write_coco(tmp_path / "data" / "coco", ["screw", "nut"])
    assert "none of its categories (nut, screw) is a class of CocoDataset" in fault(cfg)
    for split in ("train", "val"):
        cfg[f"{split}_dataloader"].dataset.metainfo = dict(classes=("screw", "nut"))
    preflight.check(cfg, ("train", "val"))


def test_splits_of_other_categories(root: Path, cfg: Config) -> None:
    file = root / "annotations" / "instances_val2017.json"
    content = json.loads(file.read_text())
    content["categories"].pop()
    file.write_text(json.dumps(content))
    assert "different categories (toothbrush in one of them only)" in fault(cfg)


def test_missing_checkpoint(root: Path, cfg: Config) -> None:
    cfg.model.backbone.init_cfg = dict(type="Pretrained", checkpoint="nowhere/pvt_tiny.pth")
    assert "nowhere/pvt_tiny.pth: no such file" in fault(cfg)


def test_options_that_cannot_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"--resume absent\.pth: no such file"):
        train_config(TrainOptions(LEAF, resume="absent.pth"))
    with pytest.raises(InputError, match=r"checkpoint absent\.pth: no such file"):
        test_config(TestOptions(LEAF, Path("absent.pth")))
    if not torch.cuda.is_available():
        with pytest.raises(InputError, match="--amp"):
            train_config(TrainOptions(LEAF, amp=True))
        with pytest.raises(InputError, match="--launcher slurm"):
            train_config(TrainOptions(LEAF, launcher="slurm"))


def test_options_reach_the_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    options = dict(auto_scale_lr=True, tensorboard=True, cfg_options={"optim_wrapper.optimizer.lr": 0.5})
    cfg = train_config(TrainOptions(LEAF, **options))
    assert cfg.work_dir == "work_dirs/retinanet_pvt_tiny_coco"
    assert cfg.auto_scale_lr.enable
    assert cfg.optim_wrapper.optimizer.lr == 0.5
    assert [backend.type for backend in cfg.visualizer.vis_backends] == ["LocalVisBackend", "TensorboardVisBackend"]
    assert cfg.resume is False
    assert train_config(TrainOptions(LEAF, resume="auto")).resume is True
    assert train_config(TrainOptions(LEAF, demo=True)).work_dir == "work_dirs/retinanet_pvt_tiny_coco_demo"


def test_demo_of_another_kind_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "segmenter.py"
    file.write_text("model = dict(type='EncoderDecoder')\ntrain_dataloader = dict(dataset=dict(type='ADE20KDataset'))")
    with pytest.raises(InputError, match="got EncoderDecoder on ADE20KDataset"):
        train_config(TrainOptions(file, demo=True))


def test_resuming_needs_no_released_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({}, "epoch_1.pth")
    assert train_config(TrainOptions(LEAF, resume="epoch_1.pth")).model.backbone.init_cfg is None
    assert train_config(TrainOptions(LEAF, resume="auto")).model.backbone.init_cfg is not None
