"""`mmvit browse`: what the pipeline of a config feeds its model, as one page of HTML."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.config import Config

from ..arguments import name_of
from ..data.label_maps import IGNORED
from ..measure.coco import mean
from ..predict.drawing import require_drawing
from ..predict.results import Detections
from . import charts, page
from .charts import Axis, Chart, lengths, number, share
from .feeding import Anchors, Fed, Feed, anchors_of, spread
from .pictures import drawn, label_picture

SHOWN = 16  # samples
NARROW = 4.0  # ratio of sides beyond which a box is counted as long
SMALL, LARGE = 32, 96  # COCO's: square roots of areas


@dataclass(frozen=True)
class Sample:
    """What is kept of a sample that is not shown."""

    original: tuple[int, int]  # height and width of the image in its file
    given: tuple[int, int]  # those of the model's input
    mean: np.ndarray  # of the model's input, (C,)
    std: np.ndarray  # likewise
    boxes: np.ndarray  # see `Fed`
    labels: np.ndarray  # likewise
    fit: np.ndarray  # (N,) IoU of each object with the anchor that overlaps it most; empty without anchors
    pixels: np.ndarray  # (256,) number of pixels of each label, for label maps

    @classmethod
    def of(cls, fed: Fed, anchors: Anchors | None) -> "Sample":
        mean, std = (part.numpy() for part in (fed.batch.mean(dim=(1, 2)), fed.batch.std(dim=(1, 2))))
        pixels = np.bincount(fed.label_map.ravel() if fed.label_map is not None else np.zeros(0, int), minlength=256)
        fit = anchors.best(fed) if anchors else np.zeros(0)
        height, width = fed.batch.shape[-2:]
        return cls(fed.original, (height, width), mean, std, fed.boxes, fed.labels, fit, pixels)


def browse(cfg: Config, out: Path, split: str = "train", most: int = 200) -> str:
    """Write a page on at most `most` samples that a config feeds its model, evenly spread, and return a line that sums it up.

    Raises:
        InputError: there is no such split, see `Feed`, or a file of the dataset cannot be used.
    """
    require_drawing()
    feed = Feed(cfg, split)
    anchors = anchors_of(cfg.model) if feed.scope == "mmdet" else None
    samples, tiles = [], []
    chosen = spread(len(feed), most)
    shown = set(spread(len(chosen), SHOWN))
    for number_of, fed in enumerate(feed.samples(chosen)):
        samples.append(Sample.of(fed, anchors))
        if number_of in shown:
            tiles += page.shown([([picture(fed, feed)], words_on(fed))])
    steps = [name_of(step.get("type")) for step in cfg[f"{split}_dataloader"].dataset.get("pipeline") or ()]
    content = dict(total=len(feed), count=len(samples), steps=steps, **_inputs(samples), tiles=tiles)
    content |= _pixels(feed.classes, samples) if feed.scope == "mmseg" else _objects(feed.classes, samples, anchors)
    lines = (f"config {cfg.filename}", f"{split}_dataloader")
    page.write(out, "data.html", f"Data of {Path(cfg.filename or 'config').stem}", lines, content)
    return f"{len(samples)} of {len(feed)} samples, {len(feed.classes)} classes; see {out}"


def picture(fed: Fed, feed: Feed) -> np.ndarray:
    """Return the image of a sample with its annotations, (H, W, 3), BGR."""
    if fed.label_map is not None:
        return label_picture(fed.image, fed.label_map, feed.classes, feed.palette)
    size, scores = (fed.image.shape[0], fed.image.shape[1]), np.full(len(fed.boxes), np.nan)
    return drawn(fed.image, Detections(fed.path, size, fed.boxes, scores, fed.labels, feed.classes, fed.masks), feed.palette)


def words_on(fed: Fed) -> str:
    """Describe the sizes of a sample."""
    (height, width), (tall, wide) = fed.image.shape[:2], fed.batch.shape[-2:]
    return f"{fed.path}: {width} x {height} pixels, padded to {wide} x {tall}"


def _inputs(samples: Sequence[Sample]) -> dict[str, Any]:
    mean, std = (np.mean([getattr(one, name) for one in samples], axis=0) for name in ("mean", "std"))
    sides = {name: np.sqrt([np.prod(getattr(one, name)) for one in samples]) for name in ("original", "given")}
    label = "square root of the area"
    return dict(
        channels=[[f"channel {index}", number(mean[index], 2), number(std[index], 2)] for index in range(len(mean))],
        originals=charts.histogram(sides["original"], "Images in the files", label),
        inputs=charts.histogram(sides["given"], "Images as the model gets them", label),
    )


def _objects(classes: Sequence[str], samples: Sequence[Sample], anchors: Anchors | None) -> dict[str, Any]:
    labels = np.concatenate([one.labels for one in samples])
    boxes = np.concatenate([one.boxes for one in samples]).astype(float)
    sides = np.maximum(boxes[:, 2:] - boxes[:, :2], 1e-3)
    counts, per_image = np.bincount(labels, minlength=len(classes)), np.array([len(one.labels) for one in samples])
    there = [sum(bool((one.labels == label).any()) for one in samples) for label in range(len(classes))]
    ratio, root = sides.max(axis=1) / sides.min(axis=1), np.sqrt(sides.prod(axis=1))
    return dict(
        objects=len(labels),
        header=["class", "objects", "share", "samples with it"],
        classes=[
            [classes[label], str(counts[label]), share(counts[label] / max(len(labels), 1)), str(there[label])]
            for label in np.argsort(-counts, kind="stable")
        ],
        sizes={
            "objects per sample": number(per_image.mean(), 1),
            "most objects": str(per_image.max()),
            "samples without objects": str((per_image == 0).sum()),
            f"boxes longer than {NARROW:g} : 1": share(mean(ratio > NARROW)),
        },
        roots=charts.histogram(root, "Boxes", "square root of the area in pixels", True, (SMALL, LARGE)),
        anchors=_anchors(anchors, np.concatenate([one.fit for one in samples]), sides, root) if anchors else None,
    )


def _anchors(anchors: Anchors, fit: np.ndarray, sides: np.ndarray, root: np.ndarray) -> dict[str, Any]:
    poor = fit < anchors.enough
    groups = charts.by_size(root)
    return dict(
        enough=f"{anchors.enough:g}",
        least=f"{anchors.least:g}",
        figures={
            "median of the best IoU": number(float(np.median(fit)) if len(fit) else float("nan"), 2),
            f"objects below IoU {anchors.enough:g}": share(mean(poor)),
            "objects without an anchor": share(mean(fit < anchors.least)),
        },
        shapes=_shapes(sides, anchors.sizes),
        fit=charts.histogram(fit, "Best anchor of each object", "IoU", marks=(anchors.enough,), high=1.0),
        poor=lengths({name: float(poor[ours].mean()) for name, ours in groups.items()}, 1),
    )


def _shapes(sides: np.ndarray, anchors: np.ndarray) -> Chart:
    every = np.concatenate([sides, anchors])
    ends = max(float(every.min()), 1.0) * 0.9, float(every.max()) * 1.1
    width, height = (Axis(f"{name} in pixels", *ends, logarithmic=True) for name in ("width", "height"))
    chart = Chart("Boxes (dots) and anchors (crosses)", width, height)
    chart.dots(*sides.T)
    chart.crosses(*anchors.T)
    return chart


def _pixels(classes: Sequence[str], samples: Sequence[Sample]) -> dict[str, Any]:
    pixels, there = (np.sum(part, axis=0) for part in ([one.pixels for one in samples], [one.pixels > 0 for one in samples]))
    names = {label: classes[label] for label in np.argsort(-pixels[: len(classes)], kind="stable").tolist()}
    total = max(int(pixels.sum()), 1)

    def rows() -> Iterator[list[str]]:
        for label, name in (names | {IGNORED: "(ignored)"}).items():
            yield [name, share(pixels[label] / total), str(there[label])]
        if strange := pixels[len(classes) : IGNORED].sum():
            yield ["(no class)", share(strange / total), ""]

    return dict(
        objects=None, header=["class", "share of pixels", "samples with it"], classes=list(rows()), anchors=None, sizes=None
    )
