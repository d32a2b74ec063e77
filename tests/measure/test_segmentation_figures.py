"""Figures of segmenters against mmseg's evaluator."""

import numpy as np
import pytest
import torch
from mmseg.evaluation import IoUMetric

from mmvit.look.segmentation import Tally
from mmvit.measure.calibration import Calibration
from mmvit.measure.segmentation import by_class, confusion, figures, ignored_of

pytestmark = pytest.mark.stack


@pytest.mark.parametrize("ignored", [255, 2])
def test_figures_are_those_of_mmseg(ignored: int) -> None:
    rng = np.random.default_rng(0)
    classes = 5  # the last of which occurs nowhere
    pixels, areas = np.zeros((classes + 1, classes), dtype=np.int64), []
    for _ in range(4):
        truth = rng.choice([0, 1, 2, 3, 3, 9, 255], (60, 70)).astype(np.uint8)  # 9 is no class
        found = np.where(rng.random(truth.shape) < 0.6, np.minimum(truth, 3), rng.integers(0, 4, truth.shape))
        pixels += confusion(truth, found, classes, ignored)
        areas.append(IoUMetric.intersect_and_union(torch.from_numpy(found), torch.from_numpy(truth), classes, ignored))
    theirs = IoUMetric.total_area_to_metrics(*(sum(part) for part in zip(*areas, strict=True)))
    for name in ("IoU", "Acc"):
        np.testing.assert_allclose(by_class(pixels)[name], theirs[name], rtol=1e-6)
    ours = figures(pixels)
    assert ours["mIoU"] == pytest.approx(100 * np.nanmean(theirs["IoU"]), rel=1e-6)
    assert ours["aAcc"] == pytest.approx(100 * float(theirs["aAcc"]), rel=1e-6)
    assert 30 < ours["mIoU"] < 90
    assert np.isnan(by_class(pixels)["IoU"][4])


def test_the_label_that_an_evaluator_ignores() -> None:
    assert ignored_of(None) == ignored_of(dict(type="IoUMetric")) == 255
    assert ignored_of([dict(type="IoUMetric"), dict(type="mmvit.BinaryMetric", ignore_index=7)]) == 7


def test_an_ignored_label_is_in_no_statistic() -> None:
    tally = Tally(3, binary=True, ignored=2)
    truth = np.full((8, 8), 2, np.uint8)
    truth[:4] = 1
    found = np.ones((8, 8), np.int64)
    tally.add("image", truth, found, np.full((8, 8), 0.9))
    assert tally.pixels.tolist() == [[0, 0, 0], [0, 32, 0], [0, 0, 0], [0, 0, 0]]
    assert tally.calibration.numbers.sum() == tally.places[:, 0].sum() == 32
    assert tally.segments == [(32, 1.0)]
    assert tally.singles[0]["Dice"] == tally.images[0].right == tally.images[0].iou == 1


def test_calibration() -> None:
    calibration = Calibration()
    calibration.add(np.array([0.9, 0.92, 1.0]), np.array([True, False, True]))
    calibration.add(np.array([0.15]), np.array([False]))
    assert calibration.numbers.tolist() == [0, 1, 0, 0, 0, 0, 0, 0, 0, 3]
    assert calibration.shares[9] == pytest.approx(2 / 3)
    assert calibration.error == pytest.approx((abs(0.94 - 2 / 3) * 3 + 0.15) / 4)
