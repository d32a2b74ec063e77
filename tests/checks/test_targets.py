"""Label maps that leave nothing to learn from, and images, lists and suffixes that leave something aside."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mmengine.config import Config
from mmengine.registry import TRANSFORMS
from PIL import Image
from small_datasets import coco, colour_image, label_map, refused, segmenter, texts, write
from test_files import doctored

from mmvit.checks.plan import Plan
from mmvit.checks.table import check_start, examine
from mmvit.checks.targets import Labels, absent_classes, count_pixels, pixel_fault
from mmvit.config.unlabelled import without_labels

pytestmark = pytest.mark.stack


def two_classes(root: Path, values: Any = (0, 1) * 20, **options: Any) -> Config:
    cfg = segmenter(root, values)
    cfg.model.decode_head.num_classes = 2
    cfg.train_dataloader.dataset.update(options)
    return cfg


def test_masks_of_0_and_255_are_refused(tmp_path: Path) -> None:
    cfg = two_classes(tmp_path, [0, 255] * 20)
    told = refused(cfg)
    assert "maps (train_dataloader.dataset.data_prefix.seg_map_path): every pixel is 'screw' (0) or ignored (255, 50.0%" in told
    assert "write its number, 1, into the files" in told
    check_start(cfg, ("val",))
    label_map(tmp_path / "maps" / "2.png", [0, 1] * 20)
    check_start(cfg, ("train",))


def test_maps_in_which_all_is_ignored_are_refused(tmp_path: Path) -> None:
    cfg = two_classes(tmp_path, [0] * 40)
    check_start(cfg, ("train",))
    cfg.train_dataloader.dataset.reduce_zero_label = True
    told = refused(cfg)
    assert "nothing to learn from: all pixels are ignored (255). reduce_zero_label=True ignores 0; is 0 a class?" in told


def test_a_wrong_reduce_zero_label_is_told(tmp_path: Path) -> None:
    cfg = two_classes(tmp_path)
    assert doctored(cfg, ("train",))[1] == ""
    cfg.train_dataloader.dataset.reduce_zero_label = True
    assert "which no map has: where 0 is the first class" in (
        absent_classes(np.bincount([0, 0, 255], minlength=256), Labels(("a", "b"), True)) or ""
    )
    assert "wrong        label maps" in doctored(cfg, ("train",))[1]


def test_few_maps_are_read_where_they_suffice() -> None:
    read: list[int] = []

    def labels(entry: dict[str, Any]) -> np.ndarray:
        read.append(entry["number"])
        return np.full((2, 2), 1 if entry["number"] == 999 else 0, np.uint8)

    entries = [dict(number=number) for number in range(1000)]
    assert count_pixels(entries, labels, Labels(("a", "b"), False))[0].any()
    assert len(read) <= 17
    assert pixel_fault(np.bincount([0] * 5000 + [255], minlength=256), Labels(("a", "b"), False)) is None, (
        "a border is no object"
    )
    assert pixel_fault(np.bincount([0, 255], minlength=256), Labels(("all",), False)) is None


def test_images_without_labels_need_no_folder_of_labels(tmp_path: Path) -> None:
    cfg = two_classes(tmp_path)
    cfg.test_dataloader.dataset.data_prefix.seg_map_path = "absent"
    told = refused(cfg, "test")
    assert "absent   (test_dataloader.dataset.data_prefix.seg_map_path)" in told
    assert "Images without label maps: --no-labels --out DIR" in told
    assert "ln -s" not in told, "whose data these are, nobody knows"
    without_labels(cfg, tmp_path)
    check_start(cfg, ("test",))


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_pipelines_that_load_no_labels(tmp_path: Path, split: str) -> None:
    cfg = two_classes(tmp_path)
    steps = list(cfg[f"{split}_dataloader"].dataset.pipeline)
    cfg[f"{split}_dataloader"].dataset.pipeline = bare = [step for step in steps if step.type != "LoadAnnotations"]
    told = f"{split}_dataloader.dataset.pipeline loads no label maps"
    assert told in refused(cfg, split)
    verdicts = [finding.verdict for finding in examine(Plan(cfg, ("train", "val", "test"))) if told in finding.text]
    assert verdicts == ["doubtful" if split == "test" else "wrong"], "images without labels are tested with --no-labels"
    for measured in (dict(format_only=True, output_dir=str(tmp_path)), dict(type="CityscapesMetric", output_dir=str(tmp_path))):
        cfg[f"{split}_evaluator"] = {**cfg.val_evaluator, **measured}
        assert (told in str(texts(cfg, (split,), "wrong"))) == (split == "train")
    cfg[f"{split}_dataloader"].dataset.pipeline = [bare[0], dict(type="LoadBiomedicalAnnotation"), *bare[1:]]
    assert told not in str(texts(cfg, (split,), "wrong")), "another step that loads them"


def test_a_training_of_a_detector_that_loads_no_labels(tmp_path: Path) -> None:
    cfg = write(tmp_path, coco())
    data = cfg.train_dataloader.dataset
    bare = dict(data, pipeline=[step for step in data.pipeline if "LoadAnnotations" not in step.type])
    cfg.train_dataloader.dataset = dict(type="ConcatDataset", datasets=[data, bare])
    assert texts(cfg, ("train",), "wrong") == [], "a part without labels, as in a semi-supervised training"
    cfg.train_dataloader.dataset = bare
    (told,) = texts(cfg, ("train",), "wrong")
    assert told.startswith("train_dataloader.dataset.pipeline loads no annotations: nothing to learn from")


def test_a_file_of_classes_that_ends_in_a_line_break(tmp_path: Path, cfg: Config) -> None:
    (tmp_path / "classes.txt").write_text("screw\nnut\n")
    cfg.train_dataloader.dataset.metainfo = dict(classes=str(tmp_path / "classes.txt"))
    check_start(cfg, ("train",))


def test_files_of_other_suffixes(tmp_path: Path) -> None:
    cfg = two_classes(tmp_path)
    colour_image(tmp_path / "images" / "3.JPG")
    colour_image(tmp_path / "images" / "4.PNG")
    (told,) = texts(cfg, ("train",), "doubtful")
    assert told.startswith(f"2 of 4 files of {tmp_path}/images (train_dataloader.dataset.data_prefix.img_path) are left aside")
    assert told.endswith("img_suffix is '.png': 3.JPG, 4.PNG. Give all the same suffix, capitals included")


def test_label_maps_as_jpeg(tmp_path: Path) -> None:
    cfg = two_classes(tmp_path)
    Image.open(tmp_path / "maps" / "1.png").save(tmp_path / "maps" / "1.png", "JPEG")
    assert "maps/1.png is a JPEG, which changes the numbers of pixels" in refused(cfg)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"1\n\n2\n", "line 2 is blank, and would count as an image without a name"),
        (b"\xef\xbb\xbf1\n2\n", "begins with a byte order mark"),
        (b"1.png\n2.png\n", "names 1.png: expected names without .png, which img_suffix adds"),
        (b"1\r\n2\r\n", None),
    ],
)
def test_lists_of_images(tmp_path: Path, content: bytes, words: str | None) -> None:
    cfg = two_classes(tmp_path, ann_file=str(tmp_path / "list.txt"))
    (tmp_path / "list.txt").write_bytes(content)
    if words is None:
        check_start(cfg, ("train",))
    else:
        assert words in refused(cfg)


def test_names_that_end_twice(tmp_path: Path) -> None:
    """1.png.png, whose name without .png ends in .png."""
    cfg = two_classes(tmp_path, ann_file=str(tmp_path / "list.txt"))
    for folder in ("images", "maps"):
        (tmp_path / folder / "1.png").rename(tmp_path / folder / "1.png.png")
    (tmp_path / "list.txt").write_text("1.png\n2\n")
    check_start(cfg, ("train",))


def test_numbers_of_their_own_in_files_that_end_like_those_of_cityscapes(tmp_path: Path) -> None:
    """CVAT numbers the classes of a list so; 7 is no road there."""
    cfg = two_classes(tmp_path, seg_map_suffix="_labelIds.png")
    for file in sorted((tmp_path / "maps").iterdir()):
        file.rename(file.with_name(f"{file.stem}_labelIds.png"))
    assert not [text for text in texts(cfg, ("train",), "doubtful") if "Cityscapes" in text]
    cfg.train_dataloader.dataset.metainfo = dict(classes=[f"class_{number}" for number in range(8)])
    cfg.model.decode_head.num_classes = 8
    assert [text for text in texts(cfg, ("train",), "doubtful") if "Cityscapes' original numbers" in text]


def test_a_validation_in_which_all_is_ignored(tmp_path: Path) -> None:
    cfg = two_classes(tmp_path)
    for name in ("1.png", "2.png"):
        label_map(tmp_path / "maps" / name, 255)
    (tmp_path / "maps" / "image of it.png").unlink()
    assert "all pixels are ignored (255): every figure is nan" in refused(cfg, "val")


def test_labels_of_no_class_in_a_validation(tmp_path: Path) -> None:
    """A validation may be hours away, and mmseg's figures would leave these pixels out."""
    cfg = two_classes(tmp_path, [0, 1, 2, 254] * 10)
    check_start(cfg, ("train",))  # its first batch tells
    for split in ("val", "test"):
        told = refused(cfg, split)
        assert f"maps ({split}_dataloader.dataset.data_prefix.seg_map_path): labels 2, 254 are none of the 2 classes" in told
        assert "or set reduce_zero_label=True where 0 is no class" in told
    cfg.val_evaluator.ignore_index = 2
    assert "labels 254 are" in refused(cfg, "val")
    cfg.model.decode_head.ignore_index = 254
    check_start(cfg, ("val",))
    cfg.test_dataloader.dataset.reduce_zero_label = True
    cfg.model.decode_head.ignore_index = 255
    assert "labels 253 (in the files each is one more: reduce_zero_label)" in refused(cfg, "test")


