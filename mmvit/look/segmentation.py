"""What the page on a segmenter shows: its figures, borders, sizes of segments, and its worst images."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import cv2
import numpy as np

from ..data.label_maps import IGNORED
from ..measure.binary import figures_of, means
from ..measure.calibration import Calibration
from ..measure.coco import mean
from ..measure.segmentation import by_class, confusion, figures
from . import charts, page
from .charts import lengths, share
from .detection import SHOWN, ReadImage
from .pictures import error_picture, fitted, label_picture

RIM = 3  # pixels from a border between labels, within which an error is one of place
LEAST_SHARE = 0.5  # least share of correct pixels in a segment that counts as found


@dataclass(frozen=True)
class Measured:
    """An image with its figures."""

    path: str
    iou: float  # mean IoU of the classes that occur or were found
    right: float  # share of correct pixels
    classes: int  # number of classes that occur
    labels: tuple[np.ndarray, np.ndarray] | None  # true and found labels (H, W), or None of an image that is not shown

    @property
    def rank(self) -> tuple[float, float]:
        """The key that sorts the worst images first."""
        return (self.iou if self.iou == self.iou else 1.0), self.right


@dataclass
class Tally:
    """Statistics over images with label maps; `add` takes one at a time, so that memory stays constant."""

    classes: int  # their number
    binary: bool = False  # whether to measure the figures of binary segmentation
    ignored: int = IGNORED  # the true label that the evaluator leaves out
    pixels: np.ndarray = field(init=False)  # the confusion matrix
    calibration: Calibration = field(default_factory=Calibration)  # pixels by their score
    # all pixels and wrong ones, within `RIM` of a border and farther away, (2, 2)
    places: np.ndarray = field(default_factory=lambda: np.zeros((2, 2), dtype=np.int64))
    # number of pixels and share of correct ones of each connected segment of a label
    segments: list[tuple[int, float]] = field(default_factory=list)
    images: list[Measured] = field(default_factory=list)
    singles: list[dict[str, float]] = field(default_factory=list)  # of binary segmentation, the figures of each image
    sets: dict[str, dict[str, float]] = field(default_factory=dict)  # of each dataset, the figures
    counts: dict[str, int] = field(default_factory=dict)  # of each dataset, the number of images

    def __post_init__(self) -> None:
        self.pixels = np.zeros((self.classes + 1, self.classes), dtype=np.int64)

    def add(self, path: str, truth: np.ndarray, found: np.ndarray, scores: np.ndarray) -> None:
        """Count an image: true and found labels (H, W), the scores of the found ones (H, W) from 0 to 1."""
        if self.binary:
            self.singles.append(figures_of(truth, found == 1, np.where(found == 1, scores, 1 - scores), self.ignored))
        pixels = confusion(truth, found, self.classes, self.ignored)
        self.pixels += pixels
        truth = np.where(truth == self.ignored, np.uint8(IGNORED), truth)
        counted, right = truth < self.classes, truth == found
        self.calibration.add(scores[counted], right[counted])
        near = borders(truth)
        self.places += [[(counted & where).sum(), (counted & where & ~right).sum()] for where in (near, ~near)]
        self.segments += segments_of(truth, right, self.classes)
        share_right = float(right[counted].mean()) if counted.any() else 0.0
        there = int((pixels[:-1].sum(axis=1) > 0).sum())
        self.images.append(Measured(path, mean(by_class(pixels)["IoU"]), share_right, there, (truth, found)))
        self._forget()

    @contextmanager
    def of(self, name: str) -> Iterator[None]:
        """Take note of the figures of the images that are added meanwhile, as those of a dataset."""
        pixels, images = self.pixels.copy(), len(self.images)
        yield
        self.sets[name] = figures(self.pixels - pixels) | means(self.singles[images:])
        self.counts[name] = len(self.images) - images

    def _forget(self) -> None:
        """Keep the label maps of the worst images only."""
        kept = sorted(
            (index for index, image in enumerate(self.images) if image.labels), key=lambda index: self.images[index].rank
        )
        for index in kept[SHOWN:]:
            self.images[index] = replace(self.images[index], labels=None)


def borders(labels: np.ndarray) -> np.ndarray:
    """Return which pixels (H, W) are within `RIM` of a border between labels, including the ignored label."""
    square = np.ones((2 * RIM + 1, 2 * RIM + 1), np.uint8)
    return cv2.dilate(labels, square) != cv2.erode(labels, square)


def segments_of(truth: np.ndarray, right: np.ndarray, classes: int) -> Iterator[tuple[int, float]]:
    """Yield number of pixels and share of correct ones of each connected segment of a label."""
    for label in np.unique(truth[truth < classes]).tolist():
        count, parts = cv2.connectedComponents((truth == label).astype(np.uint8), connectivity=8)
        pixels = np.bincount(parts.ravel(), minlength=count)
        good = np.bincount(parts.ravel(), right.ravel(), minlength=count)
        yield from zip(pixels[1:].tolist(), (good / np.maximum(pixels, 1))[1:].tolist(), strict=True)


def report(
    tally: Tally, names: Sequence[str], read: ReadImage, palette: Sequence[tuple[int, int, int]] | None
) -> tuple[dict[str, float], dict[str, Any]]:
    """Return mmseg's figures, and what the page shows."""
    pixelwise, singles = figures(tally.pixels), means(tally.singles)
    pixels = tally.pixels if tally.pixels[-1].any() else tally.pixels[:-1]
    return page.with_sets(pixelwise | singles, tally.sets), dict(
        sets=page.side_by_side(tally.sets, tally.counts),
        metrics={name: charts.number(value, 2) for name, value in pixelwise.items()} | singles,
        images=len(tally.images),
        pixels=f"{tally.pixels.sum():,}",
        classes=list(_classes(tally, names)),
        matrix=page.confusion(pixels, [*names, "(no class)"][: len(pixels)], names, "pixels"),
        **charts.calibrated(tally.calibration, "accuracy", "pixels"),
        rim=RIM,
        places=list(_places(tally.places)),
        found=f"{LEAST_SHARE:.0%}",
        segments=_segments(tally),
        variety=list(_variety(tally.images)),
        worst=page.shown(_worst(tally, names, read, palette)),
    )


