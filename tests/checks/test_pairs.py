"""Images and label maps are paired by their names before a run; what lacks its counterpart is named."""

from pathlib import Path
from typing import Any

import pytest
from mmengine.config import Config
from PIL import Image
from small_datasets import colour_image, label_map, refused, segmenter, texts
from test_before_a_run import LEAF

from mmvit.checks.table import check_start
from mmvit.config.files import load_config

pytestmark = pytest.mark.stack


def write_label_maps(root: Path, image: str, labels: str, splits: tuple[str, str] = ("train", "val")) -> dict[str, Path]:
    """Two images a split with label maps, at paths with {split} and {name}; the first files of train and of val."""
    first = {}
    for key, split in zip(("train", "val"), splits, strict=True):
        for name in ("a", "b"):
            for what, path in (("image", image), ("labels", labels)):
                file = root / path.format(split=split, name=name)
                file.parent.mkdir(parents=True, exist_ok=True)
                Image.new("L", (8, 8), 1).save(file)
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
def segmentation(request: pytest.FixtureRequest, folder: Path) -> tuple[Config, dict[str, Path]]:
    """A config, and the first files of a dataset in its layout."""
    cfg = load_config(LEAF.parent / f"fpn_van_b2_{request.param}.py")
    cfg.model.backbone.init_cfg = None
    return cfg, write_label_maps(*LAYOUTS[request.param])


def test_images_with_label_maps_pass(segmentation: tuple[Config, dict[str, Path]]) -> None:
    cfg, _ = segmentation
    check_start(cfg, ("train", "val", "test"))


def test_missing_label_map(segmentation: tuple[Config, dict[str, Path]]) -> None:
    cfg, first = segmentation
    first["val labels"].unlink()
    told = refused(cfg, "train", "val")
    assert told.startswith("1 of the 2 images of data/")
    assert f"the first that is missing is {first['val labels']} (val_dataloader.dataset.data_prefix.seg_map_path)" in told
    assert "Download" in told
    check_start(cfg, ("train",))


@pytest.mark.parametrize("augmented", [False, True])
def test_only_label_maps_that_are_read_must_be_there(segmentation: tuple[Config, dict[str, Path]], augmented: bool) -> None:
    cfg, first = segmentation
    first["val labels"].unlink()
    cfg.test_dataloader.dataset.pipeline = cfg.tta_pipeline if augmented else cfg.test_pipeline
    assert "test_dataloader" in refused(cfg, "test")
    steps = cfg.tta_pipeline[1].transforms if augmented else cfg.test_dataloader.dataset.pipeline
    steps.pop(2)
    cfg.test_evaluator.format_only = True
    check_start(cfg, ("test",))


def test_missing_image(segmentation: tuple[Config, dict[str, Path]]) -> None:
    cfg, first = segmentation
    first["train image"].unlink()
    told = refused(cfg, "train", "val")
    assert told.startswith("1 label maps of data/")
    assert f"the first that is missing is {first['train image']} (train_dataloader.dataset.data_prefix.img_path)" in told


def test_no_images_at_all(segmentation: tuple[Config, dict[str, Path]]) -> None:
    cfg, first = segmentation
    for file in first["val image"].parent.iterdir():
        file.unlink()
    assert "(val_dataloader.dataset.data_prefix.img_path) holds no image *" in refused(cfg, "train", "val")


@pytest.mark.usefixtures("folder")
def test_label_maps_of_a_users_own_dataset() -> None:
    """Its suffixes hold, and other files may lie beside; a list says which images count."""
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
    Path("own/train/overview_parts.png").touch()
    check_start(cfg, ("train",))
    first["train labels"].unlink()
    assert "is own/train/a_parts.png" in refused(cfg)
    Path("own/list.txt").write_text("b\n")
    cfg.train_dataloader.dataset.ann_file = "list.txt"
    check_start(cfg, ("train",))


