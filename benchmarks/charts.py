"""Charts as SVG, for light and dark pages."""

from collections.abc import Mapping, Sequence
from html import escape

WIDTH, LEFT, RIGHT = 480, 132, 44  # of the picture, the labels and the values; it is read on phones, too
BAR, GAP = 15, 9
COLOURS = ("#00796b", "#e07b39", "#5c6bc0", "#9e9d24", "#8e5a8a")
STYLE = """\
<style>
.page { fill: #fff }
text { font: 13px system-ui, sans-serif; fill: #222 }
.minor { font-size: 11px; fill: #555 }
line { stroke: #999; stroke-dasharray: 3 3 }
@media (prefers-color-scheme: dark) { .page { fill: #1e2129 } text { fill: #eee } .minor { fill: #bbb } }
</style>"""


def bars(groups: Mapping[str, Mapping[str, float]], unit: str, *, line: float | None = None, digits: int = 2) -> str:
    """Return a chart with a group of horizontal bars for each label, in one colour for each series.

    Args:
        groups: label to series to value.
        unit: what the values are.
        line: value at which a line is drawn.
        digits: decimal places of the values.
    """
    series = list(dict.fromkeys(name for values in groups.values() for name in values))
    most = max(value for values in groups.values() for value in values.values())
    scale = (WIDTH - LEFT - RIGHT) / most
    legend, y = _legend(series)
    parts, top = [f'<text class="minor" x="{LEFT}" y="14">{escape(unit)}</text>', *legend], y
    for label, values in groups.items():
        middle = y + len(values) * BAR / 2 + 4
        parts.append(f'<text x="{LEFT - 8}" y="{middle:g}" text-anchor="end">{escape(label)}</text>')
        for name, value in values.items():
            colour, length = COLOURS[series.index(name)], value * scale
            parts.append(f'<rect x="{LEFT}" y="{y}" width="{length:.1f}" height="{BAR - 2}" fill="{colour}"/>')
            parts.append(f'<text class="minor" x="{LEFT + length + 4:.1f}" y="{y + 10}">{value:.{digits}f}</text>')
            y += BAR
        y += GAP
    if line is not None:
        x = LEFT + line * scale
        parts.append(f'<line x1="{x:.1f}" y1="{top - 4}" x2="{x:.1f}" y2="{y - GAP + 4}"/>')
    return _page(parts, y)


def _page(parts: Sequence[str], height: int) -> str:
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}">'
    return "\n".join([head, STYLE, f'<rect class="page" width="{WIDTH}" height="{height}"/>', *parts, "</svg>", ""])


def _legend(series: Sequence[str]) -> tuple[list[str], int]:
    """Return the legend, a line for each series if there are several, and where the bars begin."""
    parts, y = [], 24
    for colour, name in zip(COLOURS, series, strict=False):
        if len(series) == 1:
            break
        parts.append(f'<rect x="{LEFT}" y="{y}" width="11" height="11" fill="{colour}"/>')
        parts.append(f'<text class="minor" x="{LEFT + 17}" y="{y + 10}">{escape(name)}</text>')
        y += 17
    return parts, y + 6


def curves(series: Mapping[str, Sequence[tuple[float, float]]], along: str, *, most: float, height: int = 200) -> str:
    """Return a chart of series of points (x, y), y from 0 to `most`, each with its last value.

    Args:
        along: what x is.
    """
    left, below = 36, 34
    legend, top = _legend(list(series))
    last = max(x for points in series.values() for x, _ in points)
    bottom = top + height

    def at(x: float, y: float) -> str:
        return f"{left + x / last * (WIDTH - left - RIGHT):.1f},{bottom - y / most * height:.1f}"

    parts = [*legend]
    for tick in (0.0, 0.25, 0.5, 0.75, 1.0):
        y = bottom - tick * height
        parts.append(f'<line x1="{left}" y1="{y:g}" x2="{WIDTH - RIGHT}" y2="{y:g}"/>')
        parts.append(f'<text class="minor" x="{left - 6}" y="{y + 4:g}" text-anchor="end">{tick * most:g}</text>')
    for colour, points in zip(COLOURS, series.values(), strict=False):
        parts.append(
            f'<polyline fill="none" stroke="{colour}" stroke-width="2" points="{" ".join(at(*one) for one in points)}"/>'
        )
        x, y = at(*points[-1]).split(",")
        parts.append(f'<text class="minor" x="{float(x) + 4:g}" y="{float(y) + 4:g}">{points[-1][1]:.3g}</text>')
    for x in sorted({x for points in series.values() for x, _ in points}):
        parts.append(f'<text class="minor" x="{at(x, 0).split(",")[0]}" y="{bottom + 15}" text-anchor="middle">{x:g}</text>')
    parts.append(f'<text class="minor" x="{WIDTH / 2:g}" y="{bottom + 30}" text-anchor="middle">{escape(along)}</text>')
    return _page(parts, bottom + below)
