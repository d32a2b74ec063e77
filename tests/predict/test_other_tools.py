"""Results in the formats of other tools, as these tools' readers read them: the objects of the JSON in COCO's format."""

import csv
import json
import ntpath
import os
from collections.abc import Callable, Iterator
from pathlib import Path, PureWindowsPath
from types import SimpleNamespace
from typing import Any
from xml.etree import ElementTree

import cv2
import numpy as np
import pytest
from labelformat.formats import COCOObjectDetectionInput, CVATObjectDetectionInput, YOLOv8ObjectDetectionInput
from PIL import Image
from pycocotools import mask
from scipy.ndimage import binary_fill_holes
from trained import Trained

from mmvit.errors import InputError
from mmvit.predict.formats import FORMATS, label_names
from mmvit.project.formats import cvat

pytestmark = pytest.mark.stack

Objects = Iterator[tuple[str, Any]]  # name of an image, and an object: corners and place of its class, or its mask


@pytest.mark.parametrize("head", ["retinanet", "mask_rcnn"])
@pytest.mark.parametrize("tool", ["coco", *FORMATS])
def test_other_tools_read_the_objects(model_of: Callable[[str], Trained], tmp_path: Path, tool: str, head: str) -> None:
    trained, masks = model_of(head), head == "mask_rcnn" and tool in ("yolo", "cvat", "labelstudio")
    assert trained.predict(trained.images, out=tmp_path, options=f"--score 0 --no-overlays --format {tool}") == 0
    (tmp_path / "images").symlink_to(trained.images)
    wanted, found = (collect(read(tmp_path, masks, trained.classes)) for read in (of_json, READERS[tool]))
    assert len(wanted) == 4
    assert found.keys() == wanted.keys()
    for name, objects in wanted.items():
        if masks:  # of random pixels; outlines have no holes
            whole = np.any(objects if tool == "cvat" else [binary_fill_holes(one) for one in objects], axis=0)
            assert (np.any(found[name], axis=0) == whole).all()
        else:
            assert np.array(found[name]) == pytest.approx(np.array(objects), abs=0.02)


