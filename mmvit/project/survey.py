"""What a collection holds, as figures and sentences."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..data.tiff import is_banded, statistics
from .description import Collection

FEW = 10  # objects (for label maps: pictures) in training below which a class is hard to learn
MEASURED = 200  # pictures whose bands are measured, or a few more
SMALL = 16  # pixels: below two steps of the finest map that detectors use


@dataclass(frozen=True)
class Facts:
    """Figures from which a config follows."""

    pictures: Counter[str]  # number of each split
    size: tuple[int, int]  # median width and height
    same_size: bool  # whether all pictures have it
    side: float | None  # for objects, the square root of the box area that a tenth of them is below; None for label maps
    least: float | None  # likewise, the median of the class with the smallest objects, of those with a few
    most: int  # objects in the fullest picture
    empty: int  # training pictures without objects
    # mean and deviation of each band of TIFF files that are more than 8-bit grey or RGB; None for other pictures
    bands: tuple[list[float], list[float]] | None = None


def facts_of(collection: Collection, root: Path) -> Facts:
    sizes = np.array([(picture.width, picture.height) for picture in collection.pictures])
    things = [thing for picture in collection.pictures for thing in picture.objects()]
    sides = np.array([np.sqrt(thing.box[2] * thing.box[3]) for thing in things])
    names = np.array([thing.name for thing in things])
    counts = Counter(names.tolist())
    known = [name for name, count in counts.items() if count >= FEW] or list(counts)
    width, height = np.median(sizes, axis=0).astype(int).tolist()
    return Facts(
        Counter(str(picture.split) for picture in collection.pictures),
        (width, height),
        bool((sizes == sizes[0]).all()),
        float(np.quantile(sides, 0.1)) if things else None,
        min((float(np.median(sides[names == name])) for name in known), default=None),
        max((len(picture.objects()) for picture in collection.pictures), default=0),
        sum(not picture.things for picture in collection.of("train")),
        _bands(collection, root),
    )


def _bands(collection: Collection, root: Path) -> tuple[list[float], list[float]] | None:
    """Return the statistics of the bands of the training's pictures, or of evenly spread ones of very many."""
    paths = [root / picture.file for picture in collection.of("train")]
    if not paths or not all(is_banded(path) for path in (paths[0], paths[-1])):
        return None
    return statistics(paths[:: max(1, len(paths) // MEASURED)])


def rare_classes(collection: Collection, classes: Sequence[str]) -> list[tuple[str, int]]:
    """Return the classes with few objects, or few pictures, in training."""
    found: Counter[str] = Counter()
    for picture in collection.of("train"):
        found.update(picture.counts() if picture.things else dict.fromkeys(picture.counts(), 1))
    return [(name, found[name]) for name in classes if found[name] < FEW]


def leaked(collection: Collection, same: Sequence[Sequence[Path]]) -> list[list[Path]]:
    """Return the groups of doubled files whose pictures are in several splits."""
    split = {picture.file: picture.split for picture in collection.pictures}
    return [list(alike) for alike in same if len({split[file] for file in alike if file in split}) > 1]
