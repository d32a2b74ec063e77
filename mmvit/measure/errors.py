"""Errors of a detector by kind, after TIDE (Bolya et al., arXiv 2008.08115), and the cost of each kind.

A wrong detection is a `place` error if it overlaps an object of its class too little (IoU 0.1 to 0.5), a `class` error if it
overlaps one of another class enough, a `duplicate` if a detection with a higher score has its object, `background` if it
overlaps nothing, and `both` otherwise. An object is `missed` if no correct detection has it, and correcting no class or place
error would find it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .matching import Curve, Pair, match, mean

KINDS = ("class", "place", "both", "duplicate", "background", "missed")
RIGHT, SET_ASIDE = "right", "set aside"
ENOUGH, NEAR = 0.5, 0.1  # IoU


@dataclass(frozen=True)
class Judged:
    """The objects of an image, each with a verdict.

    Attributes:
        verdicts: (D,) for each found object `right`, `set aside` (in a group), or one of `KINDS`.
        targets: (D,) int, the annotated object of a correct detection, or that a class or place error is about; or -1.
        missed: (G,) bool, whether each annotated object is missed.
    """

    pair: Pair
    verdicts: np.ndarray
    targets: np.ndarray
    missed: np.ndarray


def judge(pair: Pair) -> Judged:
    """Return a verdict on each object of an image."""
    found, truth, overlap = pair.found, pair.truth, pair.overlap
    same = found.labels[:, None] == truth.labels[None, :]
    matched = np.full(len(found), -1)
    for label in np.unique(found.labels):
        ours, theirs = np.flatnonzero(found.labels == label), np.flatnonzero(truth.labels == label)
        chosen = match(overlap[np.ix_(ours, theirs)], truth.crowd[theirs], truth.crowd[theirs], ENOUGH)
        matched[ours[chosen >= 0]] = theirs[chosen[chosen >= 0]]
    taken = np.zeros(len(truth), dtype=bool)
    taken[matched[matched >= 0]] = True
    verdicts = np.full(len(found), RIGHT, dtype=object)
    targets = matched.copy()
    singles = np.flatnonzero(~truth.crowd)
    usable = np.zeros(len(truth), dtype=bool)
    for index in range(len(found)):
        if matched[index] >= 0:
            verdicts[index] = SET_ASIDE if truth.crowd[matched[index]] else RIGHT
            continue
        verdicts[index], target = _verdict(overlap[index, singles], same[index, singles], taken[singles])
        if target >= 0:
            target = singles[target]
            # Of class and place errors, only the one with the highest score can be corrected to an object.
            if not taken[target] and not usable[target]:
                targets[index], usable[target] = target, True
    return Judged(pair, verdicts, targets, ~taken & ~truth.crowd & ~usable)


def _verdict(overlap: np.ndarray, same: np.ndarray, taken: np.ndarray) -> tuple[str, int]:
    """Return the kind of a wrong detection's error, and the object that it is about or -1."""
    if not len(overlap):
        return "background", -1
    ours, others = np.where(same, overlap, 0.0), np.where(same, 0.0, overlap)
    if NEAR <= ours.max() <= ENOUGH:
        return "place", int(ours.argmax())
    if others.max() >= ENOUGH:
        return "class", int(others.argmax())
    if (ours * taken).max() >= ENOUGH:
        return "duplicate", -1
    return ("background" if overlap.max() <= NEAR else "both"), -1


def counts(judged: Sequence[Judged], score: float = 0.0) -> dict[str, int]:
    """Return the number of errors of each kind among detections with at least a score; `missed` counts all detections."""
    totals = dict.fromkeys(KINDS, 0)
    for image in judged:
        sure = image.pair.found.scores >= score
        for kind in KINDS[:-1]:
            totals[kind] += int((image.verdicts[sure] == kind).sum())
        totals["missed"] += int(image.missed.sum())
    return totals


def costs(judged: Sequence[Judged], classes: int) -> dict[str, float]:
    """Return by how much AP50 would rise, from 0 to 1, if all errors of one kind were corrected.

    Correcting a class or place error makes the detection correct if its object is free (for each object, only the detection
    with the highest score), otherwise it removes the detection. Correcting any other error removes the detection, or the
    annotation of a missed object.
    """
    before = _ap50(judged, classes, "")
    return {kind: max(0.0, _ap50(judged, classes, kind) - before) for kind in KINDS}


def _ap50(judged: Sequence[Judged], classes: int, mended: str) -> float:
    scores, labels, right = [np.zeros(0)], [np.zeros(0, dtype=np.int64)], [np.zeros(0, dtype=bool)]
    positives = np.zeros(classes, dtype=np.int64)
    for image in judged:
        truth, found = image.pair.truth, image.pair.found
        counted = ~truth.crowd & ~image.missed if mended == "missed" else ~truth.crowd
        positives += np.bincount(truth.labels[counted], minlength=classes)
        kept = image.verdicts != SET_ASIDE
        good = image.verdicts == RIGHT
        named = found.labels.copy()
        wrong = np.flatnonzero(image.verdicts == mended)
        kept[wrong] = False
        mendable = wrong[image.targets[wrong] >= 0]
        kept[mendable] = good[mendable] = True
        named[mendable] = truth.labels[image.targets[mendable]]
        scores.append(found.scores[kept])
        labels.append(named[kept])
        right.append(good[kept])
    scored, named, good = np.concatenate(scores), np.concatenate(labels), np.concatenate(right)
    order = np.argsort(-scored, kind="mergesort")
    scored, named, good = scored[order], named[order], good[order]
    curves = [Curve(scored[named == label], good[named == label], int(positives[label])) for label in range(classes)]
    return mean([one.average_precision for one in curves])
