"""Shapes that several tools write: points, corners, turned boxes, ellipses."""

from collections.abc import Iterable, Sequence
from math import cos, pi, radians, sin

from ..description import Thing, box_of

ROUND = 36  # corners that stand for an ellipse


def from_polygons(name: str, polygons: Iterable[Sequence[float]]) -> Thing | None:
    """Return the object of polygons x1, y1, x2, y2, ...; those of fewer than three points are no areas."""
    kept = [list(map(float, polygon)) for polygon in polygons if len(polygon) >= 6 and len(polygon) % 2 == 0]
    return Thing(name, box_of(kept), kept) if kept else None


def from_corners(name: str, x1: float, y1: float, x2: float, y2: float) -> Thing:
    """Return the object of a box from two corners in any order."""
    return Thing(name, (min(x1, x2), min(y1, y2), abs(x2 - x1), abs(y2 - y1)))


def turned(name: str, box: Sequence[float], degrees: float, pivot: tuple[float, float]) -> Thing | None:
    """Return a box x, y, width, height that was turned clockwise about a point: a polygon, unless it is upright."""
    x, y, width, height = box
    if degrees % 360 == 0:
        return Thing(name, (x, y, width, height))
    left, top, right, bottom = x - pivot[0], y - pivot[1], x + width - pivot[0], y + height - pivot[1]
    return _about(name, pivot, [(left, top), (right, top), (right, bottom), (left, bottom)], degrees)


def ellipse(name: str, x: float, y: float, rx: float, ry: float, degrees: float = 0.0) -> Thing | None:
    """Return the object of an ellipse: a polygon of 36 corners."""
    angles = [2 * pi * step / ROUND for step in range(ROUND)]
    return _about(name, (x, y), [(rx * cos(angle), ry * sin(angle)) for angle in angles], degrees)


def _about(name: str, pivot: tuple[float, float], steps: Iterable[tuple[float, float]], degrees: float) -> Thing | None:
    """Return the polygon of corners that are so many steps right of and below a point, turned clockwise about it."""
    x, y = pivot
    c, s = cos(radians(degrees)), sin(radians(degrees))
    return from_polygons(name, [[value for dx, dy in steps for value in (x + c * dx - s * dy, y + s * dx + c * dy)]])
