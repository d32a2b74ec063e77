"""Broken and hostile datasets, each fault made as a file: it stops the run by name, or is handled as the field does."""

import json
import logging
import unicodedata
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from makers import HOME
from mmdet.datasets import CocoDataset
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import DATASETS, HOOKS, MODELS, TRANSFORMS, DefaultScope
from PIL import Image
from pycocotools import mask as pycocotools_mask
from torch import nn

from mmvit.checks import files as data_checks
from mmvit.checks import preflight
from mmvit.commands.doctor import main
from mmvit.data.images import LoadImage
from mmvit.data.label_maps import LoadLabelMap
from mmvit.engine.configuration import TrainOptions, train_config
from mmvit.engine.labels import CheckLabelsHook, strangers
from mmvit.engine.reading import name_files
from mmvit.errors import InputError
from mmvit.recipes.files import load_config

pytestmark = pytest.mark.stack

CONFIGS = HOME / "configs"
NAMES = ("screw", "nut")
STRANGE_NAME = "Über 鸟 mit Leerzeichen"
COLOUR = (200, 100, 50)


def coco(**changed: Any) -> dict[str, Any]:
    """Two images, 96 x 64 pixels, each with a box and a polygon; lists are replaced by `changed`."""
    box = dict(category_id=1, bbox=[8, 8, 40, 48], area=1920, iscrowd=0, segmentation=[[8, 8, 48, 8, 48, 56]])
    content = dict(
        images=[dict(id=i, file_name=f"{i}.png", width=96, height=64) for i in (1, 2)],
        annotations=[dict(box, id=10 + i, image_id=i) for i in (1, 2)],
        categories=[dict(id=i + 1, name=name) for i, name in enumerate(NAMES)],
    )
    return {**content, **changed}


def with_annotation(**values: Any) -> dict[str, Any]:
    """A third annotation, number 7, unlike the others in some entries; None takes an entry away."""
    content = coco()
    third = {**content["annotations"][0], "id": 7, **values}
    content["annotations"].append({name: value for name, value in third.items() if value is not None})
    return content


def write(root: Path, content: dict[str, Any] | str | bytes) -> Config:
    """A folder with an annotation file and its images, and a config of ours that trains and tests with it."""
    root.mkdir(parents=True, exist_ok=True)
    file = root / "ann.json"
    if isinstance(content, dict):
        content = json.dumps(content)
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    (root / "images").mkdir(exist_ok=True)
    for name in ("1.png", "2.png"):
        Image.new("RGB", (96, 64), COLOUR).save(root / "images" / name)
    return detector(root)


def detector(root: Path, head: str = "retinanet") -> Config:
    cfg = load_config(CONFIGS / f"{head}_pvt_v2_b0_coco.py")
    cfg.model.backbone.init_cfg = None
    for part in (cfg.model, cfg.model.get("roi_head") or {}):
        for name in ("bbox_head", "mask_head"):
            if name in part:
                part[name].num_classes = len(NAMES)
    for split in ("train", "val", "test"):
        dataset = cfg[f"{split}_dataloader"].dataset
        dataset.update(data_root=str(root), ann_file="ann.json", data_prefix=dict(img="images"))
        dataset.metainfo = dict(classes=NAMES)
    for split in ("val", "test"):
        cfg[f"{split}_evaluator"].ann_file = str(root / "ann.json")
    return cfg


def refusal(call: Callable[..., Any], *arguments: Any) -> str:
    with pytest.raises(InputError) as raised:
        call(*arguments)
    return str(raised.value)


@pytest.fixture
def logged(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, str]]:
    """Level and text of what the checks of annotations log."""
    lines: list[tuple[int, str]] = []

    def note(text: str, logger: str, level: int) -> None:
        if "leaves out" in text:
            lines.append((level, text))

    monkeypatch.setattr(preflight, "print_log", note)
    return lines


@pytest.mark.parametrize(
    ("values", "told"),
    [
        (dict(bbox=None), "1 without bbox: 7"),
        (dict(area=None), "1 without area: 7"),
        (dict(category_id=None), "1 without category_id: 7"),
        (dict(image_id=None), "1 without image_id: 7"),
        (dict(id=None), "1 without id: number 3 of the list"),
        (dict(id=[10]), "1 with an id that is neither a number nor a name: [10]"),
        (dict(id=12), "1 with the id of another: 12"),
        (dict(image_id=99), "1 with an image_id that no image has: 7"),
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
    message = refusal(preflight.check, write(tmp_path, with_annotation(**values)), ("train",))
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
    message = refusal(preflight.check, write(tmp_path, coco(**{what: entries})), ("train",))
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
    ],
)
def test_files_that_are_no_annotations(tmp_path: Path, content: bytes, told: str) -> None:
    message = refusal(preflight.check, write(tmp_path, content), ("train",))
    assert f"{tmp_path}/ann.json (train_dataloader.dataset.ann_file)" in message
    assert told in message


