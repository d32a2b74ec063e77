"""The pixels of label maps, as numbers or colours; of JPEG files, black and white alone."""

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

from ..description import IGNORED
from ..folder import NO_IMAGE, Folder

EIGHT_BITS = ("P", "L", "1")
WIDE = ("I", "I;16")
LOSSLESS = (".png", ".bmp", ".tif", ".tiff")
LOSSY = (".jpg", ".jpeg")  # black and white masks survive these: Kvasir-SEG has such
MOSTLY = 0.97  # share of the pixels of such a mask that are as they were drawn
NEAR = np.ones((17, 17), np.uint8)  # JPEG's blocks are 8 pixels wide: white changes black pixels at most that far
FLAT = np.ones((10, 10), np.uint8)  # a class fills such patches; what white leaves beside it may fill a block of 8

Colour = tuple[int, int, int]


def read_map(folder: Folder, label: Path, void: int = IGNORED, coloured: bool = False) -> np.ndarray | None:
    """Return the values of a map (H, W), or its colours (H, W, 3); None if it cannot be read.

    A palette's image has values; a grey image in three channels, too. Of a JPEG, black and white is read alone.

    Args:
        void: what becomes of pixels whose bits are all set: 255, or 65535 of 16 bits.
        coloured: whether a palette's image has its colours instead.
    """
    try:
        with Image.open(folder.root / label) as image:
            return _pixels(image, void, coloured)
    except NO_IMAGE:
        return None


def _pixels(image: Image.Image, void: int, coloured: bool) -> np.ndarray | None:
    if image.format == "JPEG":
        black = np.array(image.convert("L"))
        return np.where(black > 127, IGNORED, 0) if _is_mask(black) else None
    if image.mode in (*EIGHT_BITS, *WIDE) and not (coloured and image.mode == "P"):
        values = np.array(image).astype(np.int64)
        return np.where(values == (65535 if image.mode in WIDE else IGNORED), void, values)
    pixels = np.array(image.convert("RGB"))
    grey = (pixels[..., 0] == pixels[..., 1]).all() and (pixels[..., 0] == pixels[..., 2]).all()
    return np.where(pixels[..., 0] == IGNORED, void, pixels[..., 0].astype(np.int64)) if grey else pixels


def numbers_of(folder: Folder, values: Sequence[Any], label: Path) -> np.ndarray:
    """Return the number of each pixel's class (H, W), uint8, in the order of the classes' values or colours; 255 is none."""
    pixels = read_map(folder, label, coloured=are_colours(values))
    assert pixels is not None  # it was read before
    labels = np.full(pixels.shape[:2], IGNORED, np.uint8)
    for number, value in enumerate(values):  # a map that is grey all over has one channel, among colours, too
        same = pixels[..., None] == value if pixels.ndim == 2 else pixels == value
        labels[same.all(2)] = number
    return labels


def are_colours(values: Iterable[Any]) -> bool:
    """Return whether any of the values of maps are colours; then those of palettes are, too."""
    return any(isinstance(value, tuple) for value in values)


def _is_mask(grey: np.ndarray) -> bool:
    """Return whether a JPEG (H, W) was black and white: black is black where no white is near, unlike classes 1 to 10."""
    black, white = grey < 64, grey > 191
    far = black & (cv2.dilate(white.astype(np.uint8), NEAR) == 0)
    if (black | white).mean() <= MOSTLY or (far.any() and (grey[far] <= 2).mean() <= MOSTLY):
        return False
    return not any(cv2.erode((far & (grey == level)).astype(np.uint8), FLAT, borderValue=0).any() for level in range(1, 11))


def counts_of(folder: Folder, label: Path) -> tuple[Counter[Any], dict[int, Colour]]:
    """Return the number of pixels of each value or colour of a map, none if it cannot be read; and its palette.

    The palette has the colours of the values that occur; it is empty if each, 255 aside, is the grey of its number.
    """
    try:
        with Image.open(folder.root / label) as image:
            array = _pixels(image, IGNORED, coloured=False)
            palette = image.getpalette() if image.mode == "P" else None
    except NO_IMAGE:
        array = None
    if array is None:
        return Counter(), {}
    values, counts = np.unique(packed(array), return_counts=True)
    keys: list[Any] = [value if array.ndim == 2 else (value >> 16, value >> 8 & 255, value & 255) for value in values.tolist()]
    return Counter(dict(zip(keys, counts.tolist(), strict=True))), {} if palette is None else _colours(palette, keys)


def _colours(palette: Sequence[int], values: Iterable[int]) -> dict[int, Colour]:
    strip = Image.fromarray(np.arange(256, dtype=np.uint8)[None])
    strip.putpalette(palette)
    colours = [tuple(colour) for colour in np.array(strip.convert("RGB"))[0].tolist()]
    found = {value: colours[value] for value in values}
    return found if any(colour != (value, value, value) for value, colour in found.items() if value != IGNORED) else {}


def packed(array: np.ndarray) -> np.ndarray:
    """Return the values of a map (H, W), or of colours (H, W, 3) a number each, as 0xRRGGBB."""
    return array if array.ndim == 2 else array.astype(np.int64) @ np.array([65536, 256, 1])


def flat(folder: Folder, label: Path) -> bool:
    """Return whether a map has one channel of eight bits, as mmseg needs it."""
    with Image.open(folder.root / label) as image:
        return image.mode in EIGHT_BITS
