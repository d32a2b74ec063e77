"""Fast reader of COCO annotation files.

It decodes only the fields that are checked, one block of annotations at a time, into columns. If a file does not decode this
way, `annotations.read` reads it and says what is wrong.
"""

import codecs
import gc
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import msgspec
import numpy as np

from .annotations import FARTHEST
from .coco import LISTED, WHOLE, Columns, Table, state_of

BLOCK = 4 << 20  # bytes of annotations to decode at a time
BOUNDARY = re.compile(rb"\}\s*,\s*\{")


class _Image(msgspec.Struct, gc=False):
    id: int
    file_name: str
    width: float
    height: float


class _Category(msgspec.Struct, gc=False):
    id: int
    name: str


class _Annotation(msgspec.Struct, gc=False):
    id: int
    image_id: int
    category_id: int
    bbox: tuple[float, float, float, float]
    area: float
    iscrowd: int | bool | msgspec.UnsetType | None = msgspec.UNSET
    ignore: int | bool | None = None


class _Rle(msgspec.Struct, gc=False):
    size: list[int] | None = None
    counts: str | list[int] | None = None


Polygons = list[list[Annotated[float, msgspec.Meta(gt=-FARTHEST, lt=FARTHEST)]]]


class _Masked(_Annotation, gc=False):
    segmentation: Polygons | _Rle | None = None


class _File(msgspec.Struct, gc=False):
    images: list[_Image]
    categories: list[_Category]
    annotations: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


class _Part(NamedTuple):
    """Columns of a block of annotations.

    Attributes:
        without_crowd: ids of the annotations without `iscrowd`, which are rare.
        claims: positions and sizes of the RLEs that give one.
    """

    ids: np.ndarray
    images: np.ndarray
    categories: np.ndarray
    bbox: np.ndarray
    area: np.ndarray
    crowd: np.ndarray
    ignore: np.ndarray
    mask: np.ndarray
    without_crowd: list[int]
    claims: list[tuple[int, list[int]]]


def fast_table(path: Path, masks: bool, boxes: bool) -> Table | None:
    """Read a file whose ids are integers and whose entries have no faults; return None for any other file.

    Args:
        masks: whether to decode the masks.
        boxes: whether to decode the annotations, not only images and categories.
    """
    try:
        with _without_collector():
            images, categories, parts = _decoded(path, masks, boxes)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError, OverflowError):
        return None
    sizes = np.array([(image.width, image.height) for image in images], dtype=float).reshape(-1, 2)
    image_ids, category_ids = _column(images, "id", np.int64), _column(categories, "id", np.int64)
    names = [category.name for category in categories]
    unique = all(len(np.unique(ids)) == len(ids) for ids in (image_ids, category_ids))
    if not (images and unique and len(set(names)) == len(names) and (sizes > 0).all() and np.isfinite(sizes).all()):
        return None
    columns = None
    if parts is not None:
        columns = _joined(parts, image_ids, sizes, category_ids)
        if columns is None:
            return None
    return Table([image.file_name for image in images], image_ids.tolist(), sizes, names, columns)


@contextmanager
def _without_collector() -> Iterator[None]:
    """Pause Python's garbage collector, which would visit millions of numbers again and again."""
    running = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if running:
            gc.enable()


def _decoded(path: Path, masks: bool, boxes: bool) -> tuple[list[_Image], list[_Category], list[_Part] | None]:
    """Decode a file. The result keeps none of the file's bytes, which take most of the memory."""
    content = path.read_bytes()
    _require_utf8(content)
    file = msgspec.json.decode(content, type=_File)
    if not boxes or isinstance(file.annotations, msgspec.UnsetType):
        return file.images, file.categories, None
    decoder = msgspec.json.Decoder(list[_Masked if masks else _Annotation])  # type: ignore[misc]
    blocks = _blocks(memoryview(file.annotations))
    return file.images, file.categories, [_part(decoder.decode(block), masks) for block in blocks]


def _require_utf8(content: bytes) -> None:
    """Raise UnicodeDecodeError if the content is not UTF-8, also in the parts that are not decoded."""
    if content.isascii():
        return
    decoder = codecs.getincrementaldecoder("utf-8")()
    for start in range(0, len(content), BLOCK):
        decoder.decode(content[start : start + BLOCK], final=start + BLOCK >= len(content))


def _blocks(content: memoryview) -> Iterator[bytes]:
    """Cut a JSON list into shorter lists.

    A cut inside an annotation leaves brackets or quotes open, and the piece does not decode.
    """
    start, end = 1, len(content) - 1
    while start < end:
        found = BOUNDARY.search(content, min(start + BLOCK, end))
        stop = found.start() + 1 if found else end
        yield b"".join((b"[", content[start:stop], b"]"))
        start = found.end() - 1 if found else end


def _part(entries: Sequence[Any], masks: bool) -> _Part:
    crowd = [entry.iscrowd for entry in entries]
    states, claims = _masks([entry.segmentation for entry in entries]) if masks else ([WHOLE] * len(entries), [])
    return _Part(
        _column(entries, "id", np.int64),
        _column(entries, "image_id", np.int64),
        _column(entries, "category_id", np.int64),
        np.fromiter(chain.from_iterable([entry.bbox for entry in entries]), float, 4 * len(entries)).reshape(-1, 4),
        _column(entries, "area", float),
        np.array([mark is not msgspec.UNSET and bool(mark) for mark in crowd], dtype=bool),
        np.array([bool(entry.ignore) for entry in entries], dtype=bool),
        np.array(states, np.int8),
        [entry.id for entry in entries if entry.iscrowd is msgspec.UNSET] if msgspec.UNSET in crowd else [],
        claims,
    )


def _masks(masks: Sequence[Any]) -> tuple[list[int], list[tuple[int, list[int]]]]:
    """Return how much mmdet reads of each mask, and the sizes that RLEs claim, with their positions."""
    claims = [(at, mask.size) for at, mask in enumerate(masks) if isinstance(mask, _Rle) and mask.size is not None]
    return [state_of(mask if isinstance(mask, list) else msgspec.to_builtins(mask)) for mask in masks], claims


def _joined(parts: list[_Part], image_ids: np.ndarray, sizes: np.ndarray, category_ids: np.ndarray) -> Columns | None:
    """Join the columns of all parts; return None for duplicate ids, or RLEs of another size than their image."""
    parts = parts or [_part([], masks=False)]
    ids, images, categories, bbox, area, crowd, ignore, mask = (
        np.concatenate(column) for column in zip(*(part[:8] for part in parts), strict=True)
    )
    image, category = _positions(images, image_ids), _positions(categories, category_ids)
    if len(np.unique(ids)) < len(ids) or not (np.isfinite(bbox).all() and np.isfinite(area).all()):
        return None
    start = 0
    for part in parts:
        if any(claimed != sizes[image[start + at]][::-1].tolist() for at, claimed in part.claims):
            return None
        start += len(part.ids)
    bare = [str(number) for part in parts for number in part.without_crowd]
    return Columns(ids.tolist(), image, category, bbox, area, crowd, ignore, mask, (len(bare), bare[:LISTED]))


def _column(entries: Sequence[Any], name: str, kind: Any) -> np.ndarray:
    return np.fromiter((getattr(entry, name) for entry in entries), kind, len(entries))


def _positions(values: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """Return the position of each value among unique ids; -1 for a value that is not among them."""
    if not len(ids):
        return np.full(len(values), -1)
    order = np.argsort(ids)
    place = order[np.searchsorted(ids, values, sorter=order).clip(max=len(ids) - 1)]
    return np.where(ids[place] == values, place, -1)