def test_the_first_images_alone(segmentation: tuple[Config, dict[str, Path]]) -> None:
    """A validation of 1 of 2 images gave figures without a word, and a training never saw the other."""
    cfg, _ = segmentation
    for split in ("train", "val"):
        cfg[f"{split}_dataloader"].update(num_batch_per_epoch=1, batch_size=1)
    for_training, for_validation = [text for text in texts(cfg, ("train", "val"), "doubtful") if "num_batch_per_epoch" in text]
    assert "train_dataloader.num_batch_per_epoch is 1, which takes the first 1 of 2 images: nothing is learned" in for_training
    assert "the figures are of these alone" in for_validation
    cfg.train_dataloader.batch_size = cfg.val_dataloader.batch_size = 2
    assert not [text for text in texts(cfg, ("train", "val"), "doubtful") if "num_batch_per_epoch" in text]


def test_files_with_the_original_numbers_of_cityscapes(folder: Path) -> None:
    """What the archive has: 34 numbers. The files with the classes to train have to be made of them."""
    cfg = load_config(LEAF.parent / "fpn_van_b2_cityscapes.py")
    cfg.model.backbone.init_cfg = None
    root, image, labels = LAYOUTS["cityscapes"]
    write_label_maps(root, image, labels.replace("labelTrainIds", "labelIds"))
    assert "Make *_labelTrainIds.png beside them with pip install cityscapesscripts" in refused(cfg)
    for split in ("train", "val"):
        cfg[f"{split}_dataloader"].dataset.seg_map_suffix = "_gtFine_labelIds.png"
    (told,) = texts(cfg, ("train",), "doubtful")
    assert "*_labelIds.png have Cityscapes' original numbers" in told
    for file in (root / "gtFine" / "val" / "ulm").iterdir():
        Image.new("L", (8, 8), 26).save(file)
    assert "labels 26 are none of the 19 classes" in refused(cfg, "val")
    assert "csCreateTrainIdLabelImgs" in refused(cfg, "val")


def test_images_and_label_maps_in_one_folder(tmp_path: Path) -> None:
    """Also where no `data_prefix` is written: both are then the root, as mmseg has it by default."""
    for name in ("a", "b"):
        colour_image(tmp_path / f"{name}.jpg")
        label_map(tmp_path / f"{name}.png")
    (tmp_path / "image of it.png").unlink()
    cfg = segmenter(tmp_path / "other")
    cfg.model.decode_head.num_classes = 2
    for given in (dict(img_path="", seg_map_path=""), None):
        for split in ("train", "val", "test"):
            dataset = cfg[f"{split}_dataloader"].dataset
            dataset.update(data_root=str(tmp_path), img_suffix=".jpg", seg_map_suffix=".png", data_prefix=given)
            if given is None:
                del dataset["data_prefix"]
        assert not [line for line in texts(cfg, ("train",), "doubtful", "wrong") if "left aside" in line]
        told = texts(cfg, ("train", "val"), "doubtful")
        assert [line for line in told if "reads the data of train_dataloader.dataset" in line]
        assert not texts(cfg, ("train", "val"), "wrong")
    (tmp_path / "b.png").unlink()
    assert "1 of the 2 images" in refused(cfg)


@pytest.mark.parametrize(("trained", "validated", "told"), [([0], [1], False), ([0], [0], True), (None, [1], True)])
def test_a_validation_on_other_indices_of_the_same_folder(tmp_path: Path, trained: Any, validated: Any, told: bool) -> None:
    cfg = segmenter(tmp_path)
    cfg.train_dataloader.dataset.indices, cfg.val_dataloader.dataset.indices = trained, validated
    found = texts(cfg, ("train", "val"), "doubtful")
    assert any("reads the data of train_dataloader.dataset" in line for line in found) == told


def test_zero_may_mean_another_label_in_another_folder(tmp_path: Path) -> None:
    """COCO-Stuff's label maps of 164k count from 0, those of 10k from 1."""
    cfg, other = segmenter(tmp_path / "a"), segmenter(tmp_path / "b", 2)
    cfg.model.decode_head.num_classes = 2
    cfg.val_dataloader.dataset = dict(other.val_dataloader.dataset, reduce_zero_label=True)
    (hint,) = [line for line in texts(cfg, ("train", "val"), "doubtful") if "reduce_zero_label" in line]
    assert "unless the files themselves differ so" in hint
    cfg.val_dataloader.dataset.update(data_root=str(tmp_path / "a"))
    told = refused(cfg, "train", "val")
    assert "val_dataloader.dataset has True: the numbers in label maps would mean different classes" in told
