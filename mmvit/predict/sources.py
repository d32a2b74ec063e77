"""Iteration over the images in paths, folders, globs, arrays and tensors."""

import os
import re
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from glob import glob, has_magic
from io import BytesIO
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np

from ..data.files import opencv_takes
from ..data.tiff import NEARLY_BLACK
from ..errors import InputError, counted

Channels = Literal["rgb", "bgr"]
Tell = Callable[[str], object]  # receives a remark for the user
SUFFIXES = frozenset(".avif .bmp .gif .jfif .jp2 .jpe .jpeg .jpg .pgm .png .ppm .tif .tiff .webp".split())  # noqa: SIM905
FILMS = frozenset(".3gp .avi .flv .m2ts .m4v .mkv .mov .mp4 .mpeg .mpg .mts .ogv .ts .webm .wmv".split())  # noqa: SIM905
TIFF = frozenset({".tif", ".tiff"})
PAGED = TIFF | {".avif", ".gif", ".png", ".webp"}
HELP = {".heic": "convert it to JPEG", ".heif": "convert it to JPEG"} | dict.fromkeys(FILMS, "name a film to predict on it")
HELP |= {"subfolder": "mmvit predict --recursive takes them", "linked folder": "name it to take its images"}
HELP |= {"dead link": "its file is missing", "result folder": "mmvit predict wrote it"}


@dataclass(frozen=True)
class Source:
    """One image: its name, and its pixels if it is no file: (H, W, 3) uint8 in BGR, or, if `read`, as a model reads files."""

    name: str
    pixels: np.ndarray | None = None
    read: bool = False


def warn(remark: str) -> None:
    warnings.warn(remark, stacklevel=3)


def sources(images: Any, channels: Channels | None, tell: Tell) -> Iterator[Source]:
    """Yield the images of a path, folder, glob, PIL image, array, tensor, or of an iterable of these, in order.

    Args:
        images: folders are read in the order of their names, without their subfolders. Arrays are (H, W, 3) or (H, W), tensors
            (3, H, W), uint8, or floats from 0 to 1.
        channels: order of the channels of arrays and tensors; PIL images have their own.
        tell: receives remarks on what is left aside.

    Raises:
        InputError: there is no such file, a folder or glob has no images, or an array has another shape or no `channels`.
    """
    for number, image in enumerate(_each(images, tell)):
        if isinstance(image, Source):
            yield image
        elif isinstance(image, Path):
            yield from pages(image, False, tell)
        elif _has_pixels(image):
            name = str(getattr(image, "filename", "") or f"image {number}")
            yield Source(name, pixels(image, channels, name))
        else:
            raise InputError(f"image {number}: a {type(image).__name__}. Expected a path, PIL image, NumPy array or tensor")


def _each(images: Any, tell: Tell) -> Iterator[Any]:
    """Yield the images of what may be nested, files as `Path`."""
    if isinstance(images, str | Path):
        yield from paths(images, tell=tell)
    elif isinstance(images, Iterable) and not _has_pixels(images):
        for image in images:
            yield from _each(image, tell)
    else:
        yield images


def _has_pixels(image: Any) -> bool:
    return isinstance(image, np.ndarray) or is_a(image, "PIL.Image", "Image") or is_a(image, "torch", "Tensor")


def paths(words: str | Path, recursive: bool = False, tell: Tell = warn, out: Path | None = None) -> list[Path]:
    """Return the files of a path, folder or glob; `recursive` takes the images of subfolders, too.

    What `mmvit predict` drew or labelled, in `out` or an earlier run's folder, is taken only where it is named.

    Raises:
        InputError: a folder or glob has no images, or it is an address or an empty word.
    """
    if not str(words):
        raise InputError("an empty word for a path, as of a variable of the shell that is not set. Name a file, folder or glob")
    if "://" in str(words):
        raise InputError(f"{words}: an address, and only files are read. Download it, and name the file")
    path = Path(words)
    if path.is_dir():
        return in_folder(path, recursive, tell, out)
    if path.is_file() or not has_magic(str(words)):
        return [path]  # reading it tells that it is missing
    found = [Path(file) for file in sorted(glob(str(words), recursive=True)) if Path(file).is_file()]
    taken = [file for file in found if not any(of_results(at, out) and at.name not in path.parts for at in file.parents)]
    if made := len(found) - len(taken):
        tell(f"left aside of {words}: {counted(made, 'file')} that mmvit predict wrote")
    if not taken:
        raise InputError(f"{words}: no file matches. Quote a pattern that this command is to expand, or give a folder")
    return taken


