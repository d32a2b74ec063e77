"""Figures, errors and verdicts of detectors: against COCO's evaluator, and on cases that one can do by hand."""

import contextlib
import io

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from mmvit.look.detection import confusion, figures
from mmvit.measure.errors import KINDS, RIGHT, SET_ASIDE, costs, counts, judge
from mmvit.measure.instances import Instances, box_areas
from mmvit.measure.matching import Curve, Pair, match

CLASSES = 3


def instances(boxes: list, labels: list, scores: list | None = None, crowd: list | None = None) -> Instances:
    corners = np.array(boxes, dtype=float).reshape(-1, 4)
    count = len(corners)
    return Instances(
        corners,
        np.array(labels, dtype=np.int64),
        box_areas(corners),
        np.ones(count) if scores is None else np.array(scores, dtype=float),
        np.zeros(count, dtype=bool) if crowd is None else np.array(crowd, dtype=bool),
    )


def random_pairs(seed: int, images: int = 40) -> list[Pair]:
    """Objects of all sizes, some in groups; detections near them, elsewhere, twice, and of other classes."""
    rng = np.random.default_rng(seed)
    pairs = []
    for _ in range(images):
        count = rng.integers(0, 9)
        corner, sides = (
            rng.uniform(0, 300, (count, 2)),
            rng.choice([12, 30, 60, 150], (count, 2)) * rng.uniform(0.7, 1.3, (count, 2)),
        )
        boxes = np.concatenate([corner, corner + sides], axis=1)
        labels = rng.integers(0, CLASSES, count)
        truth = instances(boxes, labels, crowd=rng.random(count) < 0.1)
        near = np.repeat(np.arange(count), 2)
        found = boxes[near] + rng.normal(0, 0.12, (2 * count, 4)) * np.tile(sides[near], 2)
        found[:, 2:] = np.maximum(found[:, 2:], found[:, :2] + 2)
        named = np.where(rng.random(2 * count) < 0.2, rng.integers(0, CLASSES, 2 * count), labels[near])
        alone = rng.uniform(0, 300, (4, 2))
        found = np.concatenate([found, np.concatenate([alone, alone + 40], axis=1)])
        named = np.concatenate([named, rng.integers(0, CLASSES, 4)])
        pairs.append(Pair.of(truth, instances(found, named, rng.random(len(found)))))
    return pairs


