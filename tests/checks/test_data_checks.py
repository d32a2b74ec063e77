"""Broken and hostile annotation files: each fault stops the run by name, or is handled as mmdet handles it."""

import unicodedata
from pathlib import Path
from typing import Any

import pytest
from mmdet.datasets import CocoDataset
from mmengine.config import Config
from mmengine.registry import DATASETS, DefaultScope
from PIL import Image
from small_datasets import COLOUR, NAMES, STRANGE_NAME, coco, detector, refused, texts, with_annotation, write

from mmvit.checks.table import check_start

pytestmark = pytest.mark.stack


def left_out(cfg: Config, *verdicts: str) -> list[str]:
    """What the checks say that mmdet leaves out."""
    return [text for text in texts(cfg, ("train",), *verdicts) if "leaves out" in text]


@pytest.mark.parametrize(
    ("values", "told"),
    [
        (dict(bbox=None), "1 without bbox: 7"),
        (dict(area=None), "1 without area: 7"),
        (dict(category_id=None), "1 without category_id: 7"),
        (dict(image_id=None), "1 without image_id: 7"),
        (dict(id=None), "1 without id: number 3 of the list"),
        (
            dict(id=None, segments_info=[]),
            "1 of COCO's panoptic format, whose segments lie in PNG files (take instances_*.json",
        ),
        (dict(id=[10]), "1 with an id that is neither a number nor a name: [10]"),
        (dict(id=12), "1 with the id of another: 12"),
        (dict(image_id=[1]), "an image_id, category_id, area or bbox"),
        (dict(category_id={}), "an image_id, category_id, area or bbox"),
        (dict(bbox=[1, 2, 3]), "bbox [x, y, width, height] that is not made of finite numbers: 7"),
        (dict(bbox=[1, 2, 3, "4"]), "that is not made of finite numbers: 7"),
        (dict(bbox=[1, 2, float("nan"), 4]), "1 with a bbox that is not four finite numbers [x, y, width, height]: 7"),
        (dict(bbox=[1, 2, float("inf"), 4]), "1 with a bbox that is not four finite numbers"),
        (dict(area=float("nan")), "1 with an area that is no finite number: 7"),
    ],
)
def test_annotations_that_stop_mmdet(tmp_path: Path, values: dict[str, Any], told: str) -> None:
    message = refused(write(tmp_path, with_annotation(**values)))
    assert message.startswith(f"{tmp_path}/ann.json (train_dataloader.dataset.ann_file): annotations that cannot be used\n")
    assert told in message
    assert message.endswith("as COCO has them. Correct them or take them out")


@pytest.mark.parametrize(
    ("what", "entries", "told"),
    [
        ("images", [dict(id=1, file_name="1.png", width=96)], "1 without height: 1"),
        ("images", [dict(id=1, file_name="1.png", width=96, height=0)], "1 with a height that is not above zero: 1"),
        ("images", [dict(id=1, file_name="1.png", width="96", height=64)], "1 with a width that is not above zero: 1"),
        ("images", [dict(id=1, file_name=5, width=96, height=64)], "1 with a file_name that is no text: 1"),
        ("images", 2 * [dict(id=1, file_name="1.png", width=96, height=64)], "1 with the id of another: 1 (1)"),
        ("images", ["1.png"], "1 that are no JSON objects: number 1 of the list"),
        ("categories", [dict(id=1)], "1 without name: 1"),
        ("categories", [dict(id=1, name="nut"), dict(id=2, name="nut")], "1 with the name of another: 2 ('nut')"),
        ("annotations", [3], "1 that are no JSON objects: number 1 of the list"),
    ],
)
def test_lists_that_stop_mmdet(tmp_path: Path, what: str, entries: list, told: str) -> None:
    message = refused(write(tmp_path, coco(**{what: entries})))
    assert f"{what} that cannot be used" in message
    assert told in message


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "is empty (0 bytes)"),
        (b"\xef\xbb\xbf{}", "is no valid JSON: Unexpected UTF-8 BOM"),
        (b'{"images": "\xff"}', "is no valid JSON: 'utf-8' codec"),
        (100_000 * b"[", "is no valid JSON"),
        (b"null", "no list images, categories, annotations"),
        (b"[]", "no list images, categories, annotations"),
        (b'{"images": [], "annotations": [], "categories": []}', "list of images is empty"),
    ],
)
def test_files_that_are_no_annotations(tmp_path: Path, content: bytes, told: str) -> None:
    message = refused(write(tmp_path, content))
    assert f"{tmp_path}/ann.json (train_dataloader.dataset.ann_file)" in message
    assert told in message


def test_folder_in_the_place_of_the_file(tmp_path: Path, cfg: Config) -> None:
    (tmp_path / "ann.json").unlink()
    (tmp_path / "ann.json").mkdir()
    assert "ann.json (train_dataloader.dataset.ann_file) cannot be read: Is a directory" in refused(cfg)


LEFT_OUT = [
    (dict(bbox=[200, 8, 40, 40]), "boxes outside of their image"),
    (dict(bbox=[-50, 8, 40, 40]), "boxes outside of their image"),
    (dict(bbox=[8, 8, 0, 40]), "boxes less than a pixel wide or high"),
    (dict(bbox=[8, 8, 40, 0.5]), "boxes less than a pixel wide or high"),
    (dict(bbox=[40, 40, -20, -20]), "boxes less than a pixel wide or high"),
    (dict(area=0), "areas that are not above zero"),
    (dict(image_id=99), "image_ids that no image of the file has"),
    (dict(image_id="1"), "image_ids that no image of the file has"),
    (dict(image_id=99, ignore=1, bbox=[-50, 8, 40, 40]), "image_ids that no image of the file has"),
    (dict(category_id=77), "categories that the file does not have"),
    (dict(category_id=3), "categories that are none of the dataset's classes"),
    (dict(bbox=[80, 50, 40, 48]), None),  # over the edge: mmdet clips it
    (dict(iscrowd=1), None),
]


