"""The dataset of tree crowns: tiles of photographs like deepforest's, and its recipe."""

import json
import logging
from importlib.machinery import PathFinder
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from mmvit.config.files import load_config, our_config
from mmvit.demo import report
from mmvit.demo.trees import PHOTOGRAPHS, Photograph, TreesSpec, build, places, tiles
from mmvit.demo.trees_recipe import apply
from mmvit.errors import InputError

OBJECT = "<object><name>Tree</name><bndbox><xmin>{}</xmin><ymin>{}</ymin><xmax>{}</xmax><ymax>{}</ymax></bndbox></object>"
BOXES = [(10, 10, 50, 50), (120, 20, 140, 60), (250, 250, 290, 290)]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    for name in (name for names in PHOTOGRAPHS.values() for name in names):
        Image.fromarray(np.random.default_rng(0).integers(0, 255, (300, 400, 3), dtype=np.uint8)).save(folder / f"{name}.png")
        (folder / f"{name}.xml").write_text(f"<annotation>{''.join(OBJECT.format(*box) for box in BOXES)}</annotation>")
    return folder


def test_places() -> None:
    assert places(200, 256, 64) == [(0, 200)]
    assert places(400, 256, 0) == [(0, 200), (200, 400)]
    for side in (257, 448, 449, 2299, 2472):
        found = places(side, 256, 64)
        assert found[0][0] == 0
        assert found[-1][1] == side
        assert all(end - begin == 256 for begin, end in found)
        assert all(before[1] - after[0] >= 63 for before, after in pairwise(found))  # rounding takes one


def test_boxes_in_tiles() -> None:
    pixels = np.arange(300 * 400 * 3, dtype=np.uint32).reshape(300, 400, 3).astype(np.uint8)
    found = list(tiles(Photograph("photo", pixels, np.array(BOXES, dtype=float)), 200, 0, 0.5))
    assert [tile.name for tile in found] == ["photo_0_0", "photo_200_0", "photo_0_150", "photo_200_150"]
    assert [tile.boxes.tolist() for tile in found] == [
        [[10, 10, 50, 50], [120, 20, 140, 60]],
        [],
        [],
        [[50, 100, 90, 140]],
    ]
    assert (found[3].pixels == pixels[150:, 200:]).all()
    (_, right) = [
        tile.boxes for tile in tiles(Photograph("photo", pixels[:, :250], np.array([[110.0, 0, 150, 10]])), 125, 0, 0.5)
    ][:2]
    assert right.tolist() == [[0, 0, 25, 10]]  # 25 of 40 columns; the 15 on the left are too few


def test_a_build(source: Path, tmp_path: Path) -> None:
    root = build(tmp_path / "trees", TreesSpec(), source)
    contents = {
        split: json.loads((root / f"coco/annotations/instances_{split}2017.json").read_text()) for split in ("train", "val")
    }
    assert len(contents["val"]["images"]) == 3 * 4
    assert len(contents["val"]["annotations"]) == 3 * 3
    for split, content in contents.items():
        assert {entry["image_id"] for entry in content["annotations"]} <= {image["id"] for image in content["images"]}
        for image in content["images"]:
            with Image.open(root / f"coco/{split}2017" / image["file_name"]) as picture:
                assert picture.size == (image["width"], image["height"])
    stamp = (root / "spec.json").stat().st_mtime_ns
    build(root, TreesSpec(), source)
    assert (root / "spec.json").stat().st_mtime_ns == stamp  # complete: left alone
    (source / f"{PHOTOGRAPHS['val'][0]}.png").unlink()
    with pytest.raises(ImportError, match=r"deepforest==2\.1\.0"):
        build(tmp_path / "other", TreesSpec(), source)


@pytest.mark.skipif(PathFinder.find_spec("deepforest") is None, reason="deepforest is not installed")
def test_the_real_photographs(tmp_path: Path) -> None:
    root = build(tmp_path / "trees")
    counts = {}
    for split in ("train", "val"):
        content = json.loads((root / f"coco/annotations/instances_{split}2017.json").read_text())
        counts[split] = len(content["images"]), len(content["annotations"])
    assert counts == {"train": (156, 1055), "val": (33, 376)}


@pytest.mark.stack
@pytest.mark.parametrize(("classes", "predicted"), [(("tree",), 0), (tuple("0123456789"), 1)])
def test_scenes_of_digits_are_for_digits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, classes: tuple[str, ...], predicted: int
) -> None:
    calls: list[Path] = []
    monkeypatch.setattr(report, "predict_unseen", lambda checkpoint, work_dir: calls.append(work_dir))
    (tmp_path / "last_checkpoint").write_text(str(tmp_path / "iter_4.pth"))
    hook = report.DemoReportHook()
    hook.closing_line = "demo: over"
    loader = SimpleNamespace(dataset=SimpleNamespace(metainfo=dict(classes=classes)))
    hook.after_run(SimpleNamespace(val_dataloader=loader, work_dir=str(tmp_path), logger=logging.getLogger("demo")))
    assert len(calls) == predicted


@pytest.mark.stack
def test_the_recipe(tmp_path: Path) -> None:
    cfg = load_config(our_config("retinanet_pvt_v2_b0_coco"))
    apply(cfg, tmp_path)
    assert cfg.model.bbox_head.num_classes == 1
    assert cfg.model.backbone.init_cfg is None
    assert cfg.model.bbox_head.anchor_generator.octave_base_scale == 2
    assert cfg.val_dataloader.dataset.ann_file == "annotations/instances_val2017.json"
    assert cfg.val_evaluator.ann_file == f"{tmp_path.as_posix()}/coco/annotations/instances_val2017.json"
    assert cfg.val_dataloader.dataset.metainfo.classes == ("tree",)
    for name in ("mask_rcnn_pvt_v2_b0_coco", "fpn_pvt_v2_b0_ade20k"):
        with pytest.raises(InputError, match="--demo trees: expected a RetinaNet"):
            apply(load_config(our_config(name)), tmp_path)