def test_labels_that_a_users_own_step_may_renumber(tmp_path: Path) -> None:
    cfg = two_classes(tmp_path, [0, 1, 7, 7] * 10)
    with TRANSFORMS.switch_scope_and_registry("mmseg") as registry:
        registry.register_module(name="RenumberedByAUser", module=type("RenumberedByAUser", (), {}), force=True)
    cfg.val_dataloader.dataset.pipeline = [*cfg.val_dataloader.dataset.pipeline, dict(type="RenumberedByAUser")]
    assert any("labels 7 are none of the 2 classes" in text for text in texts(cfg, ("val",), "doubtful"))


def test_a_step_that_moves_labels_in_another_way_than_its_dataset(tmp_path: Path) -> None:
    cfg = two_classes(tmp_path)
    (step,) = (step for step in cfg.train_dataloader.dataset.pipeline if step.type.endswith("LoadAnnotations"))
    step.reduce_zero_label = True
    told = refused(cfg)
    assert "train_dataloader.dataset: LoadAnnotations has reduce_zero_label=True, its dataset False" in told
    step.reduce_zero_label = False
    check_start(cfg, ("train",))


def test_label_maps_that_cannot_be_read(tmp_path: Path) -> None:
    """Such as COCO's panoptic PNG files: a training of hours would end at its first validation."""
    cfg = two_classes(tmp_path)
    colour_image(tmp_path / "maps" / "2.png")
    assert "maps/2.png of image" in refused(cfg)
    assert "val_dataloader.dataset: label map" in refused(cfg, "val")
    assert "3 channels, like a colour image" in refused(cfg, "val")