@pytest.mark.parametrize(("values", "reason"), LEFT_OUT)
def test_what_mmdet_leaves_out_is_said(tmp_path: Path, values: dict[str, Any], reason: str | None) -> None:
    content = with_annotation(**values)
    content["categories"].append(dict(id=3, name="washer"))
    cfg = write(tmp_path, content)
    dataset = CocoDataset(ann_file=f"{tmp_path}/ann.json", metainfo=dict(classes=NAMES), data_prefix=dict(img=""))
    read = sum(len(dataset.get_data_info(index)["instances"]) for index in range(len(dataset)))
    if reason is None:
        assert (read, left_out(cfg, "ok", "doubtful")) == (3, [])
    else:
        assert read == 2, "mmdet is as it was when this was written"
        (line,) = left_out(cfg, "ok" if "classes" in reason else "doubtful")
        assert line.startswith(f"{tmp_path}/ann.json (train_dataloader.dataset.ann_file): mmdet leaves out {reason}")
        assert line.endswith(": 1 annotations (ids 7)")


@pytest.mark.parametrize(
    ("mask", "told"),
    [
        (None, "without segmentation, which LoadAnnotations with with_mask=True needs: 7"),
        (dict(size=[96, 64], counts=[6144]), "with an RLE whose size is not its image's [height, width]: 7"),
        ([8, 8, 48, 8, 48, 56], "neither a list of polygons"),
        ([[8, 8, 48, 8, float("nan"), 56]], "a polygon of which a coordinate is no number between -1e+06 and 1e+06"),
        ([[1000000, 8, 48, 8, 48, 56]], "a polygon of which a coordinate is no number"),
        ([[8, 8, 48, 8, 1e9, 56]], "a polygon of which a coordinate is no number"),
        ([[[8, 8, 48, 8, 48, 56]]], "a polygon of which a coordinate is no number"),
        ([], "without segmentation, which LoadAnnotations with with_mask=True needs: 7"),
        ([[8, 8, 48, 8, "48", 56]], "a polygon of which a coordinate is no number"),
    ],
)
def test_masks_that_cannot_be_used(tmp_path: Path, mask: Any, told: str) -> None:
    """Two of these end the process that draws them, without a word."""
    write(tmp_path, with_annotation(segmentation=mask))
    assert told in refused(detector(tmp_path, "mask_rcnn"))
    check_start(detector(tmp_path), ("train",))  # boxes alone need none


@pytest.mark.parametrize("mask", [[[8, 8, 48, 8]], [[8, 8, 48, 8, 48, 56, 3]], [[]], dict(counts=[6144])])
def test_masks_that_mmdet_leaves_out(tmp_path: Path, mask: Any) -> None:
    write(tmp_path, with_annotation(segmentation=mask))
    (line,) = left_out(detector(tmp_path, "mask_rcnn"), "doubtful")
    assert "masks of which nothing can be drawn" in line


def test_masks_of_which_a_part_remains(tmp_path: Path) -> None:
    write(tmp_path, with_annotation(segmentation=[[8, 8, 48, 8], [8, 8, 48, 8, 48, 56]]))
    (line,) = left_out(detector(tmp_path, "mask_rcnn"), "doubtful")
    assert "mmdet leaves out polygons of fewer than three points or with an odd count of numbers: 1 annotations (ids 7)" in line


def test_other_kinds_of_annotations_are_left_alone(tmp_path: Path) -> None:
    thing = dict(id=1, category_id=1, area=1920, iscrowd=0, bbox=[8, 8, 40, 48])
    categories = [dict(category, isthing=1) for category in coco()["categories"]]
    segments = [dict(image_id=1, segments_info=[thing], file_name="1.png")]
    cfg = write(tmp_path, coco(annotations=segments, categories=categories))
    cfg.train_dataloader.dataset.update(type="CocoPanopticDataset", metainfo=dict(classes=NAMES, thing_classes=NAMES))
    check_start(cfg, ("train",))


def test_names_of_categories_that_are_no_classes_may_be_shared(tmp_path: Path) -> None:
    shared = [dict(id=number, name="washer") for number in (3, 4)]
    check_start(write(tmp_path, coco(categories=coco()["categories"] + shared)), ("train",))


def test_classes_that_are_numbers(cfg: Config) -> None:
    cfg.train_dataloader.dataset.metainfo = dict(classes=(0, 1))
    assert "metainfo.classes of CocoDataset has 0, 1 (int), expected names" in refused(cfg)


def test_names_with_spaces_and_other_letters(tmp_path: Path) -> None:
    """Whole, from annotations to pixels; in another Unicode form than on the disk, what looks the same is told apart."""
    root = tmp_path / STRANGE_NAME
    image = dict(id=1, file_name=f"{STRANGE_NAME}.png", width=96, height=64)
    cfg = write(root, coco(images=[image], annotations=coco()["annotations"][:1]))
    Image.new("RGB", (96, 64), COLOUR).save(root / "images" / image["file_name"])
    check_start(cfg, ("train", "val"))
    with DefaultScope.overwrite_default_scope("mmdet"):
        assert DATASETS.build(cfg.train_dataloader.dataset)[0]["inputs"].shape[0] == 3
    image["file_name"] = unicodedata.normalize("NFD", image["file_name"])
    write(root, coco(images=[image], annotations=[]))
    message = refused(cfg)
    assert (
        r"The folder has '\xdcber \u9e1f mit Leerzeichen.png': other capitals or another Unicode form than 'U\u0308ber"
        in message
    )
