"""Matching of found and annotated objects, and average precision, by the rules of COCO's evaluator.

Detections choose in the order of their scores, each the annotated object of its class that it overlaps most. Groups (`iscrowd`)
and objects outside the range of sizes are *set aside*: detections that match them are not counted, and neither are detections
that match nothing and are outside the range themselves.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf

import numpy as np

from .instances import Instances, overlaps

THRESHOLDS = tuple(np.linspace(0.5, 0.95, 10).tolist())  # IoU
RECALLS = np.linspace(0, 1, 101)
MOST = 100  # detections of an image
RANGES = {"all": (0.0, inf), "small": (0.0, 32.0**2), "medium": (32.0**2, 96.0**2), "large": (96.0**2, inf)}  # area


@dataclass(frozen=True)
class Pair:
    """Annotated and found objects of an image, the latter sorted by score and at most `MOST`, and their overlaps (D, G)."""

    truth: Instances
    found: Instances
    overlap: np.ndarray

    @classmethod
    def of(cls, truth: Instances, found: Instances) -> "Pair":
        order = np.argsort(-found.scores, kind="stable")[:MOST]
        found = found.select(order)
        return cls(truth, found, overlaps(found, truth))


def match(overlap: np.ndarray, aside: np.ndarray, crowd: np.ndarray, threshold: float) -> np.ndarray:
    """Return for each detection, highest score first, the index of its annotated object or -1: (D,).

    Args:
        overlap: (D, G), for one class.
        aside: (G,) bool, objects that are taken only if no other fits.
        crowd: (G,) bool, groups, which any number of detections may take.
        threshold: least IoU.
    """
    matched = np.full(len(overlap), -1)
    free = np.ones(overlap.shape[1], dtype=bool)
    for index in np.flatnonzero((overlap >= threshold).any(axis=1)):
        for choice in (~aside, aside):
            fits = np.where(free & choice, overlap[index], -1.0)
            best = len(fits) - 1 - int(np.argmax(fits[::-1]))  # the last of equal ones, like COCO's evaluator
            if fits[best] >= threshold:
                matched[index] = best
                free[best] = crowd[best]
                break
    return matched


@dataclass(frozen=True)
class Curve:
    """Detections of one class over all images at one IoU, highest score first.

    Attributes:
        scores: (N,).
        right: (N,) bool, whether each is correct.
        positives: number of annotated objects that count.
    """

    scores: np.ndarray
    right: np.ndarray
    positives: int

    @property
    def precision(self) -> np.ndarray:
        return np.cumsum(self.right) / np.arange(1, len(self.right) + 1)

    @property
    def recall(self) -> np.ndarray:
        return np.cumsum(self.right) / max(self.positives, 1)

    @property
    def at_recalls(self) -> np.ndarray:
        """Return the best precision at each of `RECALLS` or a higher recall, (101,)."""
        sampled = np.zeros(len(RECALLS))
        if len(self.right):
            envelope = np.maximum.accumulate(self.precision[::-1])[::-1]
            places = np.searchsorted(self.recall, RECALLS, side="left")
            inside = places < len(envelope)
            sampled[inside] = envelope[places[inside]]
        return sampled

    @property
    def average_precision(self) -> float:
        """Return the mean of `at_recalls`; NaN if nothing is annotated."""
        return float(self.at_recalls.mean()) if self.positives else float("nan")

    @property
    def best_score(self) -> tuple[float, float]:
        """Return the score threshold with the best harmonic mean of precision and recall (F1), and that mean."""
        if not self.right.any():
            return float("nan"), 0.0
        precision, recall = self.precision, self.recall
        means = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
        best = int(means.argmax())
        return float(self.scores[best]), float(means[best])


@dataclass(frozen=True)
class OneClass:
    """The part of a `Pair` that is of one class: D found and G annotated objects."""

    scores: np.ndarray
    areas: np.ndarray
    overlap: np.ndarray
    truth_areas: np.ndarray
    crowd: np.ndarray


def by_class(pairs: Sequence[Pair], classes: int) -> list[list[OneClass]]:
    """Return for each class its parts of the images in which it is annotated or found."""
    parts: list[list[OneClass]] = [[] for _ in range(classes)]
    for pair in pairs:
        found, truth = pair.found, pair.truth
        for label in np.union1d(found.labels, truth.labels).tolist():
            ours, theirs = np.flatnonzero(found.labels == label), np.flatnonzero(truth.labels == label)
            overlap = pair.overlap[np.ix_(ours, theirs)]
            part = OneClass(found.scores[ours], found.areas[ours], overlap, truth.areas[theirs], truth.crowd[theirs])
            parts[label].append(part)
    return parts


def curves(
    parts: Sequence[OneClass], thresholds: Sequence[float] = THRESHOLDS, area: tuple[float, float] = RANGES["all"]
) -> list[Curve]:
    """Return the curve of a class at each IoU, for objects in a range of areas."""
    scores = np.concatenate([np.zeros(0), *(part.scores for part in parts)])
    areas = np.concatenate([np.zeros(0), *(part.areas for part in parts)])
    right = np.zeros((len(thresholds), len(scores)), dtype=bool)
    counted = np.tile((areas >= area[0]) & (areas <= area[1]), (len(thresholds), 1))
    positives = begin = 0
    for part in parts:
        end = begin + len(part.scores)
        if len(part.truth_areas):
            aside = part.crowd | (part.truth_areas < area[0]) | (part.truth_areas > area[1])
            positives += int((~aside).sum())
            most = part.overlap.max(initial=0)
            for row, threshold in enumerate(thresholds):
                if most < threshold:
                    break
                matched = match(part.overlap, aside, part.crowd, threshold)
                hits = np.flatnonzero(matched >= 0)
                right[row, begin + hits] = True
                counted[row, begin + hits] = ~aside[matched[hits]]
        begin = end
    order = np.argsort(-scores, kind="mergesort")
    return [
        Curve(scores[order][kept[order]], good[order][kept[order]], positives)
        for kept, good in zip(counted, right, strict=True)
    ]


def mean(values: Sequence[float] | np.ndarray) -> float:
    """Return the mean of the values that are not NaN; NaN if there are none."""
    numbers = [value for value in values if value == value]
    return float(np.mean(numbers)) if numbers else float("nan")


def precisions(parts: Sequence[Sequence[OneClass]], area: str = "all") -> np.ndarray:
    """Return AP of each class at each of `THRESHOLDS`, (classes, 10); NaN if a class has no objects."""
    rows = [[one.average_precision for one in curves(ours, area=RANGES[area])] for ours in parts]
    return np.array(rows).reshape(-1, len(THRESHOLDS))
