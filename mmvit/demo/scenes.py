"""Scenes of the demo: scanned handwritten digits over crops of photographs.

Both are read from the installed wheels of scikit-learn and scikit-image: nothing is downloaded.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import skimage
import sklearn.datasets
from PIL import Image
from scipy import ndimage

from .spec import DemoSpec

SPLITS = ("train", "val")
TRAIN_DIGITS = 1500  # the first scans; val has the last 297
PHOTOGRAPHS = {
    "train": (
        "china.jpg",
        "flower.jpg",
        "astronaut.png",
        "brick.png",
        "camera.png",
        "chelsea.png",
        "grass.png",
        "hubble_deep_field.jpg",
        "ihc.png",
        "moon.png",
    ),
    "val": ("coffee.png", "gravel.png", "rocket.jpg"),
}

DIGITS = (3, 5)  # fewest and most for an image; one that finds no legible free place is left out
MIN_CONTRAST = 80.0  # least difference in luma (0 to 255) of a digit from what is around it and from digits that it touches
MIN_VISIBLE = 0.85  # least fraction of a digit's pixels that later digits leave uncovered

_SIZES = (32, 60)  # smallest and largest height of an upright 8 x 8 scan, pixels; a digit's ink is a little smaller
_MAX_ROTATION = 10.0  # degrees, to either side
_LUMA = np.array([0.299, 0.587, 0.114])
_DARKEST, _LIGHTEST = 8.0, 247.0  # luma of digits
_BACKGROUND_RANGE = 110.0  # largest difference of luma between the 2nd and 98th percentile of a crop
_ATTEMPTS = 96  # at a place for a digit, of which
_PLACES_OF_A_SHAPE = 4  # try the same scan, size and turn


@dataclass(frozen=True)
class Digit:
    """Painted digit: its class, the index of its scan in `load_digits`, and its visible pixels, (H, W) bool.

    `luma` is that of its full ink, `area` its number of pixels before later digits hid some.
    """

    label: int
    scan: int
    luma: float
    area: int
    mask: np.ndarray


@dataclass(frozen=True)
class Scene:
    """Image, (H, W, 3) uint8 RGB, the visible digits in painting order, and the name of the photograph behind them."""

    image: np.ndarray
    digits: tuple[Digit, ...]
    photograph: str


@dataclass(frozen=True)
class Sources:
    """Sources of a split: scans (N, 8, 8) in 0 to 1, their indices and classes (N,), photographs by file name."""

    scans: np.ndarray
    indices: np.ndarray
    labels: np.ndarray
    photographs: dict[str, Image.Image]


def load_sources(split: str) -> Sources:
    """Return the scans and photographs of 'train' or 'val'; the two share neither.

    Raises:
        FileNotFoundError: the installed scikit-image or scikit-learn no longer contains one of the photographs.
    """
    scans = sklearn.datasets.load_digits()
    first, last = (0, TRAIN_DIGITS) if split == "train" else (TRAIN_DIGITS, len(scans.target))
    indices = np.arange(first, last)
    photographs = {name: _read_photograph(name) for name in PHOTOGRAPHS[split]}
    return Sources(scans.images[indices] / 16.0, indices, scans.target[indices], photographs)


def _read_photograph(name: str) -> Image.Image:
    folders = (Path(skimage.__file__).parent / "data", Path(sklearn.datasets.__file__).parent / "images")
    for folder in folders:
        if (folder / name).is_file():
            with Image.open(folder / name) as photograph:
                return photograph.convert("RGB")
    places = " or ".join(map(str, folders))
    raise FileNotFoundError(f"no {name} in {places}: pip install 'mmvit[demo]' for versions that contain it")


def scenes(split: str, spec: DemoSpec) -> Iterator[Scene]:
    """Yield the scenes of 'train' or 'val', each a function of the seed, the split and its own index only."""
    sources = load_sources(split)
    for index in range(spec.train_images if split == "train" else spec.val_images):
        yield compose(sources, spec, np.random.default_rng((spec.seed, SPLITS.index(split), index)))


def compose(sources: Sources, spec: DemoSpec, rng: np.random.Generator) -> Scene:
    """Return one scene. Raise RuntimeError if no digit found a legible place."""
    photograph = list(sources.photographs)[rng.integers(len(sources.photographs))]
    canvas = _crop(sources.photographs[photograph], spec.image_size, rng)
    behind = canvas @ _LUMA
    digits: list[Digit] = []
    for _ in range(rng.integers(DIGITS[0], DIGITS[1] + 1)):
        for attempt in range(_ATTEMPTS):
            if attempt % _PLACES_OF_A_SHAPE == 0:
                pick = int(rng.integers(len(sources.scans)))
                shape = _enlarge(sources.scans[pick], rng)
            alpha = _place(shape, spec.image_size, rng)
            full = alpha > 0.5
            left = [replace(digit, mask=digit.mask & ~full) for digit in digits]
            if any(np.count_nonzero(digit.mask) < MIN_VISIBLE * digit.area for digit in left):
                continue
            luma = _legible_luma(alpha > 0, behind, digits, rng)
            if luma is None:
                continue
            canvas += alpha[..., None] * (_tint(luma, rng) - canvas)
            label, scan = int(sources.labels[pick]), int(sources.indices[pick])
            digits = [*left, Digit(label, scan, luma, np.count_nonzero(full), full)]
            break
    if not digits:
        raise RuntimeError(f"no legible place for a digit on {photograph} with {spec}")
    return Scene(np.rint(canvas).clip(0, 255).astype(np.uint8), tuple(digits), photograph)


def _crop(photograph: Image.Image, size: int, rng: np.random.Generator) -> np.ndarray:
    """Return a random square of a photograph, at times mirrored, with limited contrast: (size, size, 3) float, 0 to 255."""
    side = int(rng.uniform(0.3, 0.95) * min(photograph.size))
    left, top = (int(rng.integers(extent - side + 1)) for extent in photograph.size)
    crop = photograph.resize((size, size), Image.Resampling.BICUBIC, (left, top, left + side, top + side))
    pixels = np.asarray(crop, dtype=np.float64)
    if rng.random() < 0.5:
        pixels = pixels[:, ::-1]
    low, high = np.percentile(pixels @ _LUMA, (2, 98))
    middle = (low + high) / 2
    return middle + (pixels - middle) * min(1.0, _BACKGROUND_RANGE / max(high - low, 1.0))


def _enlarge(scan: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return a scan enlarged by cubic splines and rotated, contrast doubled about half ink: (h, w) opacity, cut to the ink."""
    size = rng.uniform(*_SIZES)
    angle = np.deg2rad(rng.uniform(-_MAX_ROTATION, _MAX_ROTATION))
    padded = np.pad(scan, 2)
    cells = len(scan) / size  # cells of the scan per pixel
    turn = cells * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    extent = int(1.5 * size)
    centre = np.full(2, (len(padded) - 1) / 2) - turn @ np.full(2, (extent - 1) / 2)
    ink = ndimage.affine_transform(padded, turn, centre, (extent, extent), order=3)
    alpha = (2 * ink - 0.5).clip(0, 1)  # soft enough to keep the small holes of 6, 8 and 9 open
    rows, columns = (np.flatnonzero(alpha.any(axis)) for axis in (1, 0))
    return alpha[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def _place(alpha: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    """Return an empty (size, size) map with an opacity patch wholly inside it."""
    placed = np.zeros((size, size))
    top, left = (int(rng.integers(size - extent + 1)) for extent in alpha.shape)
    placed[top : top + alpha.shape[0], left : left + alpha.shape[1]] = alpha
    return placed


def _legible_luma(ink: np.ndarray, behind: np.ndarray, digits: list[Digit], rng: np.random.Generator) -> float | None:
    """Return a luma that differs from the photograph and from the digits touched, or None if one random draw found none."""
    around = ndimage.binary_dilation(ink, iterations=3)
    low, high = np.percentile(behind[around], (5, 95))
    dark, light = max(0.0, low - MIN_CONTRAST - _DARKEST), max(0.0, _LIGHTEST - high - MIN_CONTRAST)
    if dark + light <= 0:
        return None
    draw = rng.uniform(0, dark + light)
    luma = _DARKEST + draw if draw < dark else _LIGHTEST - (draw - dark)
    touched = (digit.luma for digit in digits if (digit.mask & around).any())
    return luma if all(abs(luma - other) >= MIN_CONTRAST for other in touched) else None


def _tint(luma: float, rng: np.random.Generator) -> np.ndarray:
    """Return a random RGB colour of the given luma, from grey to nine tenths of the way to the edge of the RGB cube."""
    direction = rng.normal(size=3)
    direction -= direction @ _LUMA  # the weights sum to 1, so this leaves luma as it is
    room = np.where(direction > 0, 255 - luma, luma) / np.maximum(np.abs(direction), 1e-9)
    return luma + direction * room.min() * rng.uniform(0, 0.9)
