"""Analysis of a segmenter: its figures, borders, sizes of segments, and its worst images."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np

from ..data.label_maps import IGNORED
from ..predict.results import LabelMap
from . import charts
from .detection import BINS, SHOWN, worst_confusions
from .page import Page, number, share
from .pictures import labels_beside

RIM = 3  # pixels from a border between labels, within which an error is one of place
LEAST_SHARE = 0.5  # least share of correct pixels in a segment that counts as found

ReadImage = Callable[[str], np.ndarray]


@dataclass(frozen=True)
class Shown:
    """An image that may be shown.

    Attributes:
        iou: mean IoU of the classes that occur or were found.
        right: share of correct pixels.
        classes: number of classes that occur.
    """

    path: str
    iou: float
    right: float
    classes: int
    truth: np.ndarray | None = None
    found: np.ndarray | None = None


@dataclass
class Tally:
    """Statistics over images with label maps; `add` takes one at a time, so that memory stays constant.

    Attributes:
        classes: number of classes.
        confusion: (classes, classes) pixels, true by predicted.
        scores, right, numbers: (10,) sums of scores, correct pixels and all pixels by tenths of the score.
        near, near_wrong, far, far_wrong: pixels within `RIM` of a border and farther away, and the wrong ones of each.
        segments: class, number of pixels and share of correct pixels of each connected segment of a label.
    """

    classes: int
    confusion: np.ndarray = field(init=False)
    scores: np.ndarray = field(default_factory=lambda: np.zeros(BINS))
    right: np.ndarray = field(default_factory=lambda: np.zeros(BINS))
    numbers: np.ndarray = field(default_factory=lambda: np.zeros(BINS))
    near: int = 0
    near_wrong: int = 0
    far: int = 0
    far_wrong: int = 0
    segments: list[tuple[int, int, float]] = field(default_factory=list)
    images: list[Shown] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.confusion = np.zeros((self.classes, self.classes), dtype=np.int64)

    def add(self, path: str, truth: np.ndarray, found: np.ndarray, scores: np.ndarray) -> None:
        """Count an image: true and found labels (H, W), the scores of the found ones (H, W) from 0 to 1."""
        counted = truth < self.classes
        matrix = np.bincount(truth[counted].astype(np.int64) * self.classes + found[counted], minlength=self.classes**2)
        matrix = matrix.reshape(self.classes, self.classes)
        self.confusion += matrix
        right = truth == found
        self._score(scores[counted], right[counted])
        near = borders(truth) & counted
        self.near, self.near_wrong = self.near + int(near.sum()), self.near_wrong + int((near & ~right).sum())
        far = counted & ~near
        self.far, self.far_wrong = self.far + int(far.sum()), self.far_wrong + int((far & ~right).sum())
        self.segments += list(segments_of(truth, right, self.classes))
        pixels = max(int(counted.sum()), 1)
        iou, there = float(np.nanmean(ious(matrix))) if counted.any() else float("nan"), int((matrix.sum(axis=1) > 0).sum())
        self.images.append(Shown(path, iou, float(right[counted].sum()) / pixels, there, truth, found))
        self._forget()

    def _score(self, scores: np.ndarray, right: np.ndarray) -> None:
        place = np.minimum((scores * BINS).astype(int), BINS - 1)
        self.scores += np.bincount(place, scores, minlength=BINS)
        self.right += np.bincount(place, right, minlength=BINS)
        self.numbers += np.bincount(place, minlength=BINS)

    def _forget(self) -> None:
        """Keep the label maps of the worst images only."""
        kept = sorted((index for index, image in enumerate(self.images) if image.truth is not None), key=self.rank)
        for index in kept[SHOWN:]:
            image = self.images[index]
            self.images[index] = Shown(image.path, image.iou, image.right, image.classes)

    def rank(self, index: int) -> tuple[float, float]:
        """Return the key that sorts the worst images first."""
        image = self.images[index]
        return (image.iou if image.iou == image.iou else 1.0), image.right


def ious(confusion: np.ndarray) -> np.ndarray:
    """Return the IoU of each class; NaN for a class that neither occurs nor was found."""
    inside = np.diag(confusion)
    with np.errstate(invalid="ignore", divide="ignore"):
        return inside / (confusion.sum(axis=0) + confusion.sum(axis=1) - inside)


def borders(labels: np.ndarray) -> np.ndarray:
    """Return which pixels (H, W) are within `RIM` of a border between labels, including the ignored label."""
    square = np.ones((2 * RIM + 1, 2 * RIM + 1), np.uint8)
    return cv2.dilate(labels, square) != cv2.erode(labels, square)


def segments_of(truth: np.ndarray, right: np.ndarray, classes: int) -> Iterator[tuple[int, int, float]]:
    """Yield class, number of pixels and share of correct pixels of each connected segment of a label."""
    for label in np.unique(truth[truth < classes]).tolist():
        count, parts = cv2.connectedComponents((truth == label).astype(np.uint8), connectivity=8)
        pixels = np.bincount(parts.ravel(), minlength=count)
        good = np.bincount(parts.ravel(), right.ravel(), minlength=count)
        for part in range(1, count):
            yield label, int(pixels[part]), float(good[part] / pixels[part])


def figures(confusion: np.ndarray) -> dict[str, float]:
    """Return mIoU, mAcc and aAcc in percent, as mmseg's evaluator defines them."""
    with np.errstate(invalid="ignore", divide="ignore"):
        accuracy = np.diag(confusion) / confusion.sum(axis=1)
    return {
        "mIoU": 100 * float(np.nanmean(ious(confusion))),
        "mAcc": 100 * float(np.nanmean(accuracy)),
        "aAcc": 100 * float(np.diag(confusion).sum() / max(confusion.sum(), 1)),
    }


