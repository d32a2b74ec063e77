"""Drawing of results on images: masks and boxes by supervision, names by Pillow.

A name stands where it covers neither another name nor much of any object. Where there is no such place, as in a crowd, it is
left out, and a legend has the colours of the classes that are named nowhere.
"""

import sys
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import cv2
import numpy as np

from ..data.colours import COLOURS, Colour, colours, is_background
from ..errors import InputError
from .fonts import font, font_file
from .results import Detections, LabelMap, Result, name_of, shared
from .sessions import needed

LEGEND = 12  # most classes in it
VEIL = 0.5  # share of a label's colour in a pixel
COVERED = 0.2  # most share of an object that a name may cover, and of a picture that the legend of a label map may
LINES, LETTERS = 350, 48  # a picture's longer side in widths of a line, in heights of a letter
LOWEST = 6  # least heights of a letter in a picture's shorter side
SMALLEST = 11  # height of a letter, pixels


class Plate(NamedTuple):
    """A text in a rectangle of its class's colour; `left` and `top` in pixels of the picture."""

    words: str
    label: int
    width: int
    height: int
    left: int = 0
    top: int = 0

    @property
    def box(self) -> np.ndarray:
        return np.array([self.left, self.top, self.left + self.width, self.top + self.height])

    def fits(self, shape: tuple[int, ...]) -> bool:
        """Return whether it is whole in a picture, and hides not too much of it."""
        height, width = shape[:2]
        inside = self.left + self.width <= width and 0 <= self.top <= height - self.height
        return inside and self.width * self.height <= COVERED * width * height


def require_drawing() -> None:
    """Raise InputError if the packages that draw are not installed."""
    needed("supervision", "draw")


def can_draw() -> bool:
    """Return whether the packages that draw are here, and say what to install if not."""
    try:
        require_drawing()
    except InputError as error:
        print(f"no overlays: {error}", file=sys.stderr)
        return False
    return True


def colour_of(label: int, palette: Sequence[Colour] | None = None) -> Colour:
    """Return the colour of a class: the dataset's, or one that depends only on its number."""
    red, green, blue = palette[label] if palette is not None and label < len(palette) else colours()[label % COLOURS]
    return red, green, blue


def draw(image: np.ndarray, result: Result, palette: Sequence[Colour] | None = None, boxes: bool = True) -> np.ndarray:
    """Return a copy of `image` (H, W, 3), uint8, BGR, with a result drawn on it.

    Args:
        image: of the result's size.
        result: objects are drawn with outlined masks and names; a score that is NaN, as of an annotation, is not written.
            Label maps get a legend, as long as there is room; where they say background, the picture stays as it is.
        boxes: whether to draw boxes around masks.

    Raises:
        InputError: supervision is not installed.
    """
    if isinstance(result, LabelMap):
        return _label_map(image, result, palette)
    return _detections(image, result, palette, boxes)


