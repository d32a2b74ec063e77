"""Figures of binary segmentation beside those of PySODMetrics 1.6.2 for the same maps, and in cases that one can see."""

import numpy as np
import pytest
import torch
from mmengine.registry import METRICS

from mmvit.errors import InputError
from mmvit.measure.binary import dice, dice_by_threshold, figures, nearest_best

# python -c of PySODMetrics 1.6.2 on the maps of `case`, in an environment of its own: Smeasure, the mean of Emeasure's curve,
# WeightedFmeasure, MAE
THEIRS = (
    (0.6507376711369552, 0.562869460427176, 0.36103932409254547, 0.27937998007968123),
    (0.6707237381583037, 0.5788388655609724, 0.3751510483515801, 0.270764163372859),
    (0.6736671687359554, 0.5779635927169977, 0.3761453057392602, 0.2712985836627141),
)


def case(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """An ellipse, and noisy probabilities of it that rise to the right, in 256 steps."""
    noise = np.random.default_rng(seed)
    y, x = np.mgrid[:60, :80]
    truth = ((y - 20 - seed) ** 2 / 150 + (x - 30 - 3 * seed) ** 2 / 400) < 1
    found = 1 / (1 + np.exp(-(3 * truth - 1.2 + noise.normal(0, 1.0, truth.shape) + 0.03 * (x - 40))))
    return np.round(found * 255) / 255, truth


@pytest.mark.parametrize("seed", range(3))
def test_figures_are_those_of_pysodmetrics(seed: int) -> None:
    found = figures(*case(seed))
    assert [found[name] for name in ("S", "E", "wF", "MAE")] == pytest.approx(THEIRS[seed], abs=1e-9)


def test_perfect_maps_and_inverted_ones() -> None:
    truth = case(0)[1]
    right, wrong = figures(truth.astype(float), truth), figures(1.0 - truth, truth)
    assert right == pytest.approx(dict(S=1, E=1, wF=1, MAE=0), abs=5e-3)
    assert wrong == pytest.approx(dict(S=0, E=0, wF=0, MAE=1), abs=5e-3)


@pytest.mark.parametrize("value", [True, False])
def test_images_without_object_or_without_background(value: bool) -> None:
    truth = np.full((20, 30), value)
    found = figures(truth.astype(float), truth)
    assert (found["S"], found["MAE"]) == (1, 0)
    assert found["E"] == pytest.approx(1, abs=0.01)
    assert dice(truth, truth) == 1
    assert dice(~truth, truth) == 0


@pytest.mark.stack
def test_the_metric_averages_images_and_leaves_ignored_pixels_out() -> None:
    metric = METRICS.build(dict(type="mmvit.BinaryMetric", iou_metrics=["mIoU"], sets=["a", "b"]))
    metric.dataset_meta = dict(classes=("background", "foreground"))
    expected = []
    for seed in (0, 1):
        found, truth = case(seed)
        labels = truth.astype(np.int64)
        expected.append((figures(found, truth), dice(found > 0.5, truth)))
        if seed:  # a stripe that nothing is known about, found at random
            labels = np.concatenate([labels, np.full((5, 80), 255)])
            found = np.concatenate([found, np.random.default_rng(0).random((5, 80))])
            truth = np.concatenate([truth, np.zeros((5, 80), bool)])
            clean = np.concatenate([found[:60], np.zeros((5, 80))])
            expected[-1] = (figures(clean, truth), expected[-1][1])
        sample = dict(
            gt_sem_seg=dict(data=torch.from_numpy(labels)[None]),
            pred_sem_seg=dict(data=torch.from_numpy(found > 0.5).long()[None]),
            seg_logits=dict(data=torch.from_numpy(found)[None]),
            img_path=f"data/{'ab'[seed]}/images/1.jpg",
        )
        metric.process({}, [sample])
    result = metric.evaluate(2)
    assert result["Dice"] == pytest.approx(np.mean([score for _, score in expected]), abs=1e-4)
    for name in ("S", "E", "wF", "MAE"):
        assert result[name] == pytest.approx(np.mean([entry[name] for entry, _ in expected]), abs=1e-4)
    assert 0 < result["mIoU"] < 100
    for place, name in enumerate("ab"):  # the sets apart
        assert result[f"{name}/Dice"] == pytest.approx(expected[place][1], abs=1e-4)
        assert result[f"{name}/S"] == pytest.approx(expected[place][0]["S"], abs=1e-4)
    assert result["best Dice"] >= result["Dice"]
    with pytest.raises(InputError, match=r"image other/1.jpg: of none of the test sets a, b"):
        metric.process({}, [dict(sample, img_path="other/1.jpg")])


@pytest.mark.stack
def test_test_sets_stand_side_by_side() -> None:
    from mmvit.measure.binary_metric import table

    lines = table({"Kvasir": {"Dice": 0.91234, "MAE": 0.01}, "CVC": {"Dice": 1.0, "MAE": 0.5}}).splitlines()
    assert [line.strip("| ").split() for line in lines if "0." in line] == [
        ["Kvasir", "|", "0.9123", "|", "0.0100"],
        ["CVC", "|", "1.0000", "|", "0.5000"],
    ]


def test_the_threshold_with_the_highest_dice_is_found() -> None:
    found, truth = case(0)
    curve = dice_by_threshold(found, truth)
    assert curve == pytest.approx([dice(found > t, truth) for t in np.arange(1, 100) / 100])
    assert nearest_best(curve) == pytest.approx((1 + np.argmax(curve)) / 100, abs=0.02)
    nothing = np.zeros((4, 4))
    assert dice_by_threshold(nothing, nothing > 0).tolist() == [1.0] * 99
    assert nearest_best(np.ones(99)) == 0.5
