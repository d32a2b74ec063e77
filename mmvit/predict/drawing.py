"""Drawing of results on images."""

import colorsys
from collections.abc import Sequence

import cv2
import numpy as np

from .results import Detections, LabelMap, Result, name_of

Colour = tuple[int, int, int]  # red, green, blue
GOLDEN = 0.618034  # steps of this share of the circle keep the hues of neighbours apart
LEGEND = 12  # most classes in it
VEIL = 0.5  # share of a label's colour in a pixel


def colour_of(label: int, palette: Sequence[Colour] | None = None) -> Colour:
    """Return the colour of a class: the dataset's, or one that depends only on its number."""
    if palette is not None and label < len(palette):
        return palette[label]
    red, green, blue = colorsys.hsv_to_rgb((label * GOLDEN) % 1, 0.75 - 0.25 * (label // 7 % 2), 0.95)
    return int(red * 255), int(green * 255), int(blue * 255)


def draw(image: np.ndarray, result: Result, palette: Sequence[Colour] | None = None, boxes: bool = True) -> np.ndarray:
    """Return a copy of `image` (H, W, 3), uint8, BGR, with a result drawn on it.

    Args:
        image: of the result's size.
        result: the result; objects are drawn with outlined masks and labels, label maps with a legend. Objects whose score is
            NaN are annotations: their label has no score.
        palette: colours of the classes.
        boxes: whether to draw boxes around masks.
    """
    if isinstance(result, LabelMap):
        return _label_map(image, result, palette)
    return _detections(image.copy(), result, palette, boxes)


def _detections(image: np.ndarray, found: Detections, palette: Sequence[Colour] | None, boxes: bool) -> np.ndarray:
    scale = _scale(image)
    colours = [colour_of(int(label), palette)[::-1] for label in found.labels]
    if found.masks is not None:
        for mask, colour in zip(found.masks, colours, strict=True):
            image[mask] = (image[mask] * (1 - VEIL) + np.array(colour) * VEIL).astype(np.uint8)
            outline, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
            cv2.drawContours(image, outline, -1, colour, max(1, round(scale)))
    corners = np.rint(found.boxes).astype(int).tolist()
    for (left, top, right, bottom), colour in zip(corners, colours, strict=True):
        if boxes or found.masks is None:
            cv2.rectangle(image, (left, top), (right, bottom), colour, max(1, round(2 * scale)))
    for index in range(len(found) - 1, -1, -1):  # the surest label on top
        left, top = corners[index][:2]
        score = found.scores[index]
        words = f"{found.names[index]} {score:.2f}" if score == score else found.names[index]  # annotations have none: NaN
        _text(image, words, left, top, colours[index], scale)
    return image


def _label_map(image: np.ndarray, found: LabelMap, palette: Sequence[Colour] | None) -> np.ndarray:
    most = max(len(found.classes), int(found.labels.max()) + 1)
    table = np.array([colour_of(label, palette)[::-1] for label in range(most)], dtype=np.uint8)
    drawn = cv2.addWeighted(image, 1 - VEIL, table[found.labels], VEIL, 0)
    labels, counts = np.unique(found.labels, return_counts=True)
    scale, bottom = _scale(image), 0
    for index in np.argsort(-counts, kind="stable")[:LEGEND]:
        label = int(labels[index])
        words = f"{name_of(found.classes, label)} {counts[index] / found.labels.size:.0%}"
        bottom = _text(drawn, words, 0, bottom, tuple(table[label].tolist()), scale, below=True)
        if bottom >= len(image):
            break
    return drawn


def _scale(image: np.ndarray) -> float:
    return min(2.5, max(0.6, max(image.shape[:2]) / 1000))


def _text(
    image: np.ndarray, words: str, left: int, top: int, colour: tuple[int, ...], scale: float, below: bool = False
) -> int:
    """Write on a plate of `colour` inside the image, above `top` if there is room; return the plate's lower edge."""
    font, size, thickness, margin = cv2.FONT_HERSHEY_SIMPLEX, 0.5 * scale, max(1, round(scale)), round(4 * scale)
    (width, height), base = cv2.getTextSize(words, font, size, thickness)
    tall = height + base + margin
    left = max(0, min(left, image.shape[1] - width - 2 * margin))
    top = top if below or top < tall else top - tall
    cv2.rectangle(image, (left, top), (left + width + 2 * margin, top + tall), colour, cv2.FILLED)
    blue, green, red = colour
    ink = (0, 0, 0) if 0.299 * red + 0.587 * green + 0.114 * blue > 140 else (255, 255, 255)
    cv2.putText(image, words, (left + margin, top + tall - base - margin // 2), font, size, ink, thickness, cv2.LINE_AA)
    return top + tall
