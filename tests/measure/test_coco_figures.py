"""Figures of detectors against what mmdet's evaluator prints, to the last digit."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from mmdet.evaluation.metrics import coco_metric
from mmengine.config import ConfigDict
from pycocotools import mask

from mmvit.config.datasets import DatasetView
from mmvit.errors import InputError
from mmvit.measure.accuracy import Validation
from mmvit.measure.coco import Evaluation
from mmvit.measure.datasets import annotated_objects
from mmvit.measure.objects import found_objects
from mmvit.predict.results import Detections

pytestmark = pytest.mark.stack

CLASSES = ("a", "b", "c", "nothing")
SIZE = (200, 240)  # height, width
IDS = (7, 3, 9, 1)  # of the categories


def ellipse(box: np.ndarray) -> np.ndarray:
    (x, y), radii = (box[:2] + box[2:]) / 2, np.maximum(box[2:] - box[:2], 2) / 2
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]]
    return ((columns - x) / radii[0]) ** 2 + ((rows - y) / radii[1]) ** 2 <= 1


def outline(box: np.ndarray, crowd: bool) -> list | dict:
    """Polygons of single objects, run lengths of groups, as COCO's files have them."""
    x1, y1, x2, y2 = box.tolist()
    if not crowd:
        return [[x1, y1, x2, y1, x2, y2, x1, y2]]
    flat = ellipse(box).ravel(order="F")
    ends = np.flatnonzero(np.diff(flat)) + 1
    return dict(size=list(SIZE), counts=np.diff([0, *ends.tolist(), flat.size]).tolist())


def write_random(folder: Path, seed: int, ties: bool) -> tuple[DatasetView, list[Detections]]:
    """Objects of all sizes, some in groups; detections near them, elsewhere, twice, of other classes, with equal scores."""
    rng = np.random.default_rng(seed)
    images, annotations, results = [], [], []
    for image in range(25):
        count = int(rng.integers(0, 7))
        corner = rng.uniform(0, 90, (count, 2))
        boxes = np.concatenate(
            [corner, corner + rng.choice([12, 30, 60, 105], (count, 2)) * rng.uniform(0.8, 1.2, (count, 2))], 1
        )
        boxes = np.round(boxes) if ties else boxes
        labels = rng.integers(0, 3, count)
        images.append(dict(id=100 - image, file_name=f"{image}.png", height=SIZE[0], width=SIZE[1]))
        for box, label in zip(boxes, labels, strict=True):
            crowd = bool(rng.random() < 0.15)
            x1, y1, x2, y2 = box.tolist()
            entry = dict(id=len(annotations) + 5, image_id=100 - image, category_id=IDS[label], iscrowd=int(crowd))
            area = (x2 - x1) * (y2 - y1) * rng.uniform(0.5, 1)
            annotations.append(entry | dict(bbox=[x1, y1, x2 - x1, y2 - y1], area=area, segmentation=outline(box, crowd)))
        found = np.repeat(boxes, 2, axis=0)
        found = np.where(rng.random((2 * count, 1)) < 0.3, found, found + rng.normal(0, 4, found.shape))
        named = np.where(rng.random(2 * count) < 0.2, rng.integers(0, 4, 2 * count), np.repeat(labels, 2))
        found = np.concatenate([found, [[5, 5, 60, 60]]])
        found[:, 2:] = np.maximum(found[:, 2:], found[:, :2] + 2)
        scores = np.sort(np.round(rng.random(len(found)), 1 if ties else 7))[::-1].astype(np.float32)
        masks = np.array([ellipse(box) for box in found])
        labels = np.append(named, rng.integers(0, 4)).astype(np.int64)
        kept = slice(None) if rng.random() > 0.1 else slice(0)  # nothing is found in some images
        results.append(
            Detections(f"{image}.png", SIZE, found[kept].astype(np.float32), scores[kept], labels[kept], CLASSES, masks[kept])
        )
    categories = [dict(id=number, name=name) for number, name in zip(IDS, CLASSES, strict=True)]
    content = dict(info={}, images=images, annotations=annotations, categories=categories)
    (folder / "truth.json").write_text(json.dumps(content))
    settings = dict(type="CocoDataset", data_root=str(folder), ann_file="truth.json", metainfo=dict(classes=CLASSES))
    return DatasetView("val_dataloader.dataset", ConfigDict(settings), "mmdet"), results