def in_folder(folder: Path, recursive: bool, tell: Tell, out: Path | None) -> list[Path]:
    """Return the images of a folder by name, and tell what else there is.

    Raises:
        InputError: there is none, or a folder cannot be read.
    """
    taken: list[Path] = []
    suffixes, others = Counter[str](), Counter[str]()
    for place, inner, names in os.walk(folder, onerror=_unreadable):
        for file in (Path(place, name) for name in names if name[0] != "."):
            if not file.is_file():
                others["dead link"] += file.is_symlink()
            elif is_image(file):
                taken.append(file)
            else:
                suffixes[file.suffix.lower() or "without a suffix"] += 1
        kinds = {name: _kind(Path(place, name), recursive, out) for name in inner if name[0] != "."}
        others.update(filter(None, kinds.values()))
        inner[:] = [name for name, kind in kinds.items() if kind is None]
    aside = {suffix: f"{count} {suffix}" for suffix, count in sorted(suffixes.items())}
    aside |= {kind: counted(count, kind) for kind, count in others.items() if count}
    told = ", ".join(words + (f" ({HELP[kind]})" if kind in HELP else "") for kind, words in aside.items())
    if not taken:
        found = f"; it has {told}" if told else ""
        raise InputError(f"folder {folder}: no images in it{found}. Expected files {', '.join(sorted(SUFFIXES))}")
    if told:
        tell(f"left aside in {folder}: {told}")
    return sorted(taken)


def _unreadable(error: OSError) -> None:
    raise InputError(f"folder {error.filename} cannot be read: {error.strerror}") from error


def _kind(folder: Path, recursive: bool, out: Path | None) -> str | None:
    """Return as what a subfolder is left aside; None if it is entered."""
    if not recursive:
        return "subfolder"
    return "linked folder" if folder.is_symlink() else "result folder" if of_results(folder, out) else None


def of_results(folder: Path, out: Path | None) -> bool:
    """Return whether `mmvit predict` wrote a folder of pictures, into `out` or in an earlier run."""
    place = folder.parent
    if folder.name not in ("overlays", "labels"):
        return False
    earlier = re.fullmatch(r"predictions(_\d+)?", place.name) or any(place.glob("predictions.json*"))
    return bool(earlier) or (out is not None and os.path.abspath(out) == os.path.abspath(place))


def is_image(file: Path) -> bool:
    """Return whether a file has the suffix of an image, or an unknown one and the content of an image."""
    suffix = file.suffix.lower()
    return suffix in SUFFIXES or (suffix not in FILMS and opencv_takes(file) and cv2.haveImageReader(str(file)))


def tell_of(read: Any, tell: Tell) -> Tell:
    """Return what receives remarks on the pages of a file: nothing, if a model's reading step takes them for bands."""
    return (lambda remark: None) if hasattr(read, "windows") else tell


def as_read(image: Source, read: Any) -> np.ndarray:
    """Return pixels as a model's reading step would have read them from a file.

    Raises:
        InputError: a page that cannot be decoded, or a model of bands.
    """
    assert image.pixels is not None
    if image.read:
        return image.pixels
    if not image.pixels.size:
        raise InputError(f"image {image.name}: it cannot be decoded. Replace the file, or leave out --pages all")
    if hasattr(read, "windows"):
        raise InputError(
            f"{image.name}: the model normalises the bands of TIFF files, and this is no file. Give it files alone"
        )
    grey = getattr(read, "color_type", "color").startswith("grayscale")
    return cv2.cvtColor(image.pixels, cv2.COLOR_BGR2GRAY) if grey else image.pixels


