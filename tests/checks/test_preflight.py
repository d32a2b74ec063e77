"""What a run reads is checked before it begins; each fault stops it with path, key and remedy."""

import json
from pathlib import Path

import pytest
import torch
from makers import HOME, write_coco
from mmengine.config import Config

from mmvit.checks import preflight
from mmvit.demo.recipe import DEMO
from mmvit.engine.configuration import TestOptions, TrainOptions, test_config, train_config
from mmvit.errors import InputError
from mmvit.recipes.files import load_config

pytestmark = pytest.mark.stack

LEAF = HOME / "configs" / "retinanet_pvt_tiny_coco.py"
TestOptions.__test__ = False
test_config.__test__ = False


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
    cfg.model.bbox_head.num_classes = 2
    preflight.check(cfg, ("train", "val"))


def test_splits_of_other_categories(root: Path, cfg: Config) -> None:
    file = root / "annotations" / "instances_val2017.json"
    content = json.loads(file.read_text())
    content["categories"].pop()
    file.write_text(json.dumps(content))
    assert "different categories (toothbrush in one of them only)" in fault(cfg)


def test_missing_checkpoint(root: Path, cfg: Config) -> None:
    cfg.model.backbone.init_cfg = dict(type="Pretrained", checkpoint="nowhere/pvt_tiny.pth")
    told = fault(cfg)
    assert "nowhere/pvt_tiny.pth: no such file (model.backbone.init_cfg.checkpoint" in told
    assert "for images of 224 pixels is https://github.com/whai362/PVT/releases/download/v2/pvt_tiny.pth" in told


def test_options_that_cannot_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"--resume absent\.pth: no such file"):
        train_config(TrainOptions(LEAF, resume="absent.pth"))
    with pytest.raises(InputError, match=r"checkpoint absent\.pth: no such file"):
        test_config(TestOptions(LEAF, Path("absent.pth")))
    if not torch.cuda.is_available():
        with pytest.raises(InputError, match="--launcher mpi"):
            train_config(TrainOptions(LEAF, launcher="mpi"))


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
    assert train_config(TrainOptions(LEAF, variant=DEMO)).work_dir == "work_dirs/retinanet_pvt_tiny_coco_demo"


def test_demo_of_another_kind_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "segmenter.py"
    file.write_text("model = dict(type='EncoderDecoder')\ntrain_dataloader = dict(dataset=dict(type='ADE20KDataset'))")
    with pytest.raises(InputError, match="got EncoderDecoder with another head on ADE20KDataset"):
        train_config(TrainOptions(file, variant=DEMO))


def test_resuming_needs_no_released_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({}, "epoch_1.pth")
    assert train_config(TrainOptions(LEAF, resume="epoch_1.pth")).model.backbone.init_cfg is None
    assert train_config(TrainOptions(LEAF, resume="auto")).model.backbone.init_cfg is not None


def write_label_maps(root: Path, image: str, labels: str, splits: tuple[str, str] = ("train", "val")) -> dict[str, Path]:
    """Two empty images a split with label maps, at paths with {split} and {name}; the first files of train and of val."""
    first = {}
    for key, split in zip(("train", "val"), splits, strict=True):
        for name in ("a", "b"):
            for what, path in (("image", image), ("labels", labels)):
                file = root / path.format(split=split, name=name)
                file.parent.mkdir(parents=True, exist_ok=True)
                file.touch()
                first.setdefault(f"{key} {what}", file)
    return first


LAYOUTS = {
    "ade20k": (
        Path("data/ade/ADEChallengeData2016"),
        "images/{split}/{name}.jpg",
        "annotations/{split}/{name}.png",
        ("training", "validation"),
    ),
    "cityscapes": (
        Path("data/cityscapes"),
        "leftImg8bit/{split}/ulm/{name}_leftImg8bit.png",
        "gtFine/{split}/ulm/{name}_gtFine_labelTrainIds.png",
    ),
}


