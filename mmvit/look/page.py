"""Self-contained pages of HTML: with their pictures inside, without scripts and without requests to servers."""

from base64 import b64encode
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined

from ..errors import InputError
from .charts import number, share

QUALITY = 88  # JPEG quality
NAMED = 40  # most classes whose names fit beside a matrix
BLUE = np.array([182, 99, 23])  # BGR


@cache
def _templates() -> Environment:
    loader = PackageLoader("mmvit.look")
    templates = Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined)
    templates.filters.update(number=number, share=share)
    return templates


def write(path: Path, template: str, title: str, lines: Sequence[str], content: Mapping[str, Any]) -> None:
    """Write a page: what its template shows, below `lines` in small print on its origin.

    Raises:
        InputError: the file cannot be written.
    """
    text = _templates().get_template(template).render(title=title, lines=lines, headings=[], **content)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror}. Choose another file with --out") from error


def side_by_side(sets: Mapping[str, Mapping[str, float]], images: Mapping[str, int]) -> dict[str, Any] | None:
    """Return the figures of several datasets as a table; None of one."""
    if len(sets) < 2:
        return None
    rows = [[name, images[name], *map(number, figures.values())] for name, figures in sets.items()]
    return dict(header=["dataset", "images", *next(iter(sets.values()))], rows=rows)


def with_sets(metrics: dict[str, float], sets: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """Return figures, followed by those of several datasets as `NAME/FIGURE`."""
    several = sets if len(sets) > 1 else {}
    return metrics | {f"{name}/{figure}": value for name, row in several.items() for figure, value in row.items()}


def address(image: np.ndarray) -> str:
    """Return a picture (H, W, 3), uint8, BGR, as an address that holds it."""
    _, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    return f"data:image/jpeg;base64,{b64encode(data.tobytes()).decode()}"


def shown(pictures: Iterable[tuple[Sequence[np.ndarray], str]]) -> list[tuple[list[str], str]]:
    """Return rows of pictures with their captions for the template."""
    return [([address(image) for image in images], caption) for images, caption in pictures]


def confusion(counts: np.ndarray, rows: Sequence[str], columns: Sequence[str], unit: str) -> dict[str, Any]:
    """Return a confusion matrix (R, C), true by predicted class, for the template: shares of each row.

    Matrices too large for names are pictures.
    """
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    content = dict(columns=columns, unit=unit, worst=list(worst_confusions(counts, rows, columns)), picture=None, rows=[])
    if len(rows) > NAMED:
        step = max(1, 1000 // len(rows))
        cells = (255 - shares[..., None] * (255 - BLUE)).astype(np.uint8).repeat(step, axis=0).repeat(step, axis=1)
        return content | dict(picture=address(cells))
    return content | dict(rows=list(zip(rows, shares.tolist(), strict=True)))


def worst_confusions(counts: np.ndarray, rows: Sequence[str], columns: Sequence[str], most: int = 10) -> Iterator[list[str]]:
    """Yield the largest cells off the diagonal as rows of a table: true class, predicted class, count, share of the row."""
    wrong = counts * (1 - np.eye(*counts.shape, dtype=np.int64))
    for cell in np.argsort(-wrong, axis=None, kind="stable")[:most]:
        row, column = divmod(int(cell), counts.shape[1])
        if wrong[row, column]:
            yield [rows[row], columns[column], f"{wrong[row, column]:,}", share(wrong[row, column] / counts[row].sum())]