def test_folder_in_the_place_of_the_file(tmp_path: Path) -> None:
    cfg = write(tmp_path, coco())
    (tmp_path / "ann.json").unlink()
    (tmp_path / "ann.json").mkdir()
    assert "ann.json (train_dataloader.dataset.ann_file) cannot be read: Is a directory" in refusal(
        preflight.check, cfg, ("train",)
    )


LEFT_OUT = [
    (dict(bbox=[200, 8, 40, 40]), "boxes outside of their image"),
    (dict(bbox=[-50, 8, 40, 40]), "boxes outside of their image"),
    (dict(bbox=[8, 8, 0, 40]), "boxes less than a pixel wide or high"),
    (dict(bbox=[8, 8, 40, 0.5]), "boxes less than a pixel wide or high"),
    (dict(bbox=[40, 40, -20, -20]), "boxes less than a pixel wide or high"),
    (dict(area=0), "areas that are not above zero"),
    (dict(category_id=77), "categories that the file does not have"),
    (dict(category_id=3), "categories that are none of the dataset's classes"),
    (dict(bbox=[80, 50, 40, 48]), None),  # over the edge: mmdet clips it
    (dict(iscrowd=1), None),
]


@pytest.mark.parametrize(("values", "reason"), LEFT_OUT)
def test_what_mmdet_leaves_out_is_said(
    tmp_path: Path, values: dict[str, Any], reason: str | None, logged: list[tuple[int, str]]
) -> None:
    content = with_annotation(**values)
    content["categories"].append(dict(id=3, name="washer"))
    preflight.check(write(tmp_path, content), ("train",))
    dataset = CocoDataset(ann_file=f"{tmp_path}/ann.json", metainfo=dict(classes=NAMES), data_prefix=dict(img=""))
    read = sum(len(dataset.get_data_info(index)["instances"]) for index in range(len(dataset)))
    if reason is None:
        assert (read, logged) == (3, [])
    else:
        assert read == 2, "mmdet is as it was when this was written"
        ((level, line),) = logged
        assert line.startswith(f"{tmp_path}/ann.json (train_dataloader.dataset.ann_file): mmdet leaves out {reason}")
        assert line.endswith(": 1 annotations (ids 7)")
        assert level == (logging.INFO if "classes" in reason else logging.WARNING)


@pytest.mark.parametrize(
    ("mask", "told"),
    [
        (None, "without segmentation, which LoadAnnotations with with_mask=True needs: 7"),
        (dict(size=[96, 64], counts=[6144]), "with an RLE whose size is not its image's [height, width]: 7"),
        ([8, 8, 48, 8, 48, 56], "neither a list of polygons"),
        ([[8, 8, 48, 8, float("nan"), 56]], "a polygon of which a coordinate is no number between -1e+06 and 1e+06"),
        ([[8, 8, 48, 8, 1e9, 56]], "a polygon of which a coordinate is no number"),
        ([[8, 8, 48, 8, "48", 56]], "a polygon of which a coordinate is no number"),
    ],
)
def test_masks_that_cannot_be_used(tmp_path: Path, mask: Any, told: str) -> None:
    """Two of these end the process that draws them, without a word."""
    write(tmp_path, with_annotation(segmentation=mask))
    assert told in refusal(preflight.check, detector(tmp_path, "mask_rcnn"), ("train",))
    preflight.check(detector(tmp_path), ("train",))  # boxes alone need none


@pytest.mark.parametrize("mask", [[[8, 8, 48, 8]], [[8, 8, 48, 8, 48, 56, 3]], [[]], dict(counts=[6144])])
def test_masks_that_mmdet_leaves_out(tmp_path: Path, mask: Any, logged: list[tuple[int, str]]) -> None:
    write(tmp_path, with_annotation(segmentation=mask))
    preflight.check(detector(tmp_path, "mask_rcnn"), ("train",))
    ((level, line),) = logged
    assert level == logging.WARNING
    assert "mmdet leaves out " in line
    assert "masks of which nothing can be drawn" in line


