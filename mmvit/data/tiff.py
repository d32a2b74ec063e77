"""TIFF files with many bands, as satellites and microscopes write them: whole or in windows, with their georeference.

Training, prediction and exported files read pixels through `Bands`, so that they are the same. tifffile decodes them. Bands are
samples of pixels, planes or pages, in the order of the file.
"""

from collections.abc import Sequence
from io import BytesIO
from math import ceil
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ..errors import InputError, brief

MOST = 32  # bands
SUFFIXES = (".tif", ".tiff")
NEARLY_BLACK = 32  # of 255; a picture that holds twelve bits in a file of 16 comes out with less than this
NODATA = 42113  # GDAL's tag of the value of pixels without data
GEOREFERENCE = (33550, 33922, 34264, 34735, 34736, 34737)  # scale, tie points, transformation, GeoTIFF's lists of keys
JPEGS = (6, 7, 34892, 33007)
INDEXING = tuple[slice, slice]


class Bands:
    """The bands of a TIFF file that is open, as an array (H, W, C) of float32; slices of rows and columns read these alone.

    Raises:
        InputError: it is missing or no TIFF, has more than 32 bands, or numbers that are neither whole nor real.
    """

    def __init__(self, path: str | Path) -> None:
        try:
            import tifffile
        except ImportError as error:
            raise InputError(f"tifffile is not installed, which reads {path}: pip install 'mmvit[bands]'") from error
        self.path = path
        try:
            self.file = tifffile.TiffFile(path)
            self.series = self.file.series[0].levels[0]  # the first image at its full size
            axes, shape = self.series.axes, self.series.shape
            place = axes.index("Y"), axes.index("X")
        except Exception as error:
            raise InputError(f"image {path}: {self._reason(error)}. Expected a TIFF file") from error
        self.axes = (*place, *(axis for axis in range(len(shape)) if axis not in place))
        count = int(np.prod([shape[axis] for axis in self.axes[2:]], dtype=int))
        self.shape = (shape[place[0]], shape[place[1]], count)
        if count > MOST or self.series.dtype.kind not in "uif":
            self.file.close()
            what = f"{count} bands of {self.series.dtype}"
            raise InputError(f"image {path}: {what}. Expected at most {MOST} bands of whole or floating-point numbers")

    def _reason(self, error: Exception) -> str:
        if isinstance(error, FileNotFoundError):
            return "no such file"
        if "imagecodecs" in str(error):
            return f"{error}: pip install 'mmvit[bands]'"
        return f"it cannot be decoded ({brief(error)})"

    def __enter__(self) -> "Bands":
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()

    @property
    def nodata(self) -> float | None:
        """The value of pixels without data; None if the file names none."""
        page = self.series.keyframe
        return float(page.nodata) if NODATA in page.tags else None

    def __getitem__(self, place: INDEXING) -> np.ndarray:
        """Return the bands (h, w, C) of rows and columns, float32; NaN where there are no data.

        Raises:
            InputError: the file is broken, or compressed in a way that needs imagecodecs.
        """
        (top, bottom, _), (left, right, _) = (part.indices(side) for part, side in zip(place, self.shape[:2], strict=True))
        try:
            if (bottom - top, right - left) == self.shape[:2] or not self._by_pages:
                values = self.series.asarray().transpose(self.axes).reshape(self.shape)[top:bottom, left:right]
            else:
                pages = [_window(self.file, page, top, bottom, left, right) for page in self.series.pages]
                values = np.concatenate(pages, axis=2)
        except Exception as error:
            raise InputError(f"image {self.path}: {self._reason(error)}. Replace the file") from error
        found = values.astype(np.float32)
        if self.nodata is not None:
            found[values == self.nodata] = np.nan
        return found

    @property
    def _by_pages(self) -> bool:
        """Whether each band has pixels of its own in some page; some writers describe bands that have no page."""
        shaped = self.series.keyframe.shaped
        return len(self.series.pages) * shaped[0] * shaped[4] == self.shape[2]


