"""What remains of an annotation file: what a model learns from, values that contradict each other, and what is remembered."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mmdet.datasets import CocoDataset
from mmengine.config import Config
from small_datasets import NAMES, coco, detector, refused, with_annotation, write

from mmvit.checks import survey as surveys
from mmvit.checks.plan import Plan
from mmvit.checks.survey import Reading, Survey, survey
from mmvit.checks.table import check_start

pytestmark = pytest.mark.stack

READING = Reading(NAMES, boxes=True, masks=True, annotated=True)


def boxes(*rows: tuple[float, ...], size: tuple[int, int] = (640, 480), **values: Any) -> dict[str, Any]:
    """One image with a box for each row of x, y, width, height."""
    entries = [
        dict(id=i, image_id=1, category_id=1 + i % 2, bbox=list(row), area=row[2] * row[3], iscrowd=0, **values)
        for i, row in enumerate(rows)
    ]
    return coco(images=[dict(id=1, file_name="1.png", width=size[0], height=size[1])], annotations=entries)


def random_boxes() -> np.ndarray:
    generator = np.random.default_rng(0)
    start = generator.uniform(0, 300, (40, 2))
    return np.concatenate([start, generator.uniform(20, 150, (40, 2))], axis=1).round(1)


def test_a_training_without_targets_is_refused(tmp_path: Path) -> None:
    """Every mask an RLE with iscrowd=1, as a converter writes it: mmdet trains with losses of 0."""
    rle = dict(size=[64, 96], counts=[100, 200, 5844])
    content = coco()
    for entry in content["annotations"]:
        entry.update(iscrowd=1, segmentation=rle)
    write(tmp_path, content)
    cfg = detector(tmp_path, "mask_rcnn")
    told = refused(cfg)
    assert told.startswith("nothing to learn from: no box remains when mmdet has read the training data")
    assert "2 iscrowd=1, which are regions to ignore" in told
    cfg.default_hooks.checkpoint.pop("save_best")
    check_start(cfg, ("val",))
    dataset = CocoDataset(ann_file=f"{tmp_path}/ann.json", metainfo=dict(classes=NAMES), data_prefix=dict(img=""))
    assert all(box["ignore_flag"] for i in range(2) for box in dataset.get_data_info(i)["instances"])


def test_images_that_the_filter_takes_away(cfg: Config) -> None:
    cfg.train_dataloader.dataset.filter_cfg = dict(filter_empty_gt=True, min_size=65)
    assert "nothing to learn from" in refused(cfg)
    cfg.train_dataloader.dataset.filter_cfg.min_size = 64
    check_start(cfg, ("train",))


def test_images_without_labels_need_no_annotations(tmp_path: Path) -> None:
    content = coco()
    del content["annotations"]
    cfg = write(tmp_path, content)
    assert "no list annotations" in refused(cfg)
    cfg.train_dataloader.dataset.pipeline = [dict(type="LoadImageFromFile"), dict(type="LoadEmptyAnnotations")]
    check_start(cfg, ("train",))


@pytest.mark.parametrize("given", ["corners", "fractions", "turned"])
def test_boxes_of_other_conventions_are_refused(tmp_path: Path, given: str) -> None:
    rows, size = random_boxes(), (640, 480)
    told = "look like x1 y1 x2 y2. COCO's are x, y, width, height: write x2 - x1 and y2 - y1"
    if given == "corners":
        rows[:, 2:] += rows[:, :2]
    elif given == "fractions":
        rows, told = rows / 640, "all 40 boxes lie within 0 and 1: fractions of the image"
    else:
        size, told = (300, 640), "All of them fit if width and height of the images are exchanged"
        rows[:, 0] += 150
        rows[:, 1] /= 3
    message = refused(write(tmp_path, boxes(*rows.tolist(), size=size)))
    assert "ann.json (train_dataloader.dataset.ann_file): " in message
    assert told in message


def test_right_boxes_contradict_nothing(tmp_path: Path) -> None:
    write(tmp_path, boxes(*random_boxes().tolist()))
    found = survey(tmp_path / "ann.json", "", Reading(NAMES, True, False, True))
    assert (found.wrong, found.odd) == ([], [])
    assert found.boxes == {"screw": 20, "nut": 20}


def test_odd_values_are_told(tmp_path: Path) -> None:
    content = boxes((600, 10, 60, 20), (10, 10, 20, 20), (50, 60, 20, 20))
    content["annotations"][1]["area"] = 900
    write(tmp_path, content)
    found = survey(tmp_path / "ann.json", "", Reading(NAMES, True, False, True))
    assert found.odd == [
        "1 of 3 boxes reach over their image by more than 1.5 pixels, and are cut off there",
        "1 of 3 areas are more than width x height of their box",
    ]


def test_evaluation_needs_iscrowd(tmp_path: Path) -> None:
    cfg = write(tmp_path, with_annotation(iscrowd=None))
    check_start(cfg, ("train",))
    told = refused(cfg, "train", "val")
    assert f"{tmp_path}/ann.json (val_evaluator.ann_file): 1 annotations have no iscrowd (ids 7)" in told
    cfg.val_evaluator.ann_file = None  # mmdet makes one from what is packed
    cfg.val_dataloader.dataset.pipeline[-1].meta_keys = ("img_id", "ori_shape", "instances")
    check_start(cfg, ("train", "val"))


def test_evaluation_needs_numbers_in_iscrowd(tmp_path: Path) -> None:
    content = coco()
    content["annotations"][1]["iscrowd"] = None
    assert "1 annotations have no iscrowd (ids 12)" in refused(write(tmp_path, content), "val")


def test_a_message_counts_the_ids_that_it_does_not_name(tmp_path: Path) -> None:
    content = coco()
    content["annotations"] = [{**content["annotations"][0], "id": number, "iscrowd": None} for number in range(1, 21)]
    told = refused(write(tmp_path, content), "val")
    assert "20 annotations have no iscrowd (ids 1, 2, 3, 4, 5 and 15 more)" in told


@pytest.mark.parametrize("name", ["images", "categories"])
def test_ids_of_numbers_and_text(tmp_path: Path, name: str) -> None:
    content = coco()
    content[name][1]["id"] = "2"
    content["annotations"][1]["image_id" if name == "images" else "category_id"] = "2"
    cfg = write(tmp_path, content)
    check_start(cfg, ("train",))
    assert f"some ids of its {name} are numbers and some text" in refused(cfg, "val")


@pytest.mark.parametrize(
    ("options", "names"),
    [
        (dict(indices=2), ["a.png", "c.png"]),
        (dict(indices=-1), ["d.png"]),
        (dict(indices=[2, 0, 0]), ["a.png", "d.png"]),
        (dict(indices=[-1, 1], test_mode=True), ["b.png", "d.png"]),
        (dict(indices=1, filter_cfg=dict(min_size=65)), ["d.png"]),
    ],
)
def test_images_that_a_dataset_takes(tmp_path: Path, options: dict[str, Any], names: list[str]) -> None:
    """`indices` counts what the filter leaves: b has no object, and only d is large. The survey takes what mmdet takes."""
    images = [dict(id=i, file_name=f"{name}.png", width=96, height=66 if name == "d" else 64) for i, name in enumerate("abcd")]
    box = coco()["annotations"][0]
    entries = [dict(box, id=10 + at, image_id=i) for at, i in enumerate((0, 2, 2, 3, 99))]
    cfg = write(tmp_path, coco(images=images, annotations=entries))
    cfg.train_dataloader.dataset.update({"filter_cfg": dict(filter_empty_gt=True), **options})
    plan = Plan(cfg, ("train",))
    (view,) = plan.datasets
    found = plan.survey(view)
    settings = {name: value for name, value in view.config.items() if name != "type"}
    dataset = CocoDataset(**dict(settings, pipeline=[]))
    assert {Path(entry["img_path"]).name for entry in dataset} == set(found.names)
    assert found.names == names
    assert found.targets == sum(dict(zip("abcd", (1, 0, 2, 1), strict=True))[name[0]] for name in names)


def test_indices_of_no_image(cfg: Config) -> None:
    cfg.train_dataloader.dataset.indices = [0, 2]
    assert "indices has 2, and the dataset 2 images: expected 0 to 1" in refused(cfg)
    cfg.train_dataloader.dataset.indices = 0
    assert "indices=0 leaves no image of 2" in refused(cfg)


def test_the_evaluators_file_must_be_there(tmp_path: Path, cfg: Config) -> None:
    cfg.val_evaluator.ann_file = str(tmp_path / "absent.json")
    assert "absent.json (val_evaluator.ann_file): no such file" in refused(cfg, "val")


@pytest.mark.parametrize("kind", ["above", "absolute", "dots"])
def test_images_are_found_wherever_mmdet_finds_them(tmp_path: Path, kind: str) -> None:
    content = coco()
    names = {"above": "../images/1.png", "absolute": f"{tmp_path}/images/1.png", "dots": "./1.png"}
    content["images"][0]["file_name"] = names[kind]
    check_start(write(tmp_path, content), ("train",))
    content["images"][0]["file_name"] = "../images/3.png"
    assert "names 1 images (of 2) that are not in" in refused(write(tmp_path, content))


def test_a_string_where_a_tuple_of_classes_is_meant(cfg: Config) -> None:
    cfg.model.bbox_head.num_classes = 1
    cfg.train_dataloader.dataset.metainfo = dict(classes="screw")
    told = refused(cfg)
    assert "train_dataloader.dataset.metainfo.classes is the string 'screw'" in told
    assert "Write classes=('screw',) with a comma" in told


def test_large_files_are_remembered_until_they_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(surveys, "CACHED_FROM", 0)
    read: list[Path] = []
    table = surveys.read_table
    monkeypatch.setattr(surveys, "read_table", lambda path, *rest: read.append(path) or table(path, *rest))
    write(tmp_path, coco())
    file = tmp_path / "ann.json"
    first, second = survey(file, "", READING), survey(file, "", READING)
    assert first.targets == second.targets == 2
    assert len(read) == 1
    survey(file, "", Reading(("screw",), True, True, True))
    assert len(read) == 2, "other classes, another answer"
    os.utime(file, (0, 0))
    survey(file, "", READING)
    assert len(read) == 3
    for broken in (tmp_path / "cache" / "mmvit" / "annotations").iterdir():
        broken.write_text("[")
    assert survey(file, "", READING).names == first.names
    assert len(read) == 4
    monkeypatch.setenv("XDG_CACHE_HOME", str(file))  # no folder: nothing can be kept there
    assert isinstance(survey(file, "", READING), Survey)
