"""Results in the formats of other tools, as these tools' readers read them: the objects of the JSON in COCO's format."""

import csv
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from xml.etree import ElementTree

import cv2
import numpy as np
import pytest
import supervision
from labelformat.formats import COCOObjectDetectionInput, CVATObjectDetectionInput, YOLOv8ObjectDetectionInput
from pycocotools import mask
from trained import Trained

from mmvit.predict.formats import FORMATS
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
        if masks:  # random pixels, of which outlines lose the single ones; CVAT's are no outlines
            assert (np.any(found[name], axis=0) ^ np.any(objects, axis=0)).mean() < (1e-9 if tool == "cvat" else 0.1)
        else:
            assert np.array(found[name]) == pytest.approx(np.array(objects), abs=0.02)


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
    data = supervision.DetectionDataset.from_yolo(str(out / "images"), str(out / "labels"), str(out / "data.yaml"), True)
    for path, _, found in data:
        yield Path(path).stem, found.mask.any(axis=0)


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
                points = np.rint(np.array(value["points"]) * scale).astype(np.int32)
                yield name, cv2.fillPoly(np.zeros(size, np.uint8), [points], 1) > 0
            elif not masks:
                corner, side = np.array([value["x"], value["y"]]), np.array([value["width"], value["height"]])
                yield name, [*(corner * scale), *((corner + side) * scale), classes.index(value["rectanglelabels"][0])]


READERS = dict(coco=of_coco, yolo=of_yolo, csv=of_csv, cvat=of_cvat, labelstudio=of_label_studio)