def _window(file: Any, page: Any, top: int, bottom: int, left: int, right: int) -> np.ndarray:
    """Return the samples (h, w, C) of a page within a window; only the strips or tiles that it touches are decoded."""
    key = page.keyframe
    planes, _, length, width, samples = key.shaped
    high, wide = (key.tilelength, key.tilewidth) if key.is_tiled else (min(key.rowsperstrip, length), width)
    rows, columns = ceil(length / high), ceil(width / wide)
    wanted = [
        (plane * rows + row) * columns + column
        for plane in range(planes)
        for row in range(top // high, ceil(bottom / high))
        for column in range(left // wide, ceil(right / wide))
    ]
    offsets, counts = ([part[index] for index in wanted] for part in (page.dataoffsets, page.databytecounts))
    tables = dict(jpegtables=page.jpegtables, jpegheader=key.jpegheader) if key.compression in JPEGS else {}
    found = np.full((bottom - top, right - left, planes, samples), key.nodata, key.dtype)
    for content, position in file.filehandle.read_segments(offsets, counts):
        segment, (plane, _, y, x, _), (_, h, w, _) = key.decode(content, wanted[position], **tables)
        if segment is None:
            continue  # left out by the writer
        first, last, begin, end = max(y, top), min(y + h, bottom), max(x, left), min(x + w, right)
        found[first - top : last - top, begin - left : end - left, plane] = segment[
            0, first - y : last - y, begin - x : end - x
        ]
    return found.reshape(bottom - top, right - left, planes * samples)


class Scale:
    """Mean and deviation of each band, with which pixels are normalised; those without data become 0, the mean.

    Raises:
        InputError: two lists of different lengths, or a deviation that is not above zero.
    """

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        if len(mean) != len(std) or not len(mean) or min(std) <= 0:
            raise InputError(
                f"bands: mean {list(mean)} and std {list(std)}. Expected one number above 0 a band in std, one in mean"
            )
        self.mean, self.std = (np.array(values, np.float32) for values in (mean, std))

    def of(self, bands: Bands, place: INDEXING = (slice(None), slice(None))) -> np.ndarray:
        """Return the normalised bands (h, w, C) of rows and columns, float32.

        Raises:
            InputError: another number of bands, or a file that cannot be read.
        """
        if bands.shape[2] != len(self.mean):
            raise InputError(
                f"image {bands.path}: {bands.shape[2]} bands. Expected {len(self.mean)}, as the model was trained with"
            )
        found = (bands[place] - self.mean) / self.std
        found[~np.isfinite(found)] = 0
        return found


class Windows:
    """Normalised bands of an open file as an array (H, W, C) that is read where it is sliced."""

    def __init__(self, bands: Bands, scale: Scale) -> None:
        self.bands, self.scale, self.shape = bands, scale, bands.shape

    def __getitem__(self, place: INDEXING) -> np.ndarray:
        return self.scale.of(self.bands, place)


class ReadBands:
    """Step that reads the bands of a TIFF file, normalised.

    Args:
        mean, std: of each band, in the order of the file.
    """

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        self.scale = Scale(mean, std)

    def windows(self, path: str) -> Windows:
        """Return an image whose rows and columns are read where they are sliced."""
        return Windows(Bands(path), self.scale)

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Add `img` (H, W, C) float32, `img_shape` and `ori_shape` to `results`, which name the file as `img_path`.

        Raises:
            InputError: the file cannot be used.
        """
        image = self.windows(results["img_path"])[:, :]
        return dict(results, img=image, img_shape=image.shape[:2], ori_shape=image.shape[:2])


def statistics(paths: Sequence[str | Path]) -> tuple[list[float], list[float]]:
    """Return mean and deviation of each band over files; pixels without data are left out.

    Raises:
        InputError: a file cannot be read, or files have different numbers of bands.
    """
    count, total, squares = (np.zeros(1) for _ in range(3))
    first: Bands | None = None
    for path in paths:
        with Bands(path) as bands:
            first = first or bands
            if bands.shape[2] != first.shape[2]:
                raise InputError(
                    f"image {path}: {bands.shape[2]} bands, but {first.path} has {first.shape[2]}. Expected the same"
                )
            values = bands[:, :].reshape(-1, bands.shape[2]).astype(np.float64)
        there = np.isfinite(values)
        values[~there] = 0
        count, total, squares = count + there.sum(0), total + values.sum(0), squares + (values**2).sum(0)
    mean = total / np.maximum(count, 1)
    deviation = np.sqrt(np.maximum(squares / np.maximum(count, 1) - mean**2, 0))
    return [float(f"{value:.6g}") for value in mean], [float(f"{value:.6g}") or 1.0 for value in deviation]


def is_banded(path: str | Path) -> bool:
    """Return whether a file is a TIFF that other readers would cut: more than 8 bits, or bands besides grey, RGB and alpha."""
    if Path(path).suffix.lower() not in SUFFIXES:
        return False
    try:
        with Bands(path) as bands:
            page = bands.series.keyframe
            alpha = any(int(kind) in (1, 2) for kind in page.extrasamples or ())
            return bands.series.dtype != np.uint8 or bands.shape[2] - alpha not in (1, 3)
    except InputError:
        return False


def visible(pixels: np.ndarray, normalised: bool) -> np.ndarray:
    """Return a picture (H, W, 3), BGR, uint8, to draw on, of what a model reads.

    Args:
        pixels: BGR, with or without transparency, or grey (H, W): of 16 bits the upper 8, of floats, from 0 to 255, the nearest
            whole numbers; or normalised bands (H, W, C), of which the first three are red, green and blue.
        normalised: whether they are such bands.
    """
    count = pixels.shape[2] if pixels.ndim == 3 else 1
    chosen = np.atleast_3d(pixels)[..., (0, 0, 0) if count < 3 else (2, 1, 0) if normalised else (0, 1, 2)]
    if pixels.dtype == np.uint8:
        return np.ascontiguousarray(chosen) if count != 3 else pixels
    if pixels.dtype.kind != "f":
        return (chosen >> 8).astype(np.uint8)
    return np.clip(chosen * 64 + 128 if normalised else np.rint(chosen), 0, 255).astype(np.uint8)


def too_large(error: Exception) -> str | None:
    """Return what to do about a picture that is too large for OpenCV; None of any other error."""
    if not isinstance(error, cv2.error) or "CV_IO_MAX_IMAGE" not in str(error):
        return None
    return (
        "it is larger than OpenCV reads, which is 2^30 pixels, and 2^20 a side. Cut it into pieces, or set the environment "
        "variables OPENCV_IO_MAX_IMAGE_PIXELS, OPENCV_IO_MAX_IMAGE_WIDTH and OPENCV_IO_MAX_IMAGE_HEIGHT to more"
    )


def picture_of(path: str) -> np.ndarray:
    """Return an image file as a picture (H, W, 3), BGR, uint8; many bands with their own mean and deviation.

    Raises:
        InputError: it cannot be read.
    """
    content = np.fromfile(path, np.uint8) if Path(path).is_file() and not is_banded(path) else np.empty(0, np.uint8)
    if content.size and (image := cv2.imdecode(content, cv2.IMREAD_COLOR)) is not None:
        return image
    mean, std = statistics([path])
    with Bands(path) as bands:
        return visible(Scale(mean, std).of(bands), True)


def georeference(path: str | Path) -> list[tuple[int, Any, int, Any, bool]]:
    """Return the tags of a TIFF file that say where on Earth it lies, as tifffile writes them; none of any other file."""
    if Path(path).suffix.lower() not in SUFFIXES or not Path(path).is_file():
        return []
    try:
        import tifffile

        with tifffile.TiffFile(path) as file:
            tags = [tag for code in GEOREFERENCE if (tag := file.pages[0].tags.get(code)) is not None]
            return [(tag.code, tag.dtype, tag.count, tag.value, True) for tag in tags]
    except Exception:
        return []


def label_file(labels: np.ndarray, tags: Sequence[Any]) -> bytes:
    """Return a label map (H, W) as the content of a TIFF file with the georeference of its image."""
    import tifffile

    content = BytesIO()
    tifffile.imwrite(content, labels, compression="zlib", extratags=tags, metadata=None)
    return content.getvalue()