def coco_says(pairs: list[Pair]) -> list[float]:
    told = COCO()
    annotations, results = [], []
    for image, pair in enumerate(pairs, 1):
        for index in range(len(pair.truth)):
            x1, y1, x2, y2 = pair.truth.boxes[index]
            entry = dict(bbox=[x1, y1, x2 - x1, y2 - y1], area=pair.truth.areas[index], iscrowd=int(pair.truth.crowd[index]))
            annotations.append(
                dict(entry, id=len(annotations) + 1, image_id=image, category_id=int(pair.truth.labels[index]) + 1)
            )
        for (x1, y1, x2, y2), label, score in zip(pair.found.boxes, pair.found.labels, pair.found.scores, strict=True):
            results.append(dict(image_id=image, category_id=int(label) + 1, bbox=[x1, y1, x2 - x1, y2 - y1], score=score))
    images = [dict(id=image, width=500, height=500) for image in range(1, len(pairs) + 1)]
    categories = [dict(id=label + 1, name=str(label)) for label in range(CLASSES)]
    told.dataset = dict(images=images, annotations=annotations, categories=categories, info={})
    with contextlib.redirect_stdout(io.StringIO()):
        told.createIndex()
        evaluation = COCOeval(told, told.loadRes(results), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation.stats[:6].tolist()


@pytest.mark.parametrize("seed", range(3))
def test_average_precision_is_cocos(seed: int) -> None:
    pairs = random_pairs(seed)
    told = figures(pairs, CLASSES)
    assert list(told) == ["AP", "AP50", "AP75", "AP small", "AP medium", "AP large"]
    np.testing.assert_allclose(list(told.values()), coco_says(pairs), atol=1e-12)
    assert 0.1 < told["AP"] < 0.9


def test_each_kind_of_error() -> None:
    truth = instances([[0, 0, 100, 100], [200, 0, 300, 100], [0, 200, 100, 300], [0, 400, 50, 450]], [0, 0, 1, 2])
    found = instances(
        [
            [0, 0, 100, 98],  # right
            [0, 0, 98, 100],  # the same once more
            [200, 0, 300, 40],  # half of the second
            [0, 200, 100, 295],  # the third, of another class
            [50, 250, 150, 350],  # a corner of the third, of another class
            [350, 350, 400, 400],  # nothing
        ],
        [0, 0, 0, 2, 0, 1],
        [0.9, 0.8, 0.7, 0.6, 0.5, 0.4],
    )
    judged = judge(Pair.of(truth, found))
    assert judged.verdicts.tolist() == [RIGHT, "duplicate", "place", "class", "both", "background"]
    assert judged.targets.tolist() == [0, -1, 1, 2, -1, -1]
    assert judged.missed.tolist() == [False, False, False, True]
    assert counts([judged]) == dict.fromkeys(KINDS, 1)
    assert counts([judged], score=0.65) == {**dict.fromkeys(KINDS, 0), "duplicate": 1, "place": 1, "missed": 1}


def test_what_mending_brings() -> None:
    truth = instances([[0, 0, 100, 100], [200, 0, 300, 100]], [0, 1])
    found = instances([[0, 0, 100, 40], [200, 0, 300, 98]], [0, 0], [0.9, 0.8])  # a place error, a class error
    cost = costs([judge(Pair.of(truth, found))], 2)
    assert cost["place"] == pytest.approx(0.5)  # class 0 has AP 1 then, class 1 still 0
    assert cost["class"] == pytest.approx(0.5)
    assert [cost[kind] for kind in ("both", "duplicate", "background", "missed")] == [0, 0, 0, 0]


def test_a_group_takes_any_number_and_costs_nothing() -> None:
    truth = instances([[0, 0, 200, 200], [300, 0, 340, 40]], [0, 0], crowd=[True, False])
    found = instances([[10, 10, 50, 50], [60, 60, 90, 90], [300, 0, 340, 40]], [0, 0, 0], [0.9, 0.8, 0.7])
    pair = Pair.of(truth, found)
    judged = judge(pair)
    assert judged.verdicts.tolist() == [SET_ASIDE, SET_ASIDE, RIGHT]
    assert not judged.missed.any()
    assert figures([pair], 1)["AP50"] == 1
    assert confusion([pair], 1, 0.0).tolist() == [[1, 0], [0, 0]]


def test_the_confusion_matrix() -> None:
    truth = instances([[0, 0, 40, 40], [100, 0, 140, 40], [200, 0, 240, 40]], [0, 1, 1])
    found = instances(
        [[0, 0, 40, 40], [100, 0, 140, 40], [300, 0, 340, 40], [200, 0, 240, 40]], [0, 0, 1, 1], [0.9, 0.8, 0.7, 0.1]
    )
    told = confusion([Pair.of(truth, found)], 2, score=0.3)
    assert told.tolist() == [[1, 0, 0], [1, 0, 1], [0, 1, 0]]


def test_the_surest_chooses_first_and_what_it_took_is_gone() -> None:
    overlap = np.array([[0.8, 0.6], [0.9, 0.55], [0.7, 0.1]])
    none = np.zeros(2, dtype=bool)
    assert match(overlap, none, none, 0.5).tolist() == [0, 1, -1]
    assert match(overlap, np.array([True, False]), none, 0.5).tolist() == [1, 0, -1]


def test_the_best_score() -> None:
    one = Curve(np.array([0.9, 0.8, 0.7, 0.6]), np.array([True, True, False, False]), positives=2)
    assert one.best_score == (0.8, 1.0)
    assert Curve(np.zeros(0), np.zeros(0, dtype=bool), positives=0).average_precision != 0  # not a number