def test_labels_are_named_as_their_pictures(detector: Trained, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    images, names = tmp_path / "images", ["a.png", "a_2.png", "b/a.png", "q?x.v1.png"]
    for name in names:
        (images / name).parent.mkdir(parents=True, exist_ok=True)
        (images / name).write_bytes((detector.images / "0.png").read_bytes())
    Image.new("RGB", (96, 64)).save(images / "c.tif", save_all=True, append_images=[Image.new("RGB", (96, 64))])
    options = "--recursive --no-overlays --pages all --format yolo"
    assert detector.predict(images, images / "a.png", out=tmp_path / "out", options=options) == 0
    labels = [file.relative_to(tmp_path / "out/labels") for file in (tmp_path / "out/labels").rglob("*.txt")]
    assert sorted(map(str, labels)) == sorted([*(f"{name[:-4]}.txt" for name in names), "c.txt", "c_2.txt"])
    (images / "b/a.jpg").write_bytes(b"")
    assert detector.predict(images, out=tmp_path / "other", options=options) == 2
    assert "b/a.jpg and " in (told := capsys.readouterr().err)
    assert "would both have their labels in labels/b/a.txt" in told
    assert not (tmp_path / "other").exists()


def test_images_on_two_drives_have_no_common_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as windows:  # no longer than that: pytest asks the same functions
        for name, function in dict(abspath=str, dirname=ntpath.dirname, commonpath=ntpath.commonpath).items():
            windows.setattr(os.path, name, function)
        with pytest.raises(InputError, match="images on several drives"):
            label_names([PureWindowsPath("C:/a/0.png"), PureWindowsPath("D:/b/0.png")])


@pytest.mark.parametrize("tool", ["coco", *FORMATS])
def test_a_name_that_is_not_utf_8(detector: Trained, tmp_path: Path, tool: str) -> None:
    image = tmp_path / os.fsdecode(b"caf\xe9.png")
    try:
        image.write_bytes((detector.images / "0.png").read_bytes())
    except OSError:
        pytest.skip("this file system takes no such name")
    assert detector.predict(image, out=tmp_path / "out", options=f"--score 0 --format {tool}") == 0
    if tool == "yolo":
        assert (tmp_path / "out/labels" / os.fsdecode(b"caf\xe9.txt")).is_file()
    elif tool != "coco":
        assert {name for name, _ in READERS[tool](tmp_path / "out", False, detector.classes)} == {r"caf\udce9"}


def test_a_segmenter_has_label_maps(model_of: Callable[[str], Trained], tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    segmenter = model_of("fpn")
    assert segmenter.predict(segmenter.images, out=tmp_path, options="--format cvat") == 2
    assert "--format cvat: it is for objects, and this model labels every pixel" in capsys.readouterr().err


def collect(objects: Objects) -> dict[str, list]:
    found: dict[str, list] = {}
    for name, entry in objects:
        found.setdefault(name, []).append(entry)
    return found


def of_json(out: Path, masks: bool, classes: tuple[str, ...]) -> Objects:
    content = json.loads((out / "predictions.json").read_text())
    places = {entry["id"]: place for place, entry in enumerate(content["categories"])}
    names = {image["id"]: Path(image["file_name"]).stem for image in content["images"]}
    for entry in content["annotations"]:
        x, y, width, height = entry["bbox"]
        shape = [x, y, x + width, y + height, places[entry["category_id"]]]
        if masks:
            shape = mask.decode(mask.frPyObjects(entry["segmentation"], *entry["segmentation"]["size"])).astype(bool)
        yield names[entry["image_id"]], shape


def of_labelformat(source: Any, classes: tuple[str, ...]) -> Objects:
    for label in source.get_labels():
        for one in label.objects:
            corners = [one.box.xmin, one.box.ymin, one.box.xmax, one.box.ymax]
            yield Path(label.image.filename).stem, [*corners, classes.index(one.category.name)]


def of_coco(out: Path, masks: bool, classes: tuple[str, ...]) -> Objects:
    yield from of_labelformat(COCOObjectDetectionInput(out / "predictions.json"), classes)


def of_yolo(out: Path, masks: bool, classes: tuple[str, ...]) -> Objects:
    if not masks:
        yield from of_labelformat(YOLOv8ObjectDetectionInput(out / "data.yaml", "train"), classes)
        return
    for file in (out / "labels").iterdir():
        size = cv2.imread(str(out / "images" / f"{file.stem}.png")).shape[:2]
        for line in file.read_text().splitlines():
            yield file.stem, filled(np.array(line.split()[1:], float).reshape(-1, 2) * size[::-1], size)


def filled(points: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return mask.decode(mask.frPyObjects([points.ravel().tolist()], *size)).any(axis=2)


def of_csv(out: Path, masks: bool, classes: tuple[str, ...]) -> Objects:
    with (out / "predictions.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            assert classes[int(row["class_id"])] == row["class_name"]
            assert 0 < float(row["confidence"]) <= 1
            yield Path(row["file_name"]).stem, [float(row[key]) for key in ("x_min", "y_min", "x_max", "y_max", "class_id")]


def of_cvat(out: Path, masks: bool, classes: tuple[str, ...]) -> Objects:
    if not masks:
        yield from of_labelformat(CVATObjectDetectionInput(out / "annotations.xml"), classes)
        return
    for image in ElementTree.parse(out / "annotations.xml").getroot().iter("image"):
        picture = SimpleNamespace(width=int(image.attrib["width"]), height=int(image.attrib["height"]))
        for shape in image:
            thing = cvat._mask("", shape, picture)  # type: ignore[arg-type]
            yield Path(image.attrib["name"]).stem, mask.decode(thing.rle).astype(bool)


def of_label_studio(out: Path, masks: bool, classes: tuple[str, ...]) -> Objects:
    for task in json.loads((out / "tasks.json").read_text()):
        name = Path(task["data"]["image"]).stem
        for region in task["predictions"][0]["result"]:
            value, size = region["value"], (region["original_height"], region["original_width"])
            scale = np.array(size[::-1]) / 100
            assert 0 <= region["score"] <= 1
            if masks and "points" in value:
                yield name, filled(np.array(value["points"]) * scale, size)
            elif not masks:
                corner, side = np.array([value["x"], value["y"]]), np.array([value["width"], value["height"]])
                yield name, [*(corner * scale), *((corner + side) * scale), classes.index(value["rectanglelabels"][0])]


READERS = dict(coco=of_coco, yolo=of_yolo, csv=of_csv, cvat=of_cvat, labelstudio=of_label_studio)