def _detections(image: np.ndarray, found: Detections, palette: Sequence[Colour] | None, boxes: bool) -> np.ndarray:
    supervision: Any = needed("supervision", "draw")
    drawn = image.copy()
    if not len(found):
        return drawn
    table = [supervision.Color(*colour_of(label, palette)) for label in range(int(found.labels.max()) + 1)]
    look: dict[str, Any] = dict(color=supervision.ColorPalette(table), color_lookup=supervision.ColorLookup.CLASS)
    width = max(1, round(max(image.shape[:2]) / LINES))
    objects = supervision.Detections(xyxy=np.rint(found.boxes), mask=found.masks, class_id=found.labels.astype(int))
    if found.masks is not None:
        drawn = supervision.MaskAnnotator(opacity=VEIL, **look).annotate(drawn, objects)
        drawn = supervision.PolygonAnnotator(thickness=max(1, width // 2), **look).annotate(drawn, objects)
    if boxes or found.masks is None:
        drawn = supervision.BoxAnnotator(thickness=width, **look).annotate(drawn, objects)
    size, named = letters(image), []
    for label, score in zip(found.labels.tolist(), found.scores, strict=True):
        name = drawable(found.classes, label)
        named.append(plate(name if np.isnan(score) else f"{name} {score:.2f}", label, size))
    plates = list(placed(found.boxes, named, image.shape))
    unnamed = sorted(set(found.labels.tolist()) - {one.label for one in plates})
    legend = [plate(drawable(found.classes, label), label, size) for label in unnamed[:LEGEND]]
    return _written(drawn, [*plates, *in_a_corner(found.boxes, legend, image.shape)], palette, size)


def _label_map(image: np.ndarray, found: LabelMap, palette: Sequence[Colour] | None) -> np.ndarray:
    most = max(len(found.classes), int(found.labels.max()) + 1)
    table = np.array([colour_of(label, palette)[::-1] for label in range(most)], dtype=np.uint8)
    shown = np.array([not is_background(name_of(found.classes, label)) for label in range(most)], dtype=np.uint8)
    veiled = cv2.addWeighted(image, 1 - VEIL, table[found.labels], VEIL, 0)
    drawn = cv2.copyTo(veiled, shown[found.labels], image.copy())
    labels, counts = np.unique(found.labels, return_counts=True)
    by_share = sorted(zip(labels.tolist(), counts.tolist(), strict=True), key=lambda pair: -pair[1])
    size = letters(image)
    legend = [
        plate(f"{drawable(found.classes, label)} {count / found.labels.size:.0%}", label, size)
        for label, count in [pair for pair in by_share if shown[pair[0]]][:LEGEND] or by_share[:1]
    ]
    hidden = np.cumsum([one.width * one.height for one in legend]).tolist()
    legend = [one for one, area in zip(legend, hidden, strict=True) if area <= COVERED * found.labels.size]
    return _written(drawn, column(legend, 0, 0, image.shape), palette, size)


def letters(image: np.ndarray) -> int:
    """Return the height of letters that can be read with the picture as wide as a phone."""
    return max(SMALLEST, round(min(max(image.shape[:2]) / LETTERS, min(image.shape[:2]) / LOWEST)))


def drawable(classes: Sequence[str], label: int) -> str:
    """Return the name of a class, or its number where no font has its characters."""
    name = name_of(classes, label)
    return name if font_file(name) else f"class {label}"


def plate(words: str, label: int, size: int) -> Plate:
    """Return a text that has no place yet."""
    written_in = _font(words, size)
    return Plate(words, label, round(written_in.getlength(words)) + 2 * (size // 4), sum(written_in.getmetrics()))


def _font(words: str, size: int) -> Any:
    file = font_file(words)
    assert file is not None  # `drawable` made sure
    return font(file, size)


def placed(boxes: np.ndarray, plates: Sequence[Plate], shape: tuple[int, ...]) -> Iterator[Plate]:
    """Yield the plates of objects, the first object's first, that find a place beside or in their boxes (N, 4)."""
    most = COVERED * np.maximum((boxes[:, 2:] - boxes[:, :2]).prod(axis=1), 1)
    taken = np.empty((0, 4))
    for (x1, y1, x2, y2), one in zip(boxes, plates, strict=True):
        above, across = y1 - one.height, x2 - one.width
        corners = [(x1, above), (x1, y2), (across, above), (across, y2), (x2, y1), (x1 - one.width, y1), (x1, y1)]
        room = np.maximum((shape[1] - one.width, shape[0] - one.height), 0)
        lefts = np.clip(corners, 0, room).astype(int)
        places = np.hstack([lefts, np.add(lefts, (one.width, one.height))])
        free = ~shared(places, taken).any(axis=1) & (shared(places, boxes) <= most).all(axis=1)
        if free.any() and one.fits(shape):
            here = places[free.argmax()]
            taken = np.vstack([taken, here])
            yield one._replace(left=int(here[0]), top=int(here[1]))


def in_a_corner(boxes: np.ndarray, plates: Sequence[Plate], shape: tuple[int, ...]) -> list[Plate]:
    """Return plates as a column in the first corner where they cover no object; none if there is no such corner."""
    areas = np.maximum((boxes[:, 2:] - boxes[:, :2]).prod(axis=1), 1)
    wide, tall = max((one.width for one in plates), default=0), sum(one.height for one in plates)
    for top in (0, shape[0] - tall):
        for left in (0, shape[1] - wide):
            corner = column(plates, left, top, shape)
            if all((shared(one.box, boxes) <= COVERED * areas).all() for one in corner):
                return corner
    return []


def column(plates: Sequence[Plate], left: int, top: int, shape: tuple[int, ...]) -> list[Plate]:
    """Return those plates, one below the other, that fit into the picture."""
    tops = np.cumsum([top, *(one.height for one in plates)]).tolist()
    below = [one._replace(left=left, top=at) for one, at in zip(plates, tops, strict=False)]
    return [one for one in below if one.fits(shape)]


def _written(image: np.ndarray, plates: Sequence[Plate], palette: Sequence[Colour] | None, size: int) -> np.ndarray:
    for one in plates:
        part = image[one.top : one.top + one.height, one.left : one.left + one.width]
        part[:] = _pixels(one.words, one.width, one.height, colour_of(one.label, palette), size)[: len(part), : part.shape[1]]
    return image


@lru_cache(256)
def _pixels(words: str, width: int, height: int, colour: Colour, size: int) -> np.ndarray:
    """Return a plate (height, width, 3), BGR."""
    from PIL import Image, ImageDraw

    red, green, blue = colour
    picture = Image.new("RGB", (width, height), colour)
    ink = "black" if 0.299 * red + 0.587 * green + 0.114 * blue > 140 else "white"
    ImageDraw.Draw(picture).text((size // 4, 0), words, fill=ink, font=_font(words, size))
    return np.asarray(picture)[..., ::-1]