def _classes(tally: Tally, names: Sequence[str]) -> Iterator[list[str]]:
    metrics, there = by_class(tally.pixels), tally.pixels[:-1].sum(axis=1)
    for label, name in enumerate(names):
        values = [float(metrics[key][label]) for key in ("IoU", "Acc", "Precision")]
        yield [name, *map(share, values), share(there[label] / max(there.sum(), 1))]


def _places(places: np.ndarray) -> Iterator[list[str]]:
    for name, (pixels, wrong) in zip(("at a border", "farther off"), places.tolist(), strict=True):
        parts = pixels / max(places[:, 0].sum(), 1), wrong / max(pixels, 1), wrong / max(places[:, 1].sum(), 1)
        yield [name, *map(share, parts)]


def _segments(tally: Tally) -> list[tuple[str, float, str]]:
    pixels, right = np.array(tally.segments).reshape(-1, 2).T
    groups = charts.by_size(np.sqrt(pixels))
    return lengths({name: float((right[ours] >= LEAST_SHARE).mean()) for name, ours in groups.items()}, 1)


def _variety(images: Sequence[Measured]) -> Iterator[list[str]]:
    for count in sorted({image.classes for image in images}):
        ours = [image for image in images if image.classes == count]
        means = mean([image.iou for image in ours]), mean([image.right for image in ours])
        yield [str(count), str(len(ours)), *map(share, means)]


def _worst(
    tally: Tally, names: Sequence[str], read: ReadImage, palette: Sequence[tuple[int, int, int]] | None
) -> Iterator[tuple[list[np.ndarray], str]]:
    for image in sorted(tally.images, key=lambda image: image.rank)[:SHOWN]:
        assert image.labels is not None  # it is one of the worst
        pixels = read(image.path)
        pictures = [label_picture(pixels, labels, names, palette) for labels in image.labels]
        words = f"{image.path}: mean IoU {share(image.iou)}, {share(image.right)} of the pixels correct"
        yield [fitted(pixels), *pictures, error_picture(pixels, *image.labels)], words