def test_masks_of_which_a_part_remains(tmp_path: Path, logged: list[tuple[int, str]]) -> None:
    write(tmp_path, with_annotation(segmentation=[[8, 8, 48, 8], [8, 8, 48, 8, 48, 56]]))
    preflight.check(detector(tmp_path, "mask_rcnn"), ("train",))
    ((_, line),) = logged
    assert "mmdet leaves out polygons of fewer than three points or with an odd count of numbers: 1 annotations (ids 7)" in line


def test_other_kinds_of_annotations_are_left_alone(tmp_path: Path) -> None:
    cfg = write(tmp_path, coco(annotations=[dict(image_id=1, segments_info=[], file_name="1.png")]))
    cfg.train_dataloader.dataset.type = "CocoPanopticDataset"
    preflight.check(cfg, ("train",))


def test_names_of_categories_that_are_no_classes_may_be_shared(tmp_path: Path) -> None:
    shared = [dict(id=number, name="washer") for number in (3, 4)]
    preflight.check(write(tmp_path, coco(categories=coco()["categories"] + shared)), ("train",))


def test_classes_that_are_numbers(tmp_path: Path) -> None:
    cfg = write(tmp_path, coco())
    cfg.train_dataloader.dataset.metainfo = dict(classes=(0, 1))
    assert "metainfo.classes of CocoDataset has 0, 1 (int), expected names" in refusal(preflight.check, cfg, ("train",))


def test_names_with_spaces_and_other_letters(tmp_path: Path) -> None:
    """Whole, from annotations to pixels; in another Unicode form than on the disk, what looks the same is told apart."""
    root = tmp_path / STRANGE_NAME
    image = dict(id=1, file_name=f"{STRANGE_NAME}.png", width=96, height=64)
    cfg = write(root, coco(images=[image], annotations=coco()["annotations"][:1]))
    Image.new("RGB", (96, 64), COLOUR).save(root / "images" / image["file_name"])
    preflight.check(cfg, ("train", "val"))
    with DefaultScope.overwrite_default_scope("mmdet"):
        assert DATASETS.build(cfg.train_dataloader.dataset)[0]["inputs"].shape[0] == 3
    image["file_name"] = unicodedata.normalize("NFD", image["file_name"])
    write(root, coco(images=[image], annotations=[]))
    message = refusal(preflight.check, cfg, ("train",))
    assert (
        r"The folder has '\xdcber \u9e1f mit Leerzeichen.png': other capitals or another Unicode form than 'U\u0308ber"
        in message
    )


def colour_image(path: Path, mode: str = "RGB") -> str:
    image = Image.new("RGB", (40, 24), COLOUR)
    (image.quantize() if mode == "P" else image.convert(mode)).save(path)
    return str(path)


