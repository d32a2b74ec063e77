"""What the page on a detector shows: its figures, its errors by kind, and its worst images."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..measure.calibration import Calibration
from ..measure.coco import AREAS, RECALLS, Evaluation, mean
from ..measure.errors import KINDS, SET_ASIDE, Judged, confusion, costs, counts, judge
from ..measure.objects import Objects
from ..predict.results import shared
from . import charts, page
from .charts import Axis, lengths, number, share
from .pictures import LEGEND, judged_pictures

SHOWN = 12  # classes in a chart, and images
CROWDS = ((1, 1), (2, 4), (5, 9), (10, 19), (20, 10**9))  # objects in an image

ReadImage = Callable[[str], np.ndarray]


@dataclass(frozen=True)
class Detected:
    """A detector's results on annotated images."""

    paths: Sequence[str]  # files of the images
    truth: Objects  # annotated in them
    found: Objects
    classes: tuple[str, ...]  # their names
    score: float  # least score of a detection that counts as positive
    sets: Mapping[str, np.ndarray]  # the images of each dataset, by its name

    def evaluation(self, found: Objects) -> Evaluation:
        return Evaluation(self.truth, found, len(self.paths), len(self.classes))


def report(detected: Detected, read: ReadImage) -> tuple[dict[str, float], dict[str, Any]]:
    """Return COCO's figures of boxes, or of masks followed by `box FIGURE`, and what the page shows."""
    evaluation, masks = detected.evaluation(detected.found), detected.found.masks is not None
    judged, metrics = judge(evaluation), evaluation.figures()
    names = [*detected.classes, "(background)"]
    matrix = confusion(judged, len(detected.classes), detected.score)
    sets = {name: evaluation.figures(images) for name, images in detected.sets.items()}
    boxes = detected.evaluation(detected.found.without_masks()).figures() if masks else {}
    of_boxes = {f"box {figure}": value for figure, value in boxes.items()}
    return page.with_sets(metrics, sets) | of_boxes, dict(
        sets=page.side_by_side(sets, {name: len(images) for name, images in detected.sets.items()}),
        kind="masks" if masks else "boxes",
        score=f"{detected.score:g}",
        metrics=metrics,
        boxes=boxes,
        images=len(detected.paths),
        objects=int(judged.single.sum()),
        **_classes(detected, evaluation, judged),
        **_errors(judged, detected),
        matrix=page.confusion(matrix, names, names, "times"),
        **_calibration(judged),
        **_recall(judged, detected),
        sizes={f"AP {name}": metrics[f"AP {name}"] for name in AREAS[1:]},
        crowds=list(_crowds(judged, evaluation)),
        colours={name: f"rgb{colour}" for name, colour in LEGEND.items()},
        worst=page.shown(_worst(detected, judged, read)),
    )


def _classes(detected: Detected, evaluation: Evaluation, judged: Judged) -> dict[str, Any]:
    positives = np.bincount(judged.truth.labels[judged.single], minlength=len(detected.classes))
    rows = []
    for label, name in enumerate(detected.classes):
        ours = np.flatnonzero((judged.found.labels == label) & (judged.verdicts != SET_ASIDE))
        ours = ours[np.argsort(-judged.found.scores[ours], kind="stable")]
        scores, right, precision = judged.found.scores[ours], judged.right[ours], evaluation.precision[:, :, label, 0]
        sure, there = scores >= detected.score, int(positives[label])
        hits, (threshold, best) = int(right[sure].sum()), best_score(scores, right, there)
        rows.append(
            [
                *(name, number(mean(precision)), number(mean(precision[0])), number(mean(precision[5])), str(there)),
                *(str(sure.sum()), _ratio(hits, sure.sum()), _ratio(hits, there), number(threshold, 2), number(best)),
            ]
        )
    at_half = evaluation.precision[0, :, :, 0]
    order = [label for label in np.argsort(-positives, kind="stable") if positives[label]]
    lines = {detected.classes[label]: (RECALLS, at_half[:, label]) for label in order[:SHOWN]}
    if len(order) > 1:
        lines["mean of all"] = (RECALLS, at_half[:, order].mean(axis=1))
    drawn = charts.curves(lines, "Precision and recall at IoU 0.5", Axis("recall"), Axis("interpolated precision"))
    return dict(classes=rows, curves=drawn)


