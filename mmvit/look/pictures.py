"""Pictures for pages and sheets: results drawn on images of a size at which labels can be read."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import cv2
import numpy as np

from ..data.colours import GREY, Colour
from ..data.label_maps import IGNORED
from ..measure.errors import RIGHT, SET_ASIDE, Judged
from ..measure.objects import Objects, decoded
from ..predict.drawing import colour_of, draw
from ..predict.results import Detections, LabelMap, Result, name_of

SIDE = 560  # pixels of the longer side
HIT, MISSED = ("", (0, 140, 100)), ("missed ", (245, 200, 20))  # what a name begins with, colour
FALSE, ASIDE = ("", (205, 60, 40)), ("not counted: ", (130, 140, 150))
VERDICTS = {RIGHT: HIT, SET_ASIDE: ASIDE}
LEGEND = {"hit": HIT[1], "missed": MISSED[1], "false alarm": FALSE[1], "not counted": ASIDE[1]}


def fitted(image: np.ndarray) -> np.ndarray:
    """Return an image, resized so that its longer side has `SIDE` pixels."""
    factor = SIDE / max(image.shape[:2])
    size = (max(1, round(image.shape[1] * factor)), max(1, round(image.shape[0] * factor)))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC)


def drawn(image: np.ndarray, result: Result, palette: Sequence[Colour] | None) -> np.ndarray:
    """Return an image (H, W, 3), BGR, resized like `fitted`, with a result drawn on it."""
    fit = fitted(image)
    height, width = fit.shape[:2]
    if isinstance(result, LabelMap):
        labels = cv2.resize(result.labels, (width, height), interpolation=cv2.INTER_NEAREST)
        return draw(fit, replace(result, labels=labels, size=(height, width)), palette)
    factors = np.array([width, height] * 2, np.float32) / np.array([image.shape[1], image.shape[0]] * 2, np.float32)
    masks = result.masks
    if masks is not None:
        large = [cv2.resize(mask.astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST) for mask in masks]
        masks = np.array(large, dtype=bool).reshape(-1, height, width)
    return draw(fit, replace(result, boxes=result.boxes * factors, masks=masks, size=(height, width)), palette)


def label_picture(
    image: np.ndarray, labels: np.ndarray, classes: Sequence[str], palette: Sequence[Colour] | None
) -> np.ndarray:
    """Return an image with true or predicted labels (H, W); ignored pixels are grey."""
    names = [name_of(classes, label) for label in range(IGNORED)] + ["(ignored)"]
    colours = [colour_of(label, palette) for label in range(IGNORED)] + [GREY]
    more = len(classes) > IGNORED
    result = LabelMap("", (labels.shape[0], labels.shape[1]), labels, tuple(classes) if more else tuple(names))
    return drawn(image, result, palette if more else colours)


def judged_pictures(
    image: np.ndarray, judged: Judged, rows: tuple[np.ndarray, np.ndarray], classes: Sequence[str], score: float
) -> list[np.ndarray]:
    """Return an image twice: with the annotated objects, and with those found with at least `score`.

    Colours tell hits, missed objects and false alarms apart; names of the latter begin with the kind of error. `rows` are those
    of the annotated and of the found objects in the image (H, W, 3), BGR.
    """
    theirs, ours = rows[0], rows[1][judged.found.scores[rows[1]] >= score]
    hits, crowd = judged.hits(score)[theirs], judged.truth.crowd[theirs]
    told = [ASIDE if group else HIT if hit else MISSED for group, hit in zip(crowd, hits, strict=True)]
    guessed = [VERDICTS.get(verdict, (f"{verdict}: ", FALSE[1])) for verdict in judged.verdicts[ours]]
    return [
        drawn(image, *_coloured(objects, words, classes, (image.shape[0], image.shape[1])))
        for objects, words in ((judged.truth.select(theirs), told), (judged.found.select(ours), guessed))
    ]


def _coloured(
    objects: Objects, words: Sequence[tuple[str, Colour]], classes: Sequence[str], size: tuple[int, int]
) -> tuple[Detections, list[Colour]]:
    """Return objects as a result whose classes are named after their verdicts, and the colours of these classes."""
    named = [(f"{word}{name_of(classes, int(label))}", hue) for (word, hue), label in zip(words, objects.labels, strict=True)]
    kinds = list(dict.fromkeys(named))
    masks = None if objects.masks is None else decoded(objects.masks, size)
    corners, scores = objects.boxes.astype(np.float32), objects.scores.astype(np.float32)
    labels = np.array([kinds.index(name) for name in named], dtype=np.int64)
    return Detections("", size, corners, scores, labels, tuple(name for name, _ in kinds), masks), [hue for _, hue in kinds]


def error_picture(image: np.ndarray, truth: np.ndarray, found: np.ndarray) -> np.ndarray:
    """Return an image in grey, on which pixels with a wrong label are red."""
    grey = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)
    wrong = (truth != found) & (truth != IGNORED)
    grey[wrong] = (0.35 * grey[wrong] + 0.65 * np.array(FALSE[1][::-1])).astype(np.uint8)
    return fitted(grey)


def figure_of(rows: int, columns: int, size: tuple[float, float]) -> tuple[Any, np.ndarray]:
    """Return a figure of matplotlib of a width and height in inches, and its axes (rows, columns)."""
    from matplotlib.figure import Figure  # not by pyplot, which asks for a display

    figure = Figure(figsize=size, layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False)