def oriented(path: Path, orientation: int) -> str:
    """40 x 24 pixels, the left half bright, with a word on which way is up."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    pixels = np.zeros((24, 40, 3), np.uint8)
    pixels[:, :20] = 255
    Image.fromarray(pixels).save(path, exif=exif, quality=100)
    return str(path)


def deep(path: Path, value: tuple[int, ...]) -> str:
    """16 bits a channel, BGR or grey."""
    assert cv2.imwrite(str(path), np.full((24, 40, len(value)), value, np.uint16))
    return str(path)


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda folder: colour_image(folder / "a.png", "L"), (124, 124, 124)),
        (lambda folder: colour_image(folder / "a.png", "P"), (50, 100, 200)),
        (lambda folder: colour_image(folder / "a.jpg", "CMYK"), (51, 101, 201)),
        (lambda folder: colour_image(folder / "a.tif", "CMYK"), (50, 100, 200)),
        (lambda folder: colour_image(folder / "a.png", "RGBA"), (50, 100, 200)),
        (lambda folder: deep(folder / "a.png", (50 << 8, 100 << 8, 200 << 8)), (50, 100, 200)),
        (lambda folder: deep(folder / "a.tif", (120 << 8,)), (120, 120, 120)),
        (lambda folder: colour_image(folder / f"{STRANGE_NAME}.png"), (50, 100, 200)),
    ],
)
def test_images_of_other_kinds_become_8_bit_bgr(
    tmp_path: Path, make: Callable[[Path], str], expected: tuple[int, int, int]
) -> None:
    image = LoadImage().transform(dict(img_path=make(tmp_path), height=24, width=40))["img"]
    assert image.shape == (24, 40, 3)
    assert image.dtype == np.uint8
    assert np.abs(image.astype(int) - expected).max() <= 3


def test_transparency_does_not_hide_colours(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.new("RGBA", (4, 4), (*COLOUR, 0)).save(path)
    assert LoadImage().transform(dict(img_path=str(path)))["img"][0, 0].tolist() == [50, 100, 200]


@pytest.mark.parametrize("ending", ["jpg", "png", "tif"])
def test_images_are_turned_upright(tmp_path: Path, ending: str) -> None:
    """Orientation 6: the row that is stored first stands at the right. The left half stored is the upper half shown."""
    path = oriented(tmp_path / f"a.{ending}", 6)
    results = LoadImage().transform(dict(img_path=path, height=40, width=24))
    assert results["ori_shape"] == (40, 24)
    assert results["img"][:15].min() > 200
    assert results["img"][25:].max() < 50
    message = refusal(LoadImage().transform, dict(img_path=path, height=24, width=40))
    assert message.startswith(
        f"image {path}: 40 x 24 pixels (height x width), turned upright from 6 of EXIF's orientations, but annotated as 24 x 40"
    )


@pytest.mark.parametrize(
    ("content", "told"), [(None, "no such file"), (b"", "cannot be decoded"), (b"no", "cannot be decoded")]
)
def test_images_that_cannot_be_read(tmp_path: Path, content: bytes | None, told: str) -> None:
    path = tmp_path / "a.jpg"
    if content is not None:
        path.write_bytes(content)
    assert refusal(LoadImage().transform, dict(img_path=str(path))).startswith(f"image {path}: ")
    assert told in refusal(LoadImage().transform, dict(img_path=str(path)))


@pytest.mark.parametrize("ending", ["jpg", "png"])
def test_truncated_images(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"a.{ending}"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 96, 3), np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[:-2000])
    assert f"image {path}: it cannot be decoded as an image" in refusal(LoadImage().transform, dict(img_path=str(path)))


def test_size_that_differs_from_the_annotation(tmp_path: Path) -> None:
    path = colour_image(tmp_path / "a.png")
    message = refusal(LoadImage().transform, dict(img_path=path, height=64, width=96))
    assert message.startswith(f"image {path}: 24 x 40 pixels (height x width), but annotated as 64 x 96: its boxes")


def thin(root: Path, height: int, label: int = 0) -> dict[str, dict[str, Any]]:
    """Images one pixel wide, for a detector and for a segmenter, as configs of their datasets."""
    for name in ("images", "maps"):
        (root / name).mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (1, height), COLOUR).save(root / "images" / "1.png")
    Image.new("L", (1, height), label).save(root / "maps" / "1.png")
    (root / "ann.json").write_text(
        json.dumps(
            coco(
                images=[dict(id=1, file_name="1.png", width=1, height=height)],
                annotations=[dict(id=1, image_id=1, category_id=1, bbox=[0, 0, 1, height], area=height, iscrowd=0)],
            )
        )
    )
    return dict(
        mmdet=dict(
            type="CocoDataset",
            data_root=str(root),
            ann_file="ann.json",
            data_prefix=dict(img="images"),
            metainfo=dict(classes=NAMES),
        ),
        mmseg=dict(
            type="BaseSegDataset",
            data_root=str(root),
            data_prefix=dict(img_path="images", seg_map_path="maps"),
            img_suffix=".png",
            metainfo=dict(classes=NAMES),
        ),
    )


def built(settings: dict[str, Any]) -> Any:
    """A dataset as a run has it."""
    dataset = DATASETS.build(settings)
    name_files(dataset)
    return dataset


@pytest.mark.parametrize("leaf", ["retinanet_pvt_v2_b0_coco", "fpn_van_b0_ade20k"])
def test_images_one_pixel_wide_pass_the_pipelines(tmp_path: Path, leaf: str) -> None:
    cfg = load_config(CONFIGS / f"{leaf}.py")
    dataset = thin(tmp_path, 400)[cfg.default_scope]
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        for name in ("train_pipeline", "test_pipeline", "tta_pipeline"):
            sample = built(dict(dataset, pipeline=cfg[name], test_mode=name != "train_pipeline"))[0]
            inputs = sample["inputs"] if name == "tta_pipeline" else [sample["inputs"]]
            assert all(min(view.shape) > 1 for view in inputs)
    told = f"image {tmp_path}/images/1.png: 401 x 1 pixels (height x width): resizing would leave one pixel or none"
    thin(tmp_path, 401)
    assert refusal(LoadImage().transform, dict(img_path=f"{tmp_path}/images/1.png")).startswith(told)


@pytest.mark.parametrize("leaf", ["retinanet_pvt_v2_b0_coco", "fpn_van_b0_ade20k"])
def test_images_one_pixel_wide_pass_the_models(tmp_path: Path, leaf: str) -> None:
    cfg = load_config(CONFIGS / f"{leaf}.py")
    cfg.model.backbone.init_cfg = None
    if "decode_head" in cfg.model:
        cfg.model.data_preprocessor.size = (64, 64)
    dataset = thin(tmp_path, 20)[cfg.default_scope]
    for pipeline in (cfg.train_pipeline, cfg.test_pipeline):
        for step in pipeline:
            step.update({"scale": (640, 64)} if "scale" in step else {"crop_size": (64, 64)} if "crop_size" in step else {})
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        model = MODELS.build(cfg.model)
        sample = built(dict(dataset, pipeline=cfg.train_pipeline))[0]
        losses = model(**model.data_preprocessor(pseudo_collate([sample, sample]), training=True), mode="loss")
        loss, _ = model.parse_losses(losses)
        assert loss.isfinite()
        model.eval()
        (found,) = model.test_step(pseudo_collate([built(dict(dataset, pipeline=cfg.test_pipeline, test_mode=True))[0]]))
    assert found.ori_shape == (20, 1)
    if "decode_head" in cfg.model:
        assert found.pred_sem_seg.data.shape == (1, 20, 1)


def label_map(path: Path, values: Any = 1, mode: str = "L", size: tuple[int, int] = (40, 24)) -> dict[str, Any]:
    """What a dataset of mmseg gives a pipeline, for a label map and its image of 40 x 24."""
    Image.fromarray(np.broadcast_to(np.array(values), (size[1], size[0])).astype(np.uint8)).convert(mode).save(path)
    return results_of(path)


def results_of(path: Path) -> dict[str, Any]:
    """As above, for a label map that is written already."""
    image = path.with_name("image of it.png")
    Image.new("RGB", (40, 24), COLOUR).save(image)
    return dict(
        img_path=str(image),
        seg_map_path=str(path),
        reduce_zero_label=False,
        label_map=None,
        seg_fields=[],
        ori_shape=(24, 40),
    )


@pytest.mark.parametrize("reduce_zero_label", [False, True])
@pytest.mark.parametrize("classes", [None, {0: 1, 1: 255, 2: 0}])
@pytest.mark.parametrize("mode", ["L", "P", "1", "I;16", "I"])
def test_labels_are_those_of_mmseg(tmp_path: Path, reduce_zero_label: bool, classes: dict[int, int] | None, mode: str) -> None:
    values = np.arange(960).reshape(24, 40) % 256
    path = tmp_path / f"{STRANGE_NAME}.{'tif' if mode == 'I' else 'png'}"
    results = results_of(path)
    if mode in ("I;16", "I"):
        Image.fromarray(values.astype(np.uint16 if mode == "I;16" else np.int32)).save(path)
    else:
        Image.fromarray(values.astype(np.uint8)).convert(mode).save(path)
    results.update(reduce_zero_label=reduce_zero_label, label_map=classes)
    ours = LoadLabelMap().transform({**results, "seg_fields": []})
    with DefaultScope.overwrite_default_scope("mmseg"):
        theirs = TRANSFORMS.build(dict(type="mmseg.LoadAnnotations")).transform({**results, "seg_fields": []})
    assert ours["gt_seg_map"].dtype == theirs["gt_seg_map"].dtype == np.uint8
    assert (ours["gt_seg_map"] == theirs["gt_seg_map"]).all()
    assert ours["seg_fields"] == theirs["seg_fields"] == ["gt_seg_map"]


def test_label_map_one_pixel_wide_keeps_its_shape(tmp_path: Path) -> None:
    results = label_map(tmp_path / "a.png", 1, size=(1, 24))
    results["ori_shape"] = (24, 1)
    assert LoadLabelMap().transform(results)["gt_seg_map"].shape == (24, 1)


@pytest.mark.parametrize("case", ["missing", "unreadable", "colours", "size", "beyond 255", "fractions"])
def test_label_maps_that_cannot_be_used(tmp_path: Path, case: str) -> None:
    path = tmp_path / "a.png"
    results, told = label_map(path), dict(missing="no such file", unreadable="it cannot be decoded").get(case)
    if case == "missing":
        path.unlink()
    elif case == "unreadable":
        path.write_bytes(b"\x89PNG")
    elif case == "colours":
        colour_image(path)
        told = "3 channels, like a colour image"
    elif case == "size":
        label_map(path, size=(24, 40))
        told = "40 x 24 pixels (height x width), but its image"
    elif case == "beyond 255":
        Image.fromarray(np.full((24, 40), 300, np.uint16)).save(path)
        told = "values from 300 to 300 (uint16)"
    else:
        path = path.with_suffix(".tif")
        Image.fromarray(np.full((24, 40), 0.5, np.float32)).save(path)
        results["seg_map_path"] = str(path)
        told = "values from 0.5 to 0.5 (float32)"
    message = refusal(LoadLabelMap().transform, results)
    assert message.startswith(f"label map {path}")
    assert f"image {results['img_path']}" in message
    assert told in message


def test_label_map_of_an_image_that_was_turned(tmp_path: Path) -> None:
    results = label_map(tmp_path / "a.png")
    results["img_path"] = oriented(tmp_path / "turned.jpg", 6)
    results = LoadImage().transform(results)
    told = f"its image {results['img_path']} has 40 x 24, turned upright from 6 of EXIF's orientations"
    assert told in refusal(LoadLabelMap().transform, results)


def segmenter(root: Path, values: Any = 1, leaf: str = "fpn_van_b0_ade20k") -> Config:
    """A config of ours and its dataset: images 1.png and 2.png of 40 x 24 pixels, and their label maps."""
    for name in ("1.png", "2.png"):
        for folder in ("images", "maps"):
            (root / folder).mkdir(parents=True, exist_ok=True)
        colour_image(root / "images" / name)
        label_map(root / "maps" / name, values)
    (root / "maps" / "image of it.png").unlink()
    cfg = load_config(CONFIGS / f"{leaf}.py")
    cfg.model.backbone.init_cfg = None
    for split in ("train", "val", "test"):
        cfg[f"{split}_dataloader"].dataset = dict(
            type="BaseSegDataset",
            data_root=str(root),
            data_prefix=dict(img_path="images", seg_map_path="maps"),
            img_suffix=".png",
            metainfo=dict(classes=NAMES),
            pipeline=cfg.train_pipeline if split == "train" else cfg.test_pipeline,
            test_mode=split != "train",
        )
    return cfg


@pytest.mark.parametrize("leaf", ["fpn_van_b0_ade20k", "fpn_van_b2_cityscapes", "segformer_van_b2_cityscapes"])
def test_our_segmentation_pipelines_name_a_map_of_another_size(tmp_path: Path, leaf: str) -> None:
    cfg = segmenter(tmp_path, leaf=leaf)
    label_map(tmp_path / "maps" / "2.png", size=(40, 23))
    del cfg.tta_pipeline[1].transforms[0][1:]  # views of other sizes, which take their time
    with DefaultScope.overwrite_default_scope("mmseg"):
        for pipeline in (cfg.train_pipeline, cfg.test_pipeline, cfg.tta_pipeline):
            dataset = built(dict(cfg.val_dataloader.dataset, pipeline=pipeline))
            with pytest.raises(InputError, match=rf"label map {tmp_path}/maps/2\.png: 23 x 40 pixels"):
                dataset[1]


def of_model(**parts: Any) -> CheckLabelsHook:
    """The hook, before it sees batches for a model with such parts."""
    model = nn.Module()
    for name, part in parts.items():
        setattr(model, name, part)
    hook = HOOKS.build(dict(type="mmvit.CheckLabelsHook"))
    hook.before_train(SimpleNamespace(model=model))
    return hook


def head(classes: int, **more: Any) -> nn.Module:
    made = nn.Module()
    for name, value in dict(num_classes=classes, ignore_index=255, **more).items():
        setattr(made, name, value)
    return made


def test_labels_of_no_class_stop_a_segmenter(tmp_path: Path) -> None:
    cfg = segmenter(tmp_path)
    label_map(tmp_path / "maps" / "2.png", [0, 1, 255, 7] * 10)
    with DefaultScope.overwrite_default_scope("mmseg"):
        dataset = DATASETS.build(cfg.train_dataloader.dataset)
        for decode_head in (head(2), nn.ModuleList([head(9), head(2)])):
            hook = of_model(decode_head=decode_head)
            hook.before_train_iter(None, 0, pseudo_collate([dataset[0]]))
            message = refusal(hook.before_train_iter, None, 0, pseudo_collate([dataset[0], dataset[1]]))
            assert message.startswith(
                f"label map {tmp_path}/maps/2.png of image {tmp_path}/images/2.png: labels [7], but the model has 2 classes"
            )
            assert "Expected 0 to 1, or 255 for what is ignored" in message
            assert "reduce_zero_label" in message
        of_model(decode_head=head(8)).before_train_iter(None, 0, pseudo_collate([dataset[1]]))
        dataset = DATASETS.build(dict(cfg.train_dataloader.dataset, reduce_zero_label=True))
        message = refusal(of_model(decode_head=head(2)).before_train_iter, None, 0, pseudo_collate([dataset[1]]))
        assert "labels [6] (in the file each is one more: reduce_zero_label), but the model has 2 classes" in message


def test_labels_of_no_class_stop_a_detector(tmp_path: Path) -> None:
    content = coco()
    content["annotations"][1]["category_id"] = 2
    cfg = write(tmp_path, content)
    with DefaultScope.overwrite_default_scope("mmdet"):
        dataset = DATASETS.build(cfg.train_dataloader.dataset)
        batch = pseudo_collate([dataset[0], dataset[1]])
    agnostic = nn.Module()
    agnostic.bbox_head, agnostic.mask_head = nn.ModuleList([head(2), head(2)]), head(1, class_agnostic=True)
    second = nn.Module()
    second.bbox_head, second.mask_head = head(2), head(1)
    for parts in (dict(bbox_head=head(1)), dict(roi_head=second, rpn_head=head(1)), dict(mask_head=head(1))):
        message = refusal(of_model(**parts).before_train_iter, None, 0, batch)
        assert message.startswith(f"image {tmp_path}/images/2.png: boxes with labels [1], but the model has 1 classes")
    for parts in (dict(bbox_head=head(2)), dict(roi_head=agnostic, rpn_head=head(1)), dict(neck=head(1))):
        of_model(**parts).before_train_iter(None, 0, batch)


def test_every_run_checks_labels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    cfg = train_config(TrainOptions(CONFIGS / "retinanet_pvt_v2_b0_coco.py"))
    assert [hook.type for hook in cfg.custom_hooks].count("mmvit.CheckLabelsHook") == 1


def test_strangers() -> None:
    labels = torch.tensor([[0, 1, 255, 2, -1, 300]])
    assert strangers(labels, 2, 255) == [-1, 2, 300]
    assert strangers(labels[:, :3], 2, 255) == []
    assert strangers(labels[:, :4], 2) == [2, 255]
    assert strangers(labels[:, :0], 2) == []


def test_run_lengths_are_those_of_pycocotools() -> None:
    generator = np.random.default_rng(0)
    for density in (0.0, 0.02, 0.5, 1.0):
        mask = np.asfortranarray(generator.random((50, 70)) < density, dtype=np.uint8)
        rle = pycocotools_mask.encode(mask)
        lengths = data_checks.runs(rle["counts"].decode())
        assert np.repeat(np.arange(len(lengths)) % 2, lengths).tolist() == mask.flatten("F").tolist()
        assert data_checks.rle_fault(dict(size=[50, 70], counts=rle["counts"].decode())) is None
        assert data_checks.rle_fault(dict(size=[50, 70], counts=lengths)) is None


@pytest.mark.parametrize("counts", ["", "garbage!!", "\x00ÿ", "PP", [3, 4], [-3, 19], ["a"], "zzzz", None])
def test_rles_that_do_not_decode(counts: Any) -> None:
    """Of an empty one pycocotools makes a mask of whatever lies in memory."""
    assert data_checks.rle_fault(dict(size=[4, 4], counts=counts))


def doctored(cfg: Config, splits: tuple[str, ...] = ("train", "val")) -> tuple[str, str]:
    """What the doctor finds in a dataset's files: what is well, and what is to be mended."""
    found = list(data_checks.check(cfg, splits))
    return tuple("\n".join(str(finding) for finding in found if (finding.ok is not False) is ok) for ok in (True, False))


