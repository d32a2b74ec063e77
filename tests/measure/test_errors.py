"""Verdicts on detections, on cases that one can do by hand."""

import numpy as np
import pytest

from mmvit.config.datasets import chosen
from mmvit.look.detection import best_score, worst_images
from mmvit.measure.coco import Evaluation
from mmvit.measure.errors import KINDS, RIGHT, SET_ASIDE, Judged, confusion, costs, counts, judge
from mmvit.measure.objects import Objects, joined


def objects(
    boxes: list, labels: list, scores: list | None = None, crowd: list | None = None, images: list | None = None
) -> Objects:
    corners = np.array(boxes, dtype=float).reshape(-1, 4)
    count = len(corners)
    return Objects(
        np.zeros(count, dtype=int) if images is None else np.array(images),
        corners,
        np.array(labels, dtype=np.int64),
        (corners[:, 2:] - corners[:, :2]).prod(axis=1),
        np.full(count, np.nan) if scores is None else np.array(scores, dtype=float),
        np.zeros(count, dtype=bool) if crowd is None else np.array(crowd, dtype=bool),
    )


def judged(truth: Objects, found: Objects, classes: int, images: int = 1) -> Judged:
    return judge(Evaluation(truth, found, images, classes))


def test_each_kind_of_error() -> None:
    truth = objects([[0, 0, 100, 100], [200, 0, 300, 100], [0, 200, 100, 300], [0, 400, 50, 450]], [0, 0, 1, 2])
    found = objects(
        [
            [350, 350, 400, 400],  # nothing
            [0, 0, 100, 98],  # right
            [0, 0, 98, 100],  # the same once more
            [200, 0, 300, 40],  # half of the second
            [0, 200, 100, 295],  # the third, of another class
            [50, 250, 150, 350],  # a corner of the third, of another class
        ],
        [1, 0, 0, 0, 2, 0],
        [0.4, 0.9, 0.8, 0.7, 0.6, 0.5],
    )
    verdict = judged(truth, found, 3)
    assert verdict.found.scores.tolist() == [0.9, 0.8, 0.7, 0.6, 0.5, 0.4]
    assert verdict.verdicts.tolist() == [RIGHT, "duplicate", "place", "class", "both", "background"]
    assert verdict.targets.tolist() == [0, -1, 1, 2, -1, -1]
    assert verdict.missed.tolist() == [False, False, False, True]
    assert verdict.hits(0.5).tolist() == [True, False, False, False]
    assert counts(verdict) == dict.fromkeys(KINDS, 1)
    assert counts(verdict, score=0.65) == {**dict.fromkeys(KINDS, 0), "duplicate": 1, "place": 1, "missed": 1}


def test_more_than_a_hundred_objects_in_an_image() -> None:
    places = [[x, y, x + 15, y + 15] for x in range(0, 300, 20) for y in range(0, 240, 20)]
    labels = [place % 3 for place in range(len(places))]
    verdict = judged(objects(places, labels), objects(places, labels, np.linspace(0.9, 0.5, len(places)).tolist()), 3)
    assert verdict.hits(0.3).sum() == len(places) == 180
    assert not any(counts(verdict).values())
    assert not any(costs(verdict, 3).values())


def test_what_correcting_brings() -> None:
    truth = objects([[0, 0, 100, 100], [200, 0, 300, 100]], [0, 1])
    found = objects([[0, 0, 100, 40], [200, 0, 300, 98]], [0, 0], [0.9, 0.8])  # a place error, a class error
    cost = costs(judged(truth, found, 2), 2)
    assert cost["place"] == pytest.approx(0.5)  # class 0 has AP 1 then, class 1 still 0
    assert cost["class"] == pytest.approx(0.5)
    assert [cost[kind] for kind in ("both", "duplicate", "background", "missed")] == [0, 0, 0, 0]


def test_a_group_takes_any_number_and_costs_nothing() -> None:
    truth = objects([[0, 0, 200, 200], [300, 0, 340, 40]], [0, 0], crowd=[True, False])
    found = objects([[10, 10, 50, 50], [60, 60, 90, 90], [300, 0, 340, 40]], [0, 0, 0], [0.9, 0.8, 0.7])
    verdict = judged(truth, found, 1)
    assert verdict.verdicts.tolist() == [SET_ASIDE, SET_ASIDE, RIGHT]
    assert not verdict.missed.any()
    assert Evaluation(truth, found, 1, 1).figures()["AP50"] == pytest.approx(1)
    assert confusion(verdict, 1, 0.0).tolist() == [[1, 0], [0, 0]]


def test_the_confusion_matrix_and_the_worst_image() -> None:
    truth = objects([[0, 0, 40, 40], [100, 0, 140, 40], [200, 0, 240, 40], [0, 0, 40, 40]], [0, 1, 1, 0], images=[1, 1, 1, 0])
    found = objects(
        [[0, 0, 40, 40], [100, 0, 140, 40], [300, 0, 340, 40], [200, 0, 240, 40], [0, 0, 40, 40]],
        [0, 0, 1, 1, 0],
        [0.9, 0.8, 0.7, 0.1, 0.6],
        images=[1, 1, 1, 1, 0],
    )
    verdict = judged(truth, found, 2, images=3)
    assert confusion(verdict, 2, score=0.3).tolist() == [[2, 0, 0], [1, 0, 1], [0, 1, 0]]
    assert worst_images(verdict, 3, 0.3).tolist() == [1, 0, 2]  # the last one is empty


def test_the_best_score() -> None:
    assert best_score(np.array([0.9, 0.8, 0.7, 0.6]), np.array([True, True, False, False]), 2) == (0.8, 1.0)
    assert np.isnan(best_score(np.zeros(0), np.zeros(0, dtype=bool), 0)[0])


def test_several_lists_of_images_are_one() -> None:
    """The second list of two images begins at number 3, of the first one's three."""
    first, second = (objects([[images[1]] * 4] * 2, [0, 0], images=images) for images in ([0, 2], [0, 1]))
    found = joined([first, second], [0, 3])
    assert found.images.tolist() == [0, 2, 3, 4]
    assert found.boxes[:, 0].tolist() == [2, 2, 1, 1]


@pytest.mark.parametrize(("indices", "left"), [(None, [0, 1, 2, 3]), (3, [0, 1, 2]), (-1, [3]), ([3, 0], [3, 0])])
def test_several_ways_to_leave_images_out(indices: object, left: list[int]) -> None:
    assert chosen([0, 1, 2, 3], indices) == left
