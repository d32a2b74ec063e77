"""Iteration over the images in paths, folders, globs, arrays and tensors."""

import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from glob import glob, has_magic
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ..errors import InputError

Channels = Literal["rgb", "bgr"]
SUFFIXES = frozenset({".bmp", ".gif", ".jp2", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"})


@dataclass(frozen=True)
class Source:
    """One image: its name, and its pixels (H, W, 3) uint8 in BGR if it is not a file."""

    name: str
    pixels: np.ndarray | None = None


def sources(images: Any, channels: Channels | None = None) -> Iterator[Source]:
    """Yield the images of a path, folder, glob, PIL image, array, tensor, or of an iterable of these, in order.

    Args:
        images: folders are read in the order of their names, without their subfolders. Arrays are (H, W, 3) or (H, W), tensors
            (3, H, W), uint8, or floats from 0 to 1.
        channels: order of the channels of arrays and tensors; PIL images have their own.

    Raises:
        InputError: there is no such file, a folder or glob has no images, or an array has another shape or no `channels`.
    """
    yield from _sources(images, channels, [0])


def _sources(images: Any, channels: Channels | None, count: list[int]) -> Iterator[Source]:
    if isinstance(images, str | Path):
        for path in paths(images):
            count[0] += 1
            yield Source(str(path))
    elif isinstance(images, np.ndarray) or is_a(images, "PIL.Image", "Image") or is_a(images, "torch", "Tensor"):
        name = getattr(images, "filename", "") or f"image {count[0]}"
        count[0] += 1
        yield Source(str(name), pixels(images, channels, str(name)))
    elif isinstance(images, Iterable):
        for image in images:
            yield from _sources(image, channels, count)
    else:
        raise InputError(f"image {count[0]}: a {type(images).__name__}. Expected a path, PIL image, NumPy array or tensor")


def paths(words: str | Path) -> list[Path]:
    """Return the files of a path, folder or glob. Raise InputError if a folder or glob has no images."""
    path = Path(words)
    if path.is_dir():
        found = sorted(file for file in path.iterdir() if file.suffix.lower() in SUFFIXES)
        if not found:
            raise InputError(f"folder {path}: no images in it. Expected files {', '.join(sorted(SUFFIXES))}")
        return found
    if path.is_file() or not has_magic(str(words)):
        return [path]  # reading it tells that it is missing
    if not (found := [Path(file) for file in sorted(glob(str(words), recursive=True)) if Path(file).is_file()]):
        raise InputError(f"{words}: no file matches. Quote a pattern that this command is to expand, or give a folder")
    return found


def is_a(value: Any, module: str, name: str) -> bool:
    """Return whether a value is an instance of a class, without importing its package, which may not be installed."""
    kind = getattr(sys.modules.get(module), name, None)
    return kind is not None and isinstance(value, kind)


def pixels(image: Any, channels: Channels | None, name: str) -> np.ndarray:
    """Return (H, W, 3) uint8 in BGR of a PIL image, array or tensor; PIL images are turned as EXIF says.

    Raises:
        InputError: the shape, type or range is wrong, or `channels` is missing.
    """
    if is_a(image, "PIL.Image", "Image"):
        from PIL import ImageOps

        return np.ascontiguousarray(np.asarray(ImageOps.exif_transpose(image).convert("RGB"))[..., ::-1])
    if is_a(image, "torch", "Tensor"):
        image = image.detach().cpu()
        array = (image.permute(1, 2, 0) if image.ndim == 3 else image).numpy()
    else:
        array = image
    if array.ndim == 2:
        array = np.repeat(array[..., None], 3, axis=2)
    elif channels not in ("rgb", "bgr"):
        raise InputError(f"{name}: an array does not tell the order of its channels. Say channels='rgb' or channels='bgr'")
    if array.ndim != 3 or array.shape[2] != 3 or 0 in array.shape:
        raise InputError(f"{name}: shape {tuple(image.shape)}. Expected (H, W, 3) or (H, W) of an array, (3, H, W) of a tensor")
    if array.dtype.kind == "f":
        if not (array.min() >= 0 and array.max() <= 1):
            raise InputError(f"{name}: numbers from {array.min()} to {array.max()}. Expected floats from 0 to 1, or uint8")
        array = np.rint(array * 255).astype(np.uint8)
    if array.dtype != np.uint8:
        raise InputError(f"{name}: numbers of type {array.dtype}. Expected uint8, or floats from 0 to 1")
    return np.ascontiguousarray(array[..., ::-1] if channels == "rgb" else array)
