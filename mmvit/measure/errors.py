"""Errors of a detector by kind, after TIDE (Bolya et al., arXiv 2008.08115), and the cost of each kind.

A wrong detection is a `place` error if it overlaps an object of its class too little (IoU 0.1 to 0.5), a `class` error if it
overlaps one of another class enough, a `duplicate` if a detection with a higher score has its object, `background` if it
overlaps nothing, and `both` otherwise. An object is `missed` if no correct detection has it, and correcting no class or place
error would find it.
"""

from dataclasses import dataclass, replace

import numpy as np

from .coco import ENOUGH, Evaluation, accumulated, mean
from .objects import Objects

KINDS = ("class", "place", "both", "duplicate", "background", "missed")
RIGHT, SET_ASIDE = "right", "set aside"
NEAR = 0.1  # IoU


@dataclass(frozen=True)
class Judged:
    """Objects with verdicts."""

    truth: Objects  # the annotated objects
    found: Objects  # the found objects by image, in each the highest scores first
    verdicts: np.ndarray  # (D,) for each found object `right`, `set aside` (in a group), or one of `KINDS`
    targets: np.ndarray  # (D,) the annotated object of a correct detection, or that a class or place error is about; or -1
    nearest: np.ndarray  # (D,) the annotated object of any class that each found one takes at IoU 0.5, or -1
    missed: np.ndarray  # (G,) bool, whether each annotated object is missed

    @property
    def right(self) -> np.ndarray:
        return self.verdicts == RIGHT

    @property
    def wrong(self) -> np.ndarray:
        return np.isin(self.verdicts, KINDS)

    @property
    def single(self) -> np.ndarray:
        """(G,) bool, whether each annotated object counts: it is no group."""
        return ~self.truth.crowd

    def hits(self, score: float) -> np.ndarray:
        """Return whether detections with at least a score found each annotated object, (G,)."""
        return np.isin(np.arange(len(self.truth)), self.targets[self.right & (self.found.scores >= score)])


def judge(evaluation: Evaluation) -> Judged:
    """Return the verdicts on the objects of an evaluation."""
    truth, images = evaluation.truth, evaluation.images
    order = [rows[np.argsort(-evaluation.found.scores[rows], kind="stable")] for rows in evaluation.found.rows(images)]
    kept = np.concatenate([np.zeros(0, dtype=int), *order])
    found, matched = evaluation.found.select(kept), evaluation.matched[kept]
    one_class = [replace(objects, labels=np.zeros_like(objects.labels)) for objects in (truth, found)]
    alike = Evaluation(one_class[0], one_class[1], images, 1)
    verdicts = np.full(len(found), RIGHT, dtype=object)
    verdicts[np.append(truth.crowd, False)[matched]] = SET_ASIDE
    targets, taken, usable = matched.copy(), np.isin(np.arange(len(truth)), matched), np.zeros(len(truth), dtype=bool)
    for image, (ours, theirs) in enumerate(zip(found.rows(images), truth.rows(images), strict=True)):
        overlap = np.asarray(alike.overlaps[image, 0]).reshape(len(ours), len(theirs))[:, ~truth.crowd[theirs]]
        singles = theirs[~truth.crowd[theirs]]
        for row, one in zip(overlap, ours, strict=True):
            if matched[one] >= 0:
                continue
            verdicts[one], index = _verdict(row, truth.labels[singles] == found.labels[one], taken[singles])
            # Of class and place errors, only the one with the highest score can be corrected to an object.
            if index >= 0 and not taken[singles[index]] and not usable[singles[index]]:
                targets[one], usable[singles[index]] = singles[index], True
    return Judged(truth, found, verdicts, targets, alike.matched, ~taken & ~truth.crowd & ~usable)


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


def counts(judged: Judged, score: float = 0.0) -> dict[str, int]:
    """Return the number of errors of each kind among detections with at least a score; `missed` counts all detections."""
    sure = judged.verdicts[judged.found.scores >= score]
    return {kind: int((sure == kind).sum()) for kind in KINDS} | {"missed": int(judged.missed.sum())}


def costs(judged: Judged, classes: int) -> dict[str, float]:
    """Return by how much AP50 would rise, from 0 to 1, if all errors of one kind were corrected.

    Correcting a class or place error makes the detection correct if its object is free (for each object, only the detection
    with the highest score), otherwise it removes the detection. Correcting any other error removes the detection, or the
    annotation of a missed object.
    """
    before = _ap50(judged, classes, "")
    return {kind: max(0.0, _ap50(judged, classes, kind) - before) for kind in KINDS}


def _ap50(judged: Judged, classes: int, mended: str) -> float:
    counted = judged.single & ~judged.missed if mended == "missed" else judged.single
    mendable = (judged.verdicts == mended) & (judged.targets >= 0)
    labels = np.where(mendable, np.append(judged.truth.labels, 0)[judged.targets], judged.found.labels)
    right = judged.right | mendable
    kept = right | (judged.wrong & (judged.verdicts != mended))
    cells = np.empty((classes, 1, 1), dtype=object)
    for label in range(classes):
        ours = kept & (labels == label)
        cells[label, 0, 0] = dict(
            dtScores=judged.found.scores[ours],
            dtMatches=right[None, ours],
            dtIgnore=np.zeros((1, ours.sum()), dtype=bool),
            gtIgnore=np.zeros((counted & (judged.truth.labels == label)).sum()),
        )
    return mean(accumulated(cells))


def confusion(judged: Judged, classes: int, score: float) -> np.ndarray:
    """Return the confusion matrix (classes + 1, classes + 1), true by found class; the last one is background.

    Each detection with at least `score`, highest score first, takes the object that it overlaps most, of any class, at IoU 0.5.
    """
    sure, nearest = judged.found.scores >= score, judged.nearest
    lost = judged.single & ~np.isin(np.arange(len(judged.truth)), nearest[sure])
    counted = sure & ~np.append(judged.truth.crowd, False)[nearest]
    matrix = np.zeros((classes + 1, classes + 1), dtype=np.int64)
    np.add.at(matrix, (np.append(judged.truth.labels, classes)[nearest[counted]], judged.found.labels[counted]), 1)
    matrix[:, classes] += np.bincount(judged.truth.labels[lost], minlength=classes + 1)
    return matrix