def test_doctor_opens_a_detection_dataset(tmp_path: Path) -> None:
    images = [dict(id=i, file_name=f"{i}.png", width=96, height=64) for i in range(1, 10)]
    crowd = dict(size=[64, 96], counts=[6000, 100])
    content = with_annotation(segmentation=crowd, iscrowd=1, image_id=2)
    content["images"] = images
    write(tmp_path, content)
    folder = tmp_path / "images"
    (folder / "1.png").write_bytes(b"broken")
    for number, mode in ((3, "L"), (4, "RGBA"), (5, "P")):
        Image.new("RGB", (96, 64), COLOUR).convert(mode).save(folder / f"{number}.png")
    Image.new("CMYK", (96, 64)).save(folder / "6.png", "JPEG")
    Image.fromarray(np.full((64, 96), 4000, np.uint16)).save(folder / "7.png")
    exif = Image.Exif()
    exif[0x0112] = 8
    Image.new("RGB", (96, 64), COLOUR).save(folder / "8.png", exif=exif)
    Image.new("RGB", (97, 64), COLOUR).save(folder / "9.png")
    well, wrong = doctored(detector(tmp_path, "mask_rcnn"))
    assert "train_dataloader.dataset: 9 opened; handled, as mmvit.LoadImage says" in well
    assert "val_dataloader.dataset: 9 opened" in well
    for line in ("2 grey (", "1 16-bit (", "1 CMYK (", f"1 with transparency ({folder}/4.png)"):
        assert line in well, line
    told = "2 of 3 are used, 7 of 9 images have none, 1 are crowds, which are ignored; 1 of 2 classes never occur: nut"
    assert f"val_dataloader.dataset: {told}" in well
    assert f"FIX  annotations  train_dataloader.dataset: {told}" in wrong
    for line in (
        "train_dataloader.dataset: 3 images cannot be used",
        f"image {folder}/1.png: it cannot be decoded",
        f"image {folder}/8.png: 96 x 64 pixels (height x width), turned upright from 8 of EXIF's orientations",
        f"image {folder}/9.png: 64 x 97 pixels (height x width), but annotated as 64 x 96",
        "1 images come out nearly black",
        f"1 RLEs do not decode\n{18 * ' '}annotation 7 of {folder}/2.png: its runs have 6100 pixels, expected 6144",
    ):
        assert line in wrong, line