def printed(dataset: DatasetView, results: list[Detections], monkeypatch: pytest.MonkeyPatch) -> dict[str, list[float]]:
    """What mmdet's evaluator prints of boxes, and of masks if there are any, before it rounds to three digits."""
    made = []

    class Kept(coco_metric.COCOeval):
        def __init__(self, *arguments: object) -> None:
            super().__init__(*arguments)
            made.append(self)

    monkeypatch.setattr(coco_metric, "COCOeval", Kept)
    kinds = ["bbox"] if results[0].masks is None else ["bbox", "segm"]
    metric = coco_metric.CocoMetric(ann_file=str(dataset.ann_file), metric=kinds)
    metric.dataset_meta = dict(classes=CLASSES)
    for image, result in enumerate(results):
        found = dict(bboxes=result.boxes, scores=result.scores, labels=result.labels)
        found = {name: torch.from_numpy(values.copy()) for name, values in found.items()}
        if result.masks is not None:
            found |= dict(masks=[mask.encode(np.asfortranarray(one.astype(np.uint8))) for one in result.masks])
        metric.process({}, [dict(pred_instances=found, img_id=100 - image, ori_shape=SIZE)])
    metric.evaluate(len(results))
    return {one.params.iouType: one.stats[:6].tolist() for one in made}


@pytest.mark.parametrize(("seed", "ties"), [(0, False), (1, True), (2, True)])
def test_figures_are_those_of_mmdet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int, ties: bool) -> None:
    dataset, results = write_random(tmp_path, seed, ties)
    theirs = printed(dataset, results, monkeypatch)
    paths, truth, sizes = annotated_objects(dataset, masks=True)  # in the order of the ids, not of the file
    by_name = {result.source: result for result in results}
    results = [by_name[Path(path).name] for path in paths]
    found = found_objects(results)
    for kind, objects in (("bbox", found.without_masks()), ("segm", found)):
        ours = Evaluation(truth, objects, len(results), len(CLASSES)).figures()
        assert list(ours) == ["AP", "AP50", "AP75", "AP small", "AP medium", "AP large"]
        np.testing.assert_allclose(list(ours.values()), theirs[kind], rtol=0, atol=1e-12)
        assert 0.1 < ours["AP"] < 0.9
    measured = Validation(dataset, paths, sizes).figures(iter(results))
    expected = {f"{kind} {name}": theirs[kind][index] for kind in theirs for index, name in enumerate(("AP", "AP50"))}
    assert measured == pytest.approx(expected, abs=1e-12)


def test_an_image_of_another_size_than_annotated_is_named(tmp_path: Path) -> None:
    dataset, results = write_random(tmp_path, 0, False)
    paths, _, sizes = annotated_objects(dataset, masks=False)
    by_name = {result.source: result for result in results}
    results = [by_name[Path(path).name] for path in paths]
    results[3] = replace(results[3], size=SIZE[::-1])  # a photograph that EXIF turns
    with pytest.raises(InputError, match=f"image {results[3].source}: 240 x 200 pixels .* annotated as 200 x 240"):
        Validation(dataset, paths, sizes).figures(results)