def best_score(scores: np.ndarray, right: np.ndarray, positives: int) -> tuple[float, float]:
    """Return the score threshold with the best harmonic mean of precision and recall (F1), and that mean.

    Args:
        scores, right: scores of detections, highest first, and whether each is correct.
        positives: number of annotated objects.
    """
    if not right.any():
        return float("nan"), 0.0
    means = 2 * np.cumsum(right) / (np.arange(1, len(right) + 1) + positives)
    best = int(means.argmax())
    return float(scores[best]), float(means[best])


def _ratio(part: int, whole: int) -> str:
    return share(part / whole if whole else float("nan"))


def _errors(judged: Judged, detected: Detected) -> dict[str, Any]:
    cost, every, sure = costs(judged, len(detected.classes)), counts(judged), counts(judged, detected.score)
    sure_of = {kind: charts.NOTHING if kind == "missed" else str(sure[kind]) for kind in KINDS}
    return dict(
        costs=lengths(cost) if any(cost.values()) else [], errors=[[kind, str(every[kind]), sure_of[kind]] for kind in KINDS]
    )


def _calibration(judged: Judged) -> dict[str, Any]:
    calibration, counted = Calibration(), judged.verdicts != SET_ASIDE
    calibration.add(judged.found.scores[counted], judged.right[counted])
    return charts.calibrated(calibration, "precision", "detections")


def _recall(judged: Judged, detected: Detected) -> dict[str, Any]:
    """Return the recall of objects by size, and by the number of boxes that theirs overlaps."""
    near = np.zeros(len(judged.truth), dtype=int)
    for rows in judged.truth.rows(len(detected.paths)):
        boxes = judged.truth.boxes[rows]
        near[rows] = np.minimum((shared(boxes, boxes) > 0).sum(axis=1) - 1, 3)  # without itself
    near, hits = near[judged.single], judged.hits(detected.score)[judged.single]
    names = ("alone", "overlaps one", "overlaps two", "overlaps more")
    by_crowding = {f"{name} ({(near == few).sum()})": near == few for few, name in enumerate(names)}
    by_size = charts.by_size(np.sqrt(judged.truth.areas[judged.single]))
    return {
        key: lengths({name: float(hits[ours].mean()) for name, ours in groups.items() if ours.any()}, 1)
        for key, groups in (("by_size", by_size), ("by_crowding", by_crowding))
    }


def _crowds(judged: Judged, evaluation: Evaluation) -> Iterator[list[str]]:
    objects = np.bincount(judged.truth.images[judged.single], minlength=evaluation.images)
    for low, high in CROWDS:
        images = np.flatnonzero((low <= objects) & (objects <= high))
        if len(images):
            name = f"{low}" if low == high else f"{low} to {high}" if high < 10**9 else f"{low} or more"
            metrics = evaluation.figures(images)
            yield [name, str(len(images)), number(metrics["AP"]), number(metrics["AP50"])]


def worst_images(judged: Judged, images: int, score: float) -> np.ndarray:
    """Return the images, the worst first: by F1 of the detections with at least a score, then by the number of errors."""
    sure = judged.found.scores >= score
    right, wrong = (np.bincount(judged.found.images[sure & kind], minlength=images) for kind in (judged.right, judged.wrong))
    there = np.bincount(judged.truth.images[judged.single], minlength=images)
    total = right + wrong + there
    return np.lexsort((right - wrong - there, np.where(total > 0, 2 * right / np.maximum(total, 1), 1.0)))


def _worst(detected: Detected, judged: Judged, read: ReadImage) -> Iterator[tuple[list[np.ndarray], str]]:
    images = len(detected.paths)
    rows = list(zip(judged.truth.rows(images), judged.found.rows(images), strict=True))
    for image in worst_images(judged, images, detected.score)[:SHOWN]:
        path, (theirs, ours) = detected.paths[image], rows[image]
        kinds = Counter(judged.verdicts[ours][judged.found.scores[ours] >= detected.score].tolist())
        words = [f"{judged.hits(detected.score)[theirs].sum()} of {judged.single[theirs].sum()} found"]
        words += [f"{kinds[kind]} {kind}" for kind in KINDS if kinds[kind]]
        yield judged_pictures(read(path), judged, rows[image], detected.classes, detected.score), f"{path}: {', '.join(words)}"
