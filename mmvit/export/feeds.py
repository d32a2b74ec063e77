"""Inputs of exported files for calibration and comparison."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ..predict.runner import reader_of, resize
from ..predict.sources import paths

MOST = 64  # images for a calibration
MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)  # of ImageNet in RGB, for backbones alone
SIDE = 512  # longest side of images for a backbone alone


def feed_of(
    metadata: dict[str, Any], image: np.ndarray, score: float | None = None, size: tuple[int, int] | None = None
) -> dict[str, np.ndarray]:
    """Return a file's inputs for pictures (B, H, W, 3) uint8 BGR.

    Args:
        score: least score of a detection; None for the file's.
        size: height and width of label maps and masks; None for those of the picture.
    """
    values: dict[str, Any] = dict(
        image=lambda: image,
        pixels=lambda: normalised(image),
        score_threshold=lambda: np.array(metadata["score_threshold"] if score is None else score, np.float32),
        size=lambda: np.array(size or image.shape[1:3], np.int64),
    )
    return {name: values[name]() for name in metadata["inputs"]}


def normalised(image: np.ndarray) -> np.ndarray:
    """Return (B, 3, H, W) float32 in RGB, normalised as for ImageNet, of pictures (B, H, W, 3) uint8 BGR."""
    pixels = (image[..., ::-1].astype(np.float32) - np.array(MEAN, np.float32)) / np.array(STD, np.float32)
    return np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))


def images_of(folder: Path, metadata: dict[str, Any]) -> Iterator[np.ndarray]:
    """Yield the first images of a folder, (1, h, w, 3) uint8, at the scale, or of the one size, that the file takes.

    Raises:
        InputError: no images, or one that cannot be read.
    """
    read, rule = reader_of(metadata), metadata.get("scale")
    if metadata["kind"] == "backbone":
        rule = dict(scale=[SIDE, SIDE], keep_ratio=True)
    if metadata["size"]:
        rule = dict(scale=metadata["size"][::-1], keep_ratio=False)
    for path in paths(folder)[:MOST]:
        yield np.ascontiguousarray(resize(read.transform(dict(img_path=str(path)))["img"], rule)[None])
