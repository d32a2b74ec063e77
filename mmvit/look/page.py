"""A self-contained page of HTML: with its pictures inside, without scripts and without requests to servers."""

from base64 import b64encode
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

import cv2
import numpy as np

from ..errors import InputError
from .charts import NOTHING

STYLE = """
:root { color-scheme: light; }
body {
  font: 15px/1.5 system-ui, sans-serif; color: #1d2329; background: #f6f7f9; margin: 0 auto; max-width: 1180px; padding: 24px;
}
h1 { font-size: 26px; margin: 0 0 4px; }
h2 { font-size: 19px; margin: 0 0 8px; }
p { margin: 0 0 12px; max-width: 80ch; }
.quiet { color: #5d6873; overflow-wrap: anywhere; }
section { background: #fff; border: 1px solid #e1e5ea; border-radius: 10px; padding: 18px 20px; margin: 16px 0; }
nav a { margin-right: 14px; color: #1763b6; }
.figures { display: flex; flex-wrap: wrap; gap: 10px; padding: 0; }
.figures div { border: 1px solid #e1e5ea; border-radius: 8px; padding: 6px 14px; }
.figures dt { color: #5d6873; font-size: 13px; }
.figures dd { margin: 0; font-size: 20px; font-variant-numeric: tabular-nums; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: 3px 12px 3px 0; text-align: right; border-bottom: 1px solid #eceff2; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
th { color: #5d6873; font-weight: 600; }
.row { display: flex; flex-wrap: wrap; gap: 16px; align-items: flex-start; }
.row, .figures { margin: 12px 0; }
.row > * { margin: 0; }
figure { margin: 0; max-width: 100%; }
figcaption { color: #5d6873; font-size: 13px; overflow-wrap: anywhere; }
img { max-width: 100%; height: auto; }
.tiles { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 340px), 1fr)); gap: 16px; }
.tiles img { width: 100%; }
"""
QUALITY = 88  # JPEG quality
SIDE = 1000  # pixels; larger pictures are reduced to it


class Page:
    """A page that grows from top to bottom.

    Args:
        title: title of the page.
        lines: lines in small print on its origin.
    """

    def __init__(self, title: str, lines: Iterable[str] = ()) -> None:
        self.title = title
        self.parts: list[str] = []
        self.headings: list[str] = []
        self.lines = list(lines)

    def section(self, heading: str, text: str = "") -> None:
        """Begin a section, to which everything that is added next belongs."""
        if self.headings:
            self.parts.append("</section>")
        self.headings.append(heading)
        self.parts.append(f'<section id="s{len(self.headings)}"><h2>{escape(heading)}</h2>')
        if text:
            self.paragraph(text)

    def paragraph(self, text: str) -> None:
        self.parts.append(f"<p>{escape(text)}</p>")

    def figures(self, values: dict[str, str]) -> None:
        """Add a few important numbers."""
        cells = "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in values.items())
        self.parts.append(f'<dl class="figures">{cells}</dl>')

    def table(self, header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        head = "".join(f"<th>{escape(cell)}</th>" for cell in header)
        body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
        self.parts.append(f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>')

    def charts(self, *drawings: tuple[bytes, str]) -> None:
        """Add charts in a row, each as SVG with a description for screen readers."""
        self.parts.append('<div class="row">')
        for svg, words in drawings:
            self.parts.append(f'<img alt="{escape(words)}" src="data:image/svg+xml;base64,{b64encode(svg).decode()}">')
        self.parts.append("</div>")

    def pictures(self, tiles: Iterable[tuple[np.ndarray, str]]) -> None:
        """Add pictures (H, W, 3), uint8, BGR, each with a caption."""
        self.parts.append('<div class="tiles">')
        for image, caption in tiles:
            words = escape(caption)
            self.parts.append(f'<figure><img alt="{words}" src="{_address(image)}"><figcaption>{words}</figcaption></figure>')
        self.parts.append("</div>")

    def write(self, path: Path) -> None:
        """Write the page.

        Raises:
            InputError: the file cannot be written.
        """
        links = "".join(f'<a href="#s{index}">{escape(name)}</a>' for index, name in enumerate(self.headings, 1))
        lines = "<br>".join(map(escape, self.lines))
        closing = "</section>" if self.headings else ""
        text = (
            f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(self.title)}</title>'
            f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{STYLE}</style></head><body>'
            f'<h1>{escape(self.title)}</h1><p class="quiet">{lines}</p><nav>{links}</nav>'
            f"{''.join(self.parts)}{closing}</body></html>\n"
        )
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        except OSError as error:
            raise InputError(f"{path} cannot be written: {error.strerror}. Choose another file with --out") from error


def _address(image: np.ndarray) -> str:
    _, data = cv2.imencode(".jpg", reduced(image), [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    return f"data:image/jpeg;base64,{b64encode(data.tobytes()).decode()}"


def reduced(image: np.ndarray) -> np.ndarray:
    """Return a picture, reduced so that its longer side has at most `SIDE` pixels."""
    longest = max(image.shape[:2])
    if longest <= SIDE:
        return image
    return cv2.resize(image, None, fx=SIDE / longest, fy=SIDE / longest, interpolation=cv2.INTER_AREA)


def number(value: float, digits: int = 3) -> str:
    """Return a number as text; a dash for NaN."""
    return f"{value:.{digits}f}" if value == value else NOTHING


def share(value: float) -> str:
    """Return a share as a percentage; a dash for NaN."""
    return f"{value:.1%}" if value == value else NOTHING
