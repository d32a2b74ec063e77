"""Colours of classes that can be told apart."""

from collections.abc import Iterable
from functools import cache
from itertools import cycle

import cv2
import numpy as np

Colour = tuple[int, int, int]  # red, green, blue
GREY = (128, 128, 128)
COLOURS = 256  # that differ; then they repeat


@cache
def colours() -> list[Colour]:
    """Return colours of which each is as far as possible, in CIE's Lab, from those before it."""
    levels = np.arange(0, 256, 15)
    grid = np.stack(np.meshgrid(levels, levels, levels), -1).reshape(-1, 3)
    places = cv2.cvtColor((grid[None] / 255).astype(np.float32), cv2.COLOR_RGB2LAB)[0]
    vivid = (places[:, 0] > 40) & (places[:, 0] < 92) & (np.hypot(places[:, 1], places[:, 2]) > 35)
    grid, places = grid[vivid], places[vivid]
    chosen = [int(np.abs(grid - (240, 60, 60)).sum(axis=1).argmin())]
    apart = np.full(len(grid), np.inf)
    while len(chosen) < COLOURS:
        apart = np.minimum(apart, np.linalg.norm(places - places[chosen[-1]], axis=1))
        chosen.append(int(apart.argmax()))
    return [(int(red), int(green), int(blue)) for red, green, blue in grid[chosen]]


def palette_of(classes: Iterable[str]) -> list[Colour]:
    """Return a colour for each class, and grey for the background."""
    apart = cycle(colours())
    return [GREY if is_background(name) else next(apart) for name in classes]


def is_background(name: str) -> bool:
    """Return whether a class is what is around everything; LabelMe calls it _background_."""
    return name.strip("_").casefold() == "background"
