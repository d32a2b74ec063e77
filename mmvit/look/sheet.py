"""`mmvit look`: what a model sees in an image, on one contact sheet in print quality."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ..errors import InputError, nearest
from ..predict.drawing import require_drawing
from ..predict.predictor import Predictor
from ..predict.results import LabelMap, Result
from ..predict.writing import Names
from ..weights.downloads import require_no_export
from . import seeing
from .pictures import drawn, figure_of

CELL = 2.1  # inches
DPI = 200
VEIL = 0.55  # share of a heat map's colours over the image
ATTENTION = "attention of the point"


Point = tuple[float, float]  # x and y in pixels of an image


def look(predictor: Predictor, paths: list[str], out: Path, point: Point | None, name: str | None) -> list[Path]:
    """Write a sheet of each image as PNG and PDF into a folder, and return the PNG files.

    Args:
        point: for attention and receptive fields; None for the centre.
        name: class for the activation; None for that of the object with the highest score, or for the label at the point.

    Raises:
        InputError: a file is not an image, the point is outside an image, or the model does not have the class.
    """
    require_no_export(predictor.settings["checkpoint"])
    require_drawing()
    seeing.backbone_of(predictor.loaded)
    classes = seeing.class_names(predictor.loaded)
    if name is not None and name not in classes:
        raise InputError(f"--class: the model has no class {name!r}; {nearest(name, classes)}")
    names, written = Names(), []
    for path, result in zip(paths, predictor(paths), strict=True):
        figure = sheet(predictor, path, result, point, name)
        out.mkdir(parents=True, exist_ok=True)
        file = out / f"{names.new(path)}.png"
        figure.savefig(file, dpi=DPI)
        figure.savefig(file.with_suffix(".pdf"), dpi=DPI)
        written.append(file)
    return written


def sheet(predictor: Predictor, path: str, result: Result, point: Point | None, name: str | None) -> Any:
    """Return the sheet of an image as a figure of matplotlib with a row for each level; titles name its columns."""
    loaded = predictor.loaded
    pixels = predictor.read(path)
    height, width = pixels.shape[:2]
    x, y = point or (width / 2, height / 2)
    if not (0 <= x < width and 0 <= y < height):
        raise InputError(f"--at {x:g},{y:g}: it is outside of {path}, which has {width} x {height} pixels (width x height)")
    given = seeing.give(loaded, path)
    classes = seeing.class_names(loaded)
    asked = name is not None or seeing.has_activation(loaded)  # a class that is asked for by name ends in an error otherwise
    label = _label(result, (x, y), classes, name) if asked else None
    strides = seeing.backbone_of(loaded).out_strides
    levels, fields = seeing.maps(loaded, given), seeing.receptive_field(loaded, given, (x, y))
    heats: dict[str, Sequence[np.ndarray | None]] = {"norm": [np.linalg.norm(level, axis=2) for level in levels]}
    if attended := seeing.attention(loaded, given, (x, y)):
        heats[ATTENTION] = [attended.get(stride) for stride in strides]
    if label is not None:
        heats[f"activation of {classes[label]}"] = seeing.class_activation(loaded, given, label)
    heats["receptive field"] = [np.power(field, 0.25) for field in fields]  # a few of its pixels are far above the rest
    figure, cells = _cells(len(strides), 2 + len(heats), height / width)
    cells[0, 0].imshow(pixels[..., ::-1])
    cells[0, 0].plot([x], [y], "+", color="red", markersize=8)
    cells[1, 0].imshow(drawn(pixels, result, loaded.palette)[..., ::-1])
    for row, (level, stride) in enumerate(zip(levels, strides, strict=True)):
        cells[row, 1].imshow(cv2.resize(seeing.colours(level), (width, height), interpolation=cv2.INTER_NEAREST))
        cells[row, 1].set_ylabel(f"stride {stride}", fontsize=8)
        side = seeing.half_side(fields[row], given.place((x, y)))
        cells[row, -1].set_xlabel(f"half within {side} px", fontsize=7, labelpad=2)
    for column, (title, by_level) in enumerate(heats.items(), 2):
        for row, heat in enumerate(by_level):
            if heat is not None:
                cells[row, column].imshow(heated(pixels, heat)[..., ::-1])
                if title == ATTENTION:
                    cells[row, column].plot([x], [y], "+", color="red", markersize=8)
    cells[1, 0].set_title("prediction", fontsize=8)
    for column, title in enumerate(("image and point", "principal components", *heats)):
        cells[0, column].set_title(title, fontsize=8)
    return figure


def _cells(rows: int, columns: int, ratio: float) -> tuple[Any, np.ndarray]:
    size = CELL * columns, CELL * rows * min(max(ratio, 0.5), 2) + 0.3
    figure, cells = figure_of(max(rows, 2), columns, size)
    for axes in cells.ravel():
        axes.set(xticks=[], yticks=[])
        axes.set_frame_on(False)
    return figure, cells


def _label(result: Result, point: Point, classes: tuple[str, ...], name: str | None) -> int | None:
    if name is not None:
        return classes.index(name)
    if isinstance(result, LabelMap):
        return int(result.labels[int(point[1]), int(point[0])])
    return int(result.labels[0]) if len(result) else None


def heated(pixels: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """Return an image (H, W, 3), BGR, overlaid with a map of any size: dark for its minimum, bright for its maximum."""
    height, width = pixels.shape[:2]
    low, high = float(heat.min()), float(heat.max())
    scaled = (255 * (heat - low) / max(high - low, 1e-12)).astype(np.uint8)
    large = cv2.resize(
        scaled, (width, height), interpolation=cv2.INTER_NEAREST if heat.size < height * width else cv2.INTER_AREA
    )
    grey = cv2.cvtColor(cv2.cvtColor(pixels, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)
    return cv2.addWeighted(grey, 1 - VEIL, cv2.applyColorMap(large, cv2.COLORMAP_INFERNO), VEIL, 0)