def dark(name: str, pixels: np.ndarray, tell: Tell, path: str | Path | None = None) -> bool:
    """Tell of an image that came out nearly black, and return whether it did; `path` is its file, if `name` is a page's."""
    if pixels.dtype != np.uint8 or pixels.max() >= NEARLY_BLACK:
        return False
    whole = cv2.imdecode(np.fromfile(path or name, np.uint8), cv2.IMREAD_UNCHANGED)
    deep = whole is not None and whole.dtype == np.uint16
    advice = ". Of its 16 bits the upper 8 are read: if it holds ten or twelve, scale it to 8 bits" if deep else ""
    tell(f"image {name}: nearly black, the brightest value is {pixels.max()} of 255{advice}")
    return True


def pages(path: Path, every: bool, tell: Tell) -> Iterator[Source]:
    """Yield an image file, or each page of a TIFF or animation if `every` is true; otherwise tell that there are others."""
    paged = path.suffix.lower() in PAGED and path.is_file()
    if paged and not opencv_takes(path):
        tell(f"{path}: its name is not UTF-8, so that OpenCV does not count its pages; the first is taken")
        paged = False
    count = cv2.imcount(str(path)) if paged else 1
    if count <= 1 or not every:
        if count > 1:
            tell(f"{path}: the first of its {count} pages is taken; mmvit predict --pages all takes them all")
        yield Source(str(path))
        return
    told = False  # a file of many pages gets one remark
    for number, page in enumerate(_decoded(path, count)):
        name = f"{path} page {number}"
        told = told or (page is not None and dark(name, page, tell, path))
        yield Source(name, np.empty((0, 0, 3), np.uint8) if page is None else np.ascontiguousarray(page[..., :3]))


def _decoded(path: Path, count: int) -> Iterator[np.ndarray | None]:
    """Yield the pixels of each page, None of one that cannot be read."""
    if path.suffix.lower() not in TIFF:  # a frame builds on those before it: OpenCV cannot begin later
        frames: Sequence[np.ndarray] = cv2.imreadmulti(str(path), flags=cv2.IMREAD_COLOR)[1]
        yield from (*frames, *[None] * (count - len(frames)))
        return
    for number in range(count):
        good, images = cv2.imreadmulti(str(path), number, 1, flags=cv2.IMREAD_COLOR)
        yield images[0] if good else None


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
        return of_pil(image, name)
    if is_a(image, "torch", "Tensor"):
        image = image.detach().cpu()
        image = image.float() if image.is_floating_point() and image.element_size() < 4 else image  # NumPy has no bfloat16
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


def of_pil(image: Any, name: str) -> np.ndarray:
    """Return (H, W, 3) uint8 in BGR of a PIL image, as OpenCV reads the same image from a file.

    Raises:
        InputError: 32-bit integers beyond 16 bits, floats, or colours that Pillow does not convert to RGB.
    """
    from PIL import ImageOps

    from ..data.orientation import turns

    kind = image.format
    image = ImageOps.exif_transpose(image) if turns(kind) else image
    if not image.mode.startswith(("I", "F")):
        if kind == "TIFF" or (kind == "GIF" and image.mode == "P"):  # whose colours OpenCV decodes in a way of its own
            file = BytesIO()
            image.save(file, kind, compression="raw")
            decoded = cv2.imdecode(np.frombuffer(file.getvalue(), np.uint8), cv2.IMREAD_COLOR)
            if decoded is not None:  # some builds read no GIF
                return decoded
        try:
            return np.ascontiguousarray(np.asarray(image.convert("RGB"))[..., ::-1])
        except ValueError as error:  # grey that was multiplied with its transparency; in older versions LAB, too
            raise InputError(f"{name}: a PIL image of mode {image.mode}. Expected RGB or grey; convert it") from error
    values = np.asarray(image)
    if image.mode == "F" or values.min() < 0 or values.max() > 65535:
        span = f"{values.min()} to {values.max()}"
        raise InputError(f"{name}: a PIL image of mode {image.mode} with {span}. Expected 8 or 16 bits; convert it")
    return np.repeat((values.astype(np.uint16) >> 8).astype(np.uint8)[..., None], 3, axis=2)