@pytest.fixture(params=LAYOUTS)
def segmentation(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[Config, dict[str, Path]]:
    """A config, and the first files of a dataset in its layout."""
    monkeypatch.chdir(tmp_path)
    cfg = load_config(LEAF.parent / f"fpn_van_b2_{request.param}.py")
    cfg.model.backbone.init_cfg = None
    return cfg, write_label_maps(*LAYOUTS[request.param])


def test_images_with_label_maps_pass(segmentation: tuple[Config, dict[str, Path]]) -> None:
    cfg, _ = segmentation
    preflight.check(cfg, ("train", "val", "test"))


def test_missing_label_map(segmentation: tuple[Config, dict[str, Path]]) -> None:
    cfg, first = segmentation
    first["val labels"].unlink()
    told = fault(cfg)
    assert told.startswith("1 of the 2 images of data/")
    assert f"the first that is missing is {first['val labels']} (val_dataloader.dataset.data_prefix.seg_map_path)" in told
    assert "Download" in told
    preflight.check(cfg, ("train",))


@pytest.mark.parametrize("augmented", [False, True])
def test_only_label_maps_that_are_read_must_be_there(segmentation: tuple[Config, dict[str, Path]], augmented: bool) -> None:
    cfg, first = segmentation
    first["val labels"].unlink()
    cfg.test_dataloader.dataset.pipeline = cfg.tta_pipeline if augmented else cfg.test_pipeline
    with pytest.raises(InputError, match="test_dataloader"):
        preflight.check(cfg, ("test",))
    steps = cfg.tta_pipeline[1].transforms if augmented else cfg.test_dataloader.dataset.pipeline
    steps.pop(2)
    preflight.check(cfg, ("test",))


def test_missing_image(segmentation: tuple[Config, dict[str, Path]]) -> None:
    cfg, first = segmentation
    first["train image"].unlink()
    told = fault(cfg)
    assert told.startswith("1 label maps of data/")
    assert f"the first that is missing is {first['train image']} (train_dataloader.dataset.data_prefix.img_path)" in told


def test_no_images_at_all(segmentation: tuple[Config, dict[str, Path]]) -> None:
    cfg, first = segmentation
    for file in first["val image"].parent.iterdir():
        file.unlink()
    assert "(val_dataloader.dataset.data_prefix.img_path) holds no image *" in fault(cfg)


def test_label_maps_of_a_users_own_dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its suffixes hold, and other files may lie beside; a list says which images count."""
    monkeypatch.chdir(tmp_path)
    cfg = load_config(LEAF.parent / "fpn_van_b2_cityscapes.py")
    cfg.model.backbone.init_cfg = None
    cfg.model.decode_head.num_classes = 2
    first = write_label_maps(Path("own"), "{split}/{name}_photo.tif", "{split}/{name}_parts.png")
    own = dict(
        type="BaseSegDataset",
        data_root="own",
        data_prefix=dict(img_path="train", seg_map_path="train"),
        img_suffix="_photo.tif",
        seg_map_suffix="_parts.png",
        metainfo=dict(classes=("screw", "nut")),
        pipeline=cfg.train_pipeline,
    )
    cfg.train_dataloader.dataset = own
    (tmp_path / "own/train/overview_parts.png").touch()
    preflight.check(cfg, ("train",))
    first["train labels"].unlink()
    with pytest.raises(InputError, match=r"is own/train/a_parts\.png"):
        preflight.check(cfg, ("train",))
    (tmp_path / "own/list.txt").write_text("b\n")
    cfg.train_dataloader.dataset.ann_file = "list.txt"
    preflight.check(cfg, ("train",))


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
def test_files_to_be_fetched_by_hand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, told: list[str]) -> None:
    monkeypatch.chdir(tmp_path)
    cfg = load_config(LEAF.parent / f"{name}.py")
    source = cfg.model.backbone.init_cfg.checkpoint
    with pytest.raises(InputError) as raised:
        preflight.check(cfg, ())
    for part in (
        f"checkpoint {source}: no such file (model.backbone.init_cfg.checkpoint, looked in {tmp_path / 'checkpoints'})",
        *told,
        "--cfg-options model.backbone.init_cfg.checkpoint=PATH",
        "--cfg-options model.backbone.init_cfg=None",
    ):
        assert part in str(raised.value)
    Path(source).parent.mkdir()
    Path(source).touch()
    preflight.check(cfg, ())


def test_missing_checkpoint_in_a_list(cfg: Config) -> None:
    cfg.model.backbone.init_cfg = [dict(type="Normal", layer="Conv2d"), dict(type="Pretrained", checkpoint="nowhere/x.pth")]
    with pytest.raises(InputError, match=r"nowhere/x\.pth: no such file \(model\.backbone\.init_cfg\.1\.checkpoint"):
        preflight.check(cfg, ())