def test_doctor_opens_a_segmentation_dataset(tmp_path: Path) -> None:
    cfg = segmenter(tmp_path, [0, 255] * 20)
    well, wrong = doctored(cfg)
    assert wrong.count("2 opened; every pixel is 'screw' (0) or ignored (255, 50.0% of them). Where 255 means an object") == 2
    label_map(tmp_path / "maps" / "1.png", [0, 1, 255, 7] * 10)
    colour_image(tmp_path / "maps" / "2.png")
    well, wrong = doctored(cfg)
    assert "every class occurs" in well
    assert f"1 label maps have labels of no class, which are 0 to 1 and 255\n{18 * ' '}{tmp_path}/maps/1.png: 7" in wrong
    assert f"1 label maps cannot be used\n{18 * ' '}label map {tmp_path}/maps/2.png of image" in wrong
    label_map(tmp_path / "maps" / "2.png", 255)
    cfg.train_dataloader.dataset.reduce_zero_label = True
    well, wrong = doctored(cfg, ("train",))
    assert f"1 with a label map in which all is ignored ({tmp_path}/images/2.png)" in well
    assert "1.png: 6; in the file each is one more" in wrong


def test_doctor_leaves_unknown_datasets_closed(tmp_path: Path) -> None:
    cfg = write(tmp_path, coco())
    cfg.train_dataloader.dataset.pipeline = [dict(type="LoadImageFromNDArray")]
    well, wrong = doctored(cfg, ("train",))
    assert "train_dataloader.dataset: not opened; this check does not know how CocoDataset reads its files" in well
    assert wrong == ""


