"""Charts as SVG, drawn by matplotlib, which mmdet and mmseg require anyway."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

NOTHING = "\N{EN DASH}"  # in the place of NaN
INK, QUIET, BLUE, RED = "#1d2329", "#9aa5b1", "#1763b6", "#c8402f"
NAMED = 40  # most classes whose names fit beside a matrix
CELLS = 16  # most classes whose cells have room for numbers


def lines(curves: Mapping[str, tuple[np.ndarray, np.ndarray]], title: str, across: str, up: str) -> bytes:
    """Return a chart of curves between (0, 0) and (1, 1), each given as x and y (N,)."""
    figure, axes = _figure(5.4, 4.2)
    colours = _colours(len(curves))
    for (name, (x, y)), colour in zip(curves.items(), colours, strict=True):
        axes.plot(x, y, label=name, color=colour, linewidth=1.6)
    axes.set(xlim=(0, 1), ylim=(0, 1.02), xlabel=across, ylabel=up, title=title)
    axes.grid(alpha=0.25)
    if curves:
        axes.legend(fontsize=8, loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False)
    return _svg(figure)


def reliability(scores: np.ndarray, right: np.ndarray, counts: np.ndarray, title: str, up: str) -> bytes:
    """Return a reliability diagram: the share of correct predictions by mean score, and their number.

    Args:
        scores: (bins,) mean score of a bin; NaN for an empty one.
        right: (bins,) share of correct predictions.
        counts: (bins,) number of predictions.
    """
    figure, (above, below) = _figure(4.6, 4.6, rows=2, height_ratios=[3, 1], sharex=True)
    edges = np.linspace(0, 1, len(counts) + 1)
    filled = counts > 0
    above.bar(edges[:-1][filled], right[filled], width=1 / len(counts), align="edge", color=BLUE, alpha=0.35)
    above.plot([0, 1], [0, 1], color=QUIET, linestyle="--", linewidth=1)
    above.plot(scores[filled], right[filled], "o-", color=BLUE, markersize=4)
    above.set(ylim=(0, 1.02), ylabel=up, title=title)
    below.bar(edges[:-1], counts, width=1 / len(counts), align="edge", color=QUIET)
    below.set(xlim=(0, 1), xlabel="score", ylabel="number", yscale="log" if filled.any() else "linear")
    return _svg(figure)


def bars(values: Mapping[str, float], title: str, across: str, digits: int = 3, colour: str = BLUE) -> bytes:
    """Return a chart of named numbers as horizontal bars, the first on top."""
    figure, axes = _figure(5.4, 1.2 + 0.3 * len(values))
    names, lengths = list(values), [0.0 if value != value else value for value in values.values()]
    drawn = axes.barh(names[::-1], lengths[::-1], color=colour, height=0.7)
    labels = [NOTHING if value != value else f"{value:.{digits}f}" for value in values.values()]
    axes.bar_label(drawn, labels[::-1], padding=3, fontsize=8)
    axes.set(title=title, xlabel=across, xlim=(0, 1.18 * max([*lengths, 1e-9])))
    axes.spines[["top", "right"]].set_visible(False)
    return _svg(figure)


def histogram(values: np.ndarray, title: str, across: str, logarithmic: bool = False, marks: Sequence[float] = ()) -> bytes:
    """Return a histogram of numbers; `marks` are lines across it."""
    figure, axes = _figure(4.8, 3.2)
    if len(values):
        low, high = float(values.min()), float(values.max())
        edges: Any = 30
        if logarithmic and low > 0 and high > low:
            edges = np.geomspace(low, high, 31)
            axes.set_xscale("log")
            _plain(axes.xaxis)
        axes.hist(values, bins=edges, color=BLUE)
    for mark in marks:
        axes.axvline(mark, color=RED, linestyle="--", linewidth=1)
    axes.set(title=title, xlabel=across, ylabel="number")
    return _svg(figure)


def matrix(counts: np.ndarray, rows: Sequence[str], columns: Sequence[str], title: str) -> bytes:
    """Return a confusion matrix; cells show shares of their row.

    Args:
        counts: (R, C).
        rows, columns: names of the true and the predicted classes.
    """
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    side = min(11.0, 2.6 + 0.42 * max(len(rows), 4)) if len(rows) <= NAMED else 9.0
    figure, axes = _figure(side + 0.6, side)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    axes.set(title=title, xlabel="predicted", ylabel="true")
    if len(rows) <= NAMED:
        axes.set_xticks(range(len(columns)), columns, rotation=60, ha="right", rotation_mode="anchor", fontsize=8)
        axes.set_yticks(range(len(rows)), rows, fontsize=8)
    if len(rows) <= CELLS:
        for row, column in zip(*np.nonzero(counts), strict=True):
            ink = "white" if shares[row, column] > 0.55 else INK
            text = f"{100 * shares[row, column]:.0f}"
            axes.text(column, row, text, ha="center", va="center", fontsize=8, color=ink)
    return _svg(figure)


def points(x: np.ndarray, y: np.ndarray, marks: np.ndarray, title: str, across: str, up: str) -> bytes:
    """Return a chart of points, such as widths and heights, on logarithmic axes, with crosses (M, 2), such as anchors."""
    figure, axes = _figure(4.8, 4.4)
    axes.scatter(x, y, s=6, color=BLUE, alpha=0.35, linewidths=0, rasterized=True)
    if len(marks):
        axes.scatter(marks[:, 0], marks[:, 1], marker="x", s=26, color=RED, linewidths=1.2)
    axes.set(title=title, xlabel=across, ylabel=up, xscale="log", yscale="log")
    axes.grid(alpha=0.25)
    _plain(axes.xaxis)
    _plain(axes.yaxis)
    return _svg(figure)


def _plain(axis: Any) -> None:
    """Label a logarithmic axis with 20, 50, 100 instead of powers of ten."""
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axis.set_minor_formatter(NullFormatter())


def _colours(count: int) -> list[Any]:
    from matplotlib import colormaps

    if count <= 10:
        return [colormaps["tab10"](index) for index in range(count)]
    return [colormaps["turbo"](index / (count - 1)) for index in range(count)]


def _figure(width: float, height: float, rows: int = 1, sharex: bool = False, **grid: Any) -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots(rows, 1, sharex=sharex, gridspec_kw=grid or None)
    for one in np.atleast_1d(axes):
        one.title.set_fontsize(11)
        one.tick_params(labelsize=8)
    return figure, axes


def _svg(figure: Any) -> bytes:
    from matplotlib import rc_context
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    buffer = io.BytesIO()
    with rc_context({"svg.fonttype": "none", "font.family": "sans-serif", "svg.hashsalt": "mmvit"}):
        FigureCanvasSVG(figure).print_svg(buffer, metadata=dict(Date=None))
    return buffer.getvalue()