def test_many_detections_of_a_class_count_as_in_mmdet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first 100 of an image for AP, the first 1000 for the other figures."""
    rng = np.random.default_rng(0)
    corners = np.array([[x, y] for x in range(2, 230, 30) for y in range(2, 190, 28)], dtype=float)
    boxes = np.concatenate([corners, corners + 9], 1)
    images = [dict(id=100, file_name="0.png", height=SIZE[0], width=SIZE[1])]
    entries = [
        dict(id=number, image_id=100, category_id=IDS[0], iscrowd=0, bbox=[*box[:2].tolist(), 9, 9], area=81)
        | dict(segmentation=outline(box, False))
        for number, box in enumerate(boxes, 1)
    ]
    categories = [dict(id=number, name=name) for number, name in zip(IDS, CLASSES, strict=True)]
    content = dict(info={}, images=images, annotations=entries, categories=categories)
    (tmp_path / "truth.json").write_text(json.dumps(content))
    settings = dict(type="CocoDataset", data_root=str(tmp_path), ann_file="truth.json", metainfo=dict(classes=CLASSES))
    dataset = DatasetView("val_dataloader.dataset", ConfigDict(settings), "mmdet")
    found = np.repeat(boxes, 20, axis=0)
    found[:, 2:] += rng.normal(0, 2, (len(found), 2))
    scores = np.sort(rng.random(len(found)).astype(np.float32))[::-1].copy()
    found = found[rng.permutation(len(found))].astype(np.float32)
    result = Detections("0.png", SIZE, found, scores, np.zeros(len(found), np.int64), CLASSES)
    assert len(found) > 1000
    _, truth, _ = annotated_objects(dataset, masks=False)
    ours = Evaluation(truth, found_objects([result]).without_masks(), 1, len(CLASSES)).figures()
    theirs = printed(dataset, [result], monkeypatch)["bbox"]
    told = [value for value in ours.values() if value == value]
    np.testing.assert_allclose(told, [value for value in theirs if value >= 0], rtol=0, atol=1e-12)
    assert 0.01 < ours["AP"] < ours["AP50"] / 2


@pytest.mark.parametrize(
    "shape",
    [
        [[]],
        [[], [1, 2, 3, 4]],
        [[5, 5, 35, 5, 35, 25, 5]],
        dict(size=list(SIZE)),
        dict(counts=[3, 4]),
        dict(size=list(SIZE), counts=[5, 2]),
        dict(size=list(SIZE), counts=[5, -5, SIZE[0] * SIZE[1]]),
    ],
    ids=str,
)
def test_a_mask_of_which_nothing_can_be_drawn_is_named(tmp_path: Path, shape: list | dict) -> None:
    dataset, _ = write_random(tmp_path, 0, False)
    file = tmp_path / "truth.json"
    content = json.loads(file.read_text())
    content["annotations"][2]["segmentation"] = shape
    file.write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"truth.json: 1 annotation of which no mask can be drawn: 7\. Expected polygons"):
        annotated_objects(dataset, masks=True)
    assert annotated_objects(dataset, masks=False)[1].masks is None


def test_polygons_that_mmdet_leaves_out_are_no_part_of_a_mask(tmp_path: Path) -> None:
    dataset, _ = write_random(tmp_path, 0, False)
    file = tmp_path / "truth.json"
    content = json.loads(file.read_text())
    content["annotations"][2]["segmentation"] = [[5, 5, 35, 25], [5, 5, 35, 5, 35, 25, 5, 25], [0, 0, 90, 0, 90, 90, 7], []]
    file.write_text(json.dumps(content))
    masks = annotated_objects(dataset, masks=True)[1].masks
    assert masks is not None
    assert [float(mask.area(one)) for one in masks if float(mask.area(one)) == 600] == [600]


def test_without_detections_or_objects(tmp_path: Path) -> None:
    dataset, results = write_random(tmp_path, 0, False)
    _, truth, _ = annotated_objects(dataset, masks=False)
    none = found_objects([]).without_masks()
    figures = Evaluation(truth, none, len(results), len(CLASSES)).figures()
    assert figures["AP"] == figures["AP50"] == 0
    nothing = truth.select(np.zeros(0, dtype=int))
    found = found_objects(results).without_masks()
    assert np.isnan(list(Evaluation(nothing, found, len(results), len(CLASSES)).figures().values())).all()


def test_many_masks_have_areas() -> None:
    """pycocotools fails on more than 255 at once."""
    masks = np.zeros((300, 40, 50), dtype=bool)
    masks[:, :7, :9] = True
    boxes, scores, labels = np.zeros((300, 4), np.float32), np.ones(300, np.float32), np.zeros(300, np.int64)
    assert found_objects([Detections("x", (40, 50), boxes, scores, labels, ("a",), masks)]).areas.tolist() == [63.0] * 300