def test_doctor_tells_many_faults_shortly(tmp_path: Path) -> None:
    images = [dict(id=i, file_name=f"{i}.png", width=1, height=1) for i in range(40)]
    cfg = write(tmp_path, coco(images=images, annotations=[]))
    for image in images:
        (tmp_path / "images" / image["file_name"]).write_bytes(b"")
    _, wrong = doctored(cfg, ("train",))
    assert "40 images cannot be used" in wrong
    assert wrong.count("cannot be decoded") == data_checks.LINES
    assert "and 37 more" in wrong


def test_doctors_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    """Files are opened when asked for, and only where what they are is known."""
    cfg = write(tmp_path, coco())
    (tmp_path / "images" / "2.png").write_bytes(b"broken")
    cfg.dump(tmp_path / "own.py")
    assert main([f"{tmp_path}/own.py"]) == 0
    capsys.readouterr()
    assert main([f"{tmp_path}/own.py", "--data"]) == 1
    said = capsys.readouterr().out
    assert "FIX  files        train_dataloader.dataset: 1 images cannot be used" in said
    (tmp_path / "ann.json").write_text("")
    assert main([f"{tmp_path}/own.py", "--data"]) == 1
    said = capsys.readouterr().out
    assert "FIX  data         " in said
    assert "opened" not in said
    with pytest.raises(SystemExit):
        main(["--data"])
    assert "--data needs a CONFIG" in capsys.readouterr().err
