"""Charts for a page: what the template draws as SVG."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..measure.calibration import Calibration

NOTHING = "\N{EN DASH}"  # in the place of NaN
INK, QUIET, BLUE, RED = "#1d2329", "#7d8894", "#1763b6", "#c8402f"
APART = 40  # least distance of two labels along an axis, in pixels


@dataclass(frozen=True)
class Axis:
    """Values from `low` to `high`."""

    label: str
    low: float = 0.0
    high: float = 1.0
    logarithmic: bool = False

    def shares(self, values: np.ndarray | Sequence[float]) -> np.ndarray:
        """Return where values are on the axis, from 0 to 1."""
        kept = np.clip(np.asarray(values, dtype=float), self.low, self.high)
        if self.logarithmic:
            return np.log(kept / self.low) / np.log(self.high / self.low)
        return (kept - self.low) / (self.high - self.low)

    def ticks(self, pixels: float) -> Iterator[tuple[float, str]]:
        """Yield place and text of labels along an axis of a length."""
        from matplotlib.ticker import LogLocator, MaxNLocator

        most = max(2, int(pixels // APART))
        locator: Any = MaxNLocator(most, steps=(1, 2, 5, 10))
        if self.logarithmic:
            locator = LogLocator(subs=(1, 2, 5) if self.high < 1000 * self.low else (1,))
        values = [value for value in locator.tick_values(self.low, self.high) if self.low <= value <= self.high]
        for value in values[:: -(-len(values) // (most + 1))]:
            yield float(self.shares([value])[0]) * pixels, f"{value:,.0f}" if value >= 1000 else f"{value:.4g}"


@dataclass
class Chart:
    """Lines, bars and points over two axes; it grows by its methods."""

    title: str
    x: Axis
    y: Axis
    shapes: list[tuple[str, str, str]] = field(default_factory=list)  # class of the style, colour and SVG path of each
    legend: dict[str, str] = field(default_factory=dict)  # colours by name
    size = (400, 270)  # width, height
    frame = (62, 8, 390, 230)  # left, top, right, bottom

    def line(self, x: np.ndarray, y: np.ndarray, colour: str = BLUE, name: str = "", kind: str = "") -> None:
        points = self._points(x, y)
        if points:
            self.shapes.append((kind, colour, "M" + "L".join(points)))
        if name:
            self.legend[name] = colour

    def bars(self, edges: np.ndarray, heights: np.ndarray, colour: str = BLUE) -> None:
        """Add bars (N,) between edges (N + 1,)."""
        bottom, filled = self.frame[3], np.flatnonzero(heights > 0)
        left, right = self._points(edges[filled], heights[filled]), self._points(edges[filled + 1], heights[filled])
        bars = [f"M{a.split()[0]} {bottom}V{a.split()[1]}H{b.split()[0]}V{bottom}" for a, b in zip(left, right, strict=True)]
        if bars:
            self.shapes.append(("bars", colour, "".join(bars)))

    def dots(self, x: np.ndarray, y: np.ndarray) -> None:
        self._add("dots", BLUE, x, y, "h0")

    def crosses(self, x: np.ndarray, y: np.ndarray) -> None:
        self._add("", RED, x, y, "m-3-3l6 6m-6 0l6-6")

    def mark(self, x: float) -> None:
        """Add a line across."""
        self.line(np.array([x, x]), np.array([self.y.low, self.y.high]), RED, kind="dashed")

    def _add(self, kind: str, colour: str, x: np.ndarray, y: np.ndarray, shape: str) -> None:
        if points := dict.fromkeys(self._points(x, y)):  # each place once
            self.shapes.append((kind, colour, "".join(f"M{point}{shape}" for point in points)))

    def _points(self, x: np.ndarray, y: np.ndarray) -> list[str]:
        left, top, right, bottom = self.frame
        places = zip(left + self.x.shares(x) * (right - left), bottom - self.y.shares(y) * (bottom - top), strict=True)
        return [f"{across:.1f} {up:.1f}" for across, up in places]


def curves(lines: Mapping[str, tuple[np.ndarray, np.ndarray]], title: str, x: Axis, y: Axis) -> Chart:
    """Return a chart of named curves (N,); the last of several is drawn in ink."""
    chart = Chart(title, x, y)
    for index, (name, (across, up)) in enumerate(lines.items()):
        last = index + 1 == len(lines) > 1
        chart.line(across, up, INK if last else f"hsl({212 + 360 * index / max(len(lines) - 1, 1):.0f} 68% 42%)", name)
    return chart


def calibrated(calibration: Calibration, measure: str, what: str) -> dict[str, Any]:
    """Return the calibration error, and the share of correct predictions and their number by score, for the template."""
    reliability = Chart(f"Score and {measure}", Axis("score"), Axis(f"share of correct {what}"))
    scores, right, numbers = calibration.scores, calibration.shares, calibration.numbers
    edges, filled = np.linspace(0, 1, len(numbers) + 1), numbers > 0
    if filled.any():
        reliability.bars(edges, np.nan_to_num(right))
        reliability.line(np.array([0, 1]), np.array([0, 1]), QUIET, kind="dashed")
        reliability.line(scores[filled], right[filled])
    number_axis = Axis("number", 0.8, max(numbers.max(), 2) * 1.3, logarithmic=True)
    scored = Chart(f"Number of {what} by score", Axis("score"), number_axis)
    scored.bars(edges, numbers, QUIET)
    return dict(calibration_error=calibration.error, reliability=reliability, scored=scored)


def by_size(sides: np.ndarray) -> dict[str, np.ndarray]:
    """Return which objects (N,) have sides between two powers of two, by names with their number."""
    powers = np.floor(np.log2(np.maximum(sides, 1))).astype(int)
    return {f"{2**power} to {2 ** (power + 1)} px ({(powers == power).sum()})": powers == power for power in np.unique(powers)}


def histogram(
    values: np.ndarray,
    title: str,
    across: str,
    logarithmic: bool = False,
    marks: Sequence[float] = (),
    high: float | None = None,
) -> Chart:
    """Return a histogram of numbers; `marks` are lines across it, `high` the end of the axis."""
    numbers = np.asarray(values, dtype=float)
    if not len(numbers):
        return Chart(title, Axis(across), Axis("number"))
    ends = [float(numbers.min()), float(numbers.max()), *(marks if logarithmic else ())]
    if logarithmic:
        edges = np.geomspace(max(min(ends), 1e-3), max(*ends, 2e-3) * 1.0001, 31)
    else:
        edges = np.linspace(0, high or ends[1] or 1.0, 31)
    heights, _ = np.histogram(np.clip(numbers, edges[0], edges[-1]), edges)
    chart = Chart(title, Axis(across, edges[0], edges[-1], logarithmic), Axis("number", 0, float(heights.max())))
    chart.bars(edges, heights)
    for mark in marks:
        chart.mark(mark)
    return chart


def lengths(values: Mapping[str, float], full: float | None = None) -> list[tuple[str, float, str]]:
    """Return named numbers as bars: name, share of the longest or of `full`, text."""
    longest = full or max((value for value in values.values() if value == value), default=0.0)
    return [(name, float(np.nan_to_num(value)) / (longest or 1.0), number(value)) for name, value in values.items()]


def number(value: float, digits: int = 3) -> str:
    """Return a number as text; a dash for NaN."""
    return f"{value:.{digits}f}" if value == value else NOTHING


def share(value: float) -> str:
    """Return a share as a percentage; a dash for NaN."""
    return f"{value:.1%}" if value == value else NOTHING
