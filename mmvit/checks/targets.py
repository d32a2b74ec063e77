"""The pixels of each class that label maps leave to learn from, after the dataset's rules are applied."""

import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from mmengine.registry import TRANSFORMS

from ..arguments import name_of
from ..config.datasets import DatasetView
from ..config.parts import class_of
from ..data.label_maps import IGNORED
from ..errors import InputError, first_few

SAMPLED = 16  # maps that are read before a run; if these leave next to nothing, all are read
NOTICEABLE = 0.001  # share of pixels
LABELS = re.compile("Annotation|LoadLabelMap|LoadBiomedicalData")  # in the names of steps that load any
# options that our reading steps share with the stock ones
SHARED = ("color_type", "imdecode_backend", "backend_args", "mean", "std")

Read = Callable[[dict[str, Any]], np.ndarray]


class Labels(NamedTuple):
    """Meaning of the numbers in label maps: the names of the classes, and whether 0 is removed first (reduce_zero_label)."""

    classes: tuple[str, ...]
    reduced: bool


def labels_of(reader: Any) -> Labels:
    """Return the labels of one of mmseg's datasets."""
    return Labels(tuple(reader.metainfo.get("classes") or ()), bool(reader.reduce_zero_label))


def sampled(entries: Sequence[dict[str, Any]]) -> Sequence[dict[str, Any]]:
    return entries[:: max(1, len(entries) // SAMPLED)]


def count_pixels(entries: Sequence[dict[str, Any]], read: Read, labels: Labels) -> tuple[np.ndarray, list[InputError]]:
    """Return the number of pixels (256,) of each label in a sample of maps, or in all if the sample leaves nothing to learn.

    With them, return the errors of the maps that cannot be read.

    Args:
        entries: the list that mmseg's dataset makes.
        read: returns the labels (H, W), uint8, of an entry, as training gets them.
    """
    counts, broken = np.zeros(IGNORED + 1, dtype=np.int64), list[InputError]()
    for chosen in (sampled(entries), entries):
        counts[:] = 0
        broken.clear()
        for entry in chosen:
            try:
                counts += pixels(read(entry))
            except InputError as error:
                broken.append(error)
        if not counts.any() or pixel_fault(counts, labels) is None:
            break
    return counts, broken


def reader_of(view: DatasetView, kind: type, names: Sequence[str]) -> Any:
    """Return our counterpart of the pipeline's step that reads a file: its errors name the file. None without such a step."""
    for step in view.steps():
        if name_of(step.get("type")) in names:
            return kind(**{name: value for name, value in step.items() if name in SHARED})
    return None


def stock(view: DatasetView) -> bool:
    """Return whether all steps of a pipeline are known to leave the numbers of classes as they are."""
    kinds = [class_of(step, TRANSFORMS, view.scope) for step in view.steps() if "type" in step]
    return all(kind is not None and kind.__module__.startswith(("mmcv.", "mmdet.", "mmseg.", "mmvit.")) for kind in kinds)


def may_load_labels(view: DatasetView) -> bool:
    """Return whether a step loads labels, or is one that nobody knows here."""
    return not stock(view) or any(LABELS.search(name_of(step.get("type"))) for step in view.steps())


def pixels(labels: np.ndarray) -> np.ndarray:
    """Return the number of pixels (256,) of each label in a map (H, W), uint8."""
    return np.bincount(labels.ravel(), minlength=IGNORED + 1)


def pixel_fault(counts: np.ndarray, labels: Labels) -> str | None:
    """Return why these numbers of pixels (256,) leave nothing to learn; None if they leave something."""
    ignored = counts[IGNORED] / max(counts.sum(), 1)
    present = np.flatnonzero(counts[:IGNORED]).tolist()
    if not present:
        remedy = (
            "reduce_zero_label=True ignores 0; is 0 a class? Set it to False"
            if labels.reduced and ignored
            else "Correct the files"
        )
        return f"nothing to learn from: all pixels are ignored (255). {remedy}"
    if len(present) == 1 and len(labels.classes) > 1 and ignored > NOTICEABLE and present[0] < len(labels.classes):
        return (
            f"every pixel is {labels.classes[present[0]]!r} ({present[0]}) or ignored (255, {ignored:.1%} of them). Where 255 "
            "means an object, write its number, 1, into the files; 255 is what training leaves out"
        )
    return None


def absent_classes(counts: np.ndarray, labels: Labels) -> str | None:
    """Return a sentence about classes of which there is nothing to count; None if all occur."""
    never = _never(counts, labels)
    if not never:
        return None
    text = f"{len(never)} of {len(labels.classes)} classes never occur: {first_few(never)}"
    shift = shifted_classes(counts, labels)
    return f"{text}. {shift}" if shift else text


def shifted_classes(counts: np.ndarray, labels: Labels) -> str | None:
    """Return a sentence on `reduce_zero_label`, if it seems to take the first class away and to shift the others."""
    count = len(labels.classes)
    if not labels.reduced or not counts[IGNORED] or _never(counts, labels) != [*labels.classes[-1:]]:
        return None
    return (
        f"reduce_zero_label=True ignores 0 and makes {count - 1} of {count}, which no map has: where 0 is the first class, set "
        "it to False"
    )


def _never(counts: np.ndarray, labels: Labels) -> list[str]:
    """Return the classes that no pixel has."""
    return [name for number, name in enumerate(labels.classes) if not counts[number]]