def report(
    tally: Tally, page: Page, names: Sequence[str], read: ReadImage, palette: Sequence[tuple[int, int, int]] | None
) -> dict[str, float]:
    """Add all sections to a page, and return mmseg's figures."""
    metrics = figures(tally.confusion)
    page.section("Figures", "As mmseg's evaluator has them, in per cent; means over the classes.")
    page.figures({name: number(value, 2) for name, value in metrics.items()})
    page.paragraph(f"{len(tally.images)} images with {tally.confusion.sum():,} pixels of {tally.classes} classes.")
    _classes(page, tally, names)
    page.section("Confusion", "Pixels; numbers in the matrix are per cent of their row.")
    page.charts((charts.matrix(tally.confusion, names, names, "What is labelled as what"), "confusion matrix"))
    page.table(["true", "predicted", "pixels", "share of the true ones"], worst_confusions(tally.confusion, names))
    _calibration(page, tally)
    _places(page, tally)
    _sizes(page, tally)
    _worst(page, tally, names, read, palette)
    return metrics


def _classes(page: Page, tally: Tally, names: Sequence[str]) -> None:
    page.section("Classes")
    there, found, inside = tally.confusion.sum(axis=1), tally.confusion.sum(axis=0), np.diag(tally.confusion)
    rows = []
    with np.errstate(invalid="ignore", divide="ignore"):
        columns = zip(names, ious(tally.confusion), inside / there, inside / found, there, strict=True)
        for name, iou, recall, precision, pixels in columns:
            rows.append([name, share(iou), share(recall), share(precision), share(pixels / max(there.sum(), 1))])
    page.table(["class", "IoU", "accuracy (recall)", "precision", "share of pixels"], rows)


def _calibration(page: Page, tally: Tally) -> None:
    with np.errstate(invalid="ignore"):
        mean_scores, true = tally.scores / tally.numbers, tally.right / tally.numbers
    filled = tally.numbers > 0
    error = float((np.abs(mean_scores - true)[filled] * tally.numbers[filled]).sum() / max(tally.numbers.sum(), 1))
    page.section(
        "Calibration",
        "Whether of the pixels with score 0.7 seven in ten are right. Bars below the dashed line: too sure. The mean distance "
        f"(expected calibration error) is {number(error)}.",
    )
    drawn = charts.reliability(mean_scores, true, tally.numbers, "Score and accuracy", "share of right pixels")
    page.charts((drawn, "share of right pixels at each score"))


def _places(page: Page, tally: Tally) -> None:
    wrong = max(tally.near_wrong + tally.far_wrong, 1)
    page.section(
        "Errors by place", f"An error within {RIM} pixels of a true border is one of place; farther off, it is one of class."
    )
    page.table(
        ["pixels", "share of all", "share of them that is wrong", "share of all errors"],
        [
            [name, share(pixels / max(tally.near + tally.far, 1)), share(bad / max(pixels, 1)), share(bad / wrong)]
            for name, pixels, bad in (
                ("at a border", tally.near, tally.near_wrong),
                ("farther off", tally.far, tally.far_wrong),
            )
        ],
    )


def _sizes(page: Page, tally: Tally) -> None:
    pixels = np.array([segment[1] for segment in tally.segments])
    right = np.array([segment[2] for segment in tally.segments])
    page.section(
        "Size and crowding", f"A segment is a connected piece of one label; it is found where {LEAST_SHARE:.0%} of it is right."
    )
    groups = {}
    if len(pixels):
        powers = np.floor(np.log2(np.sqrt(pixels))).astype(int)
        for power in np.unique(powers):
            ours = powers == power
            groups[f"{2**power} to {2 ** (power + 1)} px ({ours.sum()})"] = float((right[ours] >= LEAST_SHARE).mean())
    page.charts(
        (charts.bars(groups, "Segments found by size", "share; size: square root of the area (segments)"), "segments by size")
    )
    rows = []
    for count in sorted({image.classes for image in tally.images}):
        ours = [image for image in tally.images if image.classes == count]
        mean_iou = float(np.nanmean([image.iou for image in ours])) if count else float("nan")
        rows.append([str(count), str(len(ours)), share(mean_iou), share(float(np.mean([image.right for image in ours])))])
    page.table(["classes in the image", "images", "mean IoU of an image", "right pixels"], rows)


def _worst(
    page: Page, tally: Tally, names: Sequence[str], read: ReadImage, palette: Sequence[tuple[int, int, int]] | None
) -> None:
    page.section("Worst images", "The image, its true labels, and the predicted ones; by the mean IoU of its classes.")

    def tiles() -> Iterator[tuple[np.ndarray, str]]:
        for index in sorted(range(len(tally.images)), key=tally.rank)[:SHOWN]:
            image = tally.images[index]
            maps = [
                LabelMap(image.path, labels.shape, labels, tuple(names))
                for labels in (image.truth, image.found)
                if labels is not None
            ]
            words = f"{image.path}: mean IoU {share(image.iou)}, {share(image.right)} of the pixels right"
            yield labels_beside(read(image.path), maps[0], maps[1], palette, IGNORED), words

    page.pictures(tiles())
