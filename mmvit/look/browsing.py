"""`mmvit browse`: what the pipeline of a config feeds its model, as one page of HTML."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from mmengine.config import Config

from ..data.label_maps import IGNORED
from ..predict.drawing import draw
from ..predict.results import Detections, LabelMap
from . import charts
from .feeding import Anchors, Fed, Feed, anchors_of
from .page import Page, number, share
from .pictures import larger, step_of

SHOWN = 16  # samples
NARROW = 4.0  # ratio of sides beyond which a box is counted as long


def browse(cfg: Config, out: Path, split: str = "train", most: int = 200) -> str:
    """Write a page on the samples that a config feeds its model, and return a line that sums it up.

    Args:
        cfg: the config.
        out: file of the page.
        split: `train`, `val` or `test`.
        most: number of samples, evenly spread over the dataset.

    Raises:
        InputError: there is no such split, see `Feed`, or a file of the dataset cannot be used.
    """
    feed = Feed(cfg, split)
    samples = looked_at(feed, most)
    page = Page(f"Data of {Path(cfg.filename or 'config').stem}", [f"config {cfg.filename}", f"{split}_dataloader"])
    pipeline = cfg[f"{split}_dataloader"].dataset.get("pipeline") or ()
    _summary(page, feed, samples, [str(step.get("type")) for step in pipeline])
    if feed.scope == "mmseg":
        _pixels(page, feed, samples)
    else:
        _objects(page, feed, samples, anchors_of(cfg.model))
    page.section("Samples", "As they come out of the pipeline, annotations drawn; random steps make others each time.")
    page.pictures(_tiles(feed, [one for one in samples if one.shown]))
    page.write(out)
    return f"{len(samples)} of {len(feed)} samples, {len(feed.classes)} classes; see {out}"


class Looked:
    """A sample and its statistics; only the first few keep their large arrays.

    Attributes:
        fed: the sample.
        mean, std: mean and standard deviation of the model's input, (C,) each.
        shape: height and width of the model's input.
        pixels: (256,) number of pixels of each label, for label maps.
    """

    def __init__(self, fed: Fed, shown: bool) -> None:
        self.mean, self.std = (part.numpy() for part in (fed.batch.mean(dim=(1, 2)), fed.batch.std(dim=(1, 2))))
        self.shape = tuple(fed.batch.shape[-2:])
        labels = fed.label_map
        self.pixels = np.bincount(labels.ravel(), minlength=256) if labels is not None else np.zeros(256, dtype=np.int64)
        small = replace(fed, batch=fed.batch.new_empty(0, *self.shape))  # its size says where anchors are
        none = np.zeros((0, 0, 3), np.uint8)
        self.fed = small if shown else replace(small, image=none, masks=None, label_map=None)
        self.shown = shown


def looked_at(feed: Feed, most: int) -> list[Looked]:
    """Return the samples; `SHOWN` of them, evenly spread, keep what is needed to show them."""
    count = min(most, len(feed))
    shown = set(np.linspace(0, count - 1, min(SHOWN, count)).round().astype(int).tolist())
    return [Looked(fed, index in shown) for index, fed in enumerate(feed.samples(most))]


def _summary(page: Page, feed: Feed, samples: Sequence[Looked], steps: Sequence[str]) -> None:
    page.section("What the model is given", f"{len(feed)} samples, of which {len(samples)} were looked at.")
    if steps:
        page.paragraph("Pipeline: " + ", ".join(steps) + ".")
    mean = np.mean([one.mean for one in samples], axis=0)
    std = np.mean([one.std for one in samples], axis=0)
    page.paragraph("After the preprocessor, padding included; normalised images have means near 0 and deviations near 1.")
    rows = [[f"channel {index}", number(float(mean[index]), 2), number(float(std[index]), 2)] for index in range(len(mean))]
    page.table(["", "mean", "standard deviation"], rows)
    given = np.array([one.shape for one in samples], dtype=float)
    files = np.array([one.fed.original for one in samples], dtype=float)
    page.charts(
        (
            charts.histogram(np.sqrt(files.prod(axis=1)), "Images in the files", "square root of the area"),
            "sizes of the images",
        ),
        (
            charts.histogram(np.sqrt(given.prod(axis=1)), "Images as the model is given them", "square root of the area"),
            "sizes",
        ),
    )


def _objects(page: Page, feed: Feed, samples: Sequence[Looked], anchors: Anchors | None) -> None:
    labels = np.concatenate([one.fed.labels for one in samples])
    boxes = np.concatenate([one.fed.boxes for one in samples]).astype(float)
    sides = np.maximum(boxes[:, 2:] - boxes[:, :2], 1e-3)
    counts = np.bincount(labels, minlength=len(feed.classes))
    page.section("Classes", f"{len(labels)} objects in these samples, after the pipeline.")
    order = np.argsort(-counts, kind="stable")
    with_it = [sum(bool((one.fed.labels == label).any()) for one in samples) for label in range(len(feed.classes))]
    rows = [
        [feed.classes[label], str(counts[label]), share(counts[label] / max(len(labels), 1)), str(with_it[label])]
        for label in order
    ]
    page.table(["class", "objects", "share", "samples with it"], rows)
    page.section(
        "Sizes", "Of boxes in pixels, as the model is given them. COCO calls those below 32 px small, from 96 px large."
    )
    per_image = np.array([len(one.fed.labels) for one in samples])
    ratio = sides.max(axis=1) / sides.min(axis=1)
    page.figures(
        {
            "objects a sample": number(float(per_image.mean()), 1),
            "most": str(per_image.max()),
            "samples without": str((per_image == 0).sum()),
            f"boxes longer than {NARROW:g} : 1": share(float((ratio > NARROW).mean()) if len(ratio) else float("nan")),
        }
    )
    root = np.sqrt(sides.prod(axis=1))
    page.charts((charts.histogram(root, "Boxes", "root of the area, pixels", True, (32, 96)), "sizes of boxes"))
    if anchors is not None:
        _anchors(page, samples, anchors, sides, root)


def _anchors(page: Page, samples: Sequence[Looked], anchors: Anchors, sides: np.ndarray, root: np.ndarray) -> None:
    best = np.concatenate([anchors.best(one.fed) for one in samples])
    page.section(
        "Anchors",
        f"An anchor learns an object from IoU {anchors.enough:g} on; where none does, the best one learns it, from IoU "
        f"{anchors.least:g} on. Objects that no anchor fits learn from one anchor or none: other sizes of anchors, or "
        "of images, would mend that.",
    )
    poor = best < anchors.enough
    page.figures(
        {
            "median of the best IoU": number(float(np.median(best)) if len(best) else float("nan"), 2),
            f"objects that none fits (below {anchors.enough:g})": share(float(poor.mean()) if len(poor) else float("nan")),
            "objects that none learns": share(float((best < anchors.least).mean()) if len(best) else float("nan")),
        }
    )
    page.charts(
        (
            charts.points(sides[:, 0], sides[:, 1], anchors.sizes, "Boxes, and anchors as crosses", "width", "height"),
            "widths and heights of boxes and anchors",
        ),
        (charts.histogram(best, "Best anchor of each object", "IoU", marks=(anchors.enough,)), "IoU of the best anchors"),
    )
    rows = []
    for power in np.unique(np.floor(np.log2(np.maximum(root, 1))).astype(int)):
        ours = (root >= 2.0**power) & (root < 2.0 ** (power + 1))
        if ours.any():
            rows.append([f"{2**power} to {2 ** (power + 1)} px", str(ours.sum()), share(float(poor[ours].mean()))])
    page.table(["root of the area", "objects", "that no anchor fits"], rows)


def _pixels(page: Page, feed: Feed, samples: Sequence[Looked]) -> None:
    pixels = np.sum([one.pixels for one in samples], axis=0)
    total = max(int(pixels.sum()), 1)
    page.section("Classes", "Pixels of these samples, after the pipeline.")
    rows = []
    for label in np.argsort(-pixels[: len(feed.classes)], kind="stable"):
        there = sum(bool(one.pixels[label]) for one in samples)
        rows.append([feed.classes[label], share(pixels[label] / total), str(there)])
    rows.append(["(ignored)", share(pixels[IGNORED] / total), str(sum(bool(one.pixels[IGNORED]) for one in samples))])
    strange = int(pixels[len(feed.classes) : IGNORED].sum())
    if strange:
        rows.append(["(no class)", share(strange / total), ""])
    page.table(["class", "share of pixels", "samples with it"], rows)


def _tiles(feed: Feed, samples: Sequence[Looked]) -> Iterator[tuple[np.ndarray, str]]:
    for one in samples:
        fed = one.fed
        height, width = fed.image.shape[:2]
        words = f"{fed.path}: {width} x {height} pixels, given as {one.shape[1]} x {one.shape[0]}"
        yield drawn(fed, feed.classes, feed.palette), words


def drawn(fed: Fed, classes: tuple[str, ...], palette: Sequence[tuple[int, int, int]] | None) -> np.ndarray:
    """Return the image of a sample with its annotations, (H, W, 3), BGR."""
    step, size = step_of(fed.image.shape), (fed.image.shape[0], fed.image.shape[1])
    image = cv2.resize(fed.image, None, fx=step, fy=step, interpolation=cv2.INTER_CUBIC) if step > 1 else fed.image
    if fed.label_map is None:
        found = Detections(fed.path, size, fed.boxes, np.full(len(fed.boxes), np.nan), fed.labels, classes, fed.masks)
        return draw(image, larger(found, step), palette)
    labels = fed.label_map.repeat(step, axis=0).repeat(step, axis=1)
    kept = labels != IGNORED
    result = LabelMap(fed.path, (labels.shape[0], labels.shape[1]), np.where(kept, labels, 0).astype(np.uint8), classes)
    return np.where(kept[..., None], draw(image, result, palette), image)
