"""Checks of datasets of label maps: pairs of files, what their numbers mean, and pixels to learn from."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from ..config.datasets import LOADERS, DatasetView
from ..data.label_maps import LoadLabelMap
from ..errors import first_few
from .annotations import files_below
from .findings import Finding, wrong
from .paths import layout_of
from .plan import Plan
from .targets import learnable, reader_of


class Labels(NamedTuple):
    """Meaning of the numbers in label maps: the names of the classes, and whether 0 is removed first (reduce_zero_label)."""

    classes: tuple[str, ...]
    reduced: bool


def check_label_maps(plan: Plan) -> Iterator[Finding]:
    meanings: dict[str, Labels] = {}
    for view in plan.datasets:
        if not view.reads_label_maps or not all(path.exists() for _, path in view.paths()):
            continue
        reader = view.label_map_reader()
        if reader is None:
            continue
        meanings[view.key] = Labels(tuple(reader.metainfo.get("classes") or ()), bool(reader.reduce_zero_label))
        layout = layout_of(view)
        if fault := _unpaired(reader, view.key, known=bool(layout)):
            yield wrong("label maps", "\n".join([fault, *layout]))
        elif view.for_training:
            yield from _pixels(view, reader, meanings[view.key])
    yield from _disagreement(meanings)


def _pixels(view: DatasetView, reader: Any, labels: Labels) -> Iterator[Finding]:
    load = reader_of(view, LoadLabelMap, LOADERS)
    fault = learnable(
        reader.load_data_list(),
        lambda entry: load.transform({**entry, "seg_fields": []})["gt_seg_map"],
        labels.classes,
        labels.reduced,
    )
    if fault:
        maps = Path(reader.data_prefix["seg_map_path"])
        yield wrong("label maps", f"label maps of {maps} ({view.key}.data_prefix.seg_map_path): {fault}")


def _disagreement(found: dict[str, Labels]) -> Iterator[Finding]:
    """Yield a finding for each dataset in which a number means another class than in the first."""
    first = next(iter(found), "")
    for key, labels in found.items():
        if labels.classes != found[first].classes:
            ours = found[first].classes
            yield wrong(
                "label maps",
                f"{first} has {len(ours)} classes ({first_few(ours)}), {key} has {len(labels.classes)} "
                f"({first_few(labels.classes) or 'none'}): the numbers in label maps would mean different classes",
                "Give both the same metainfo.classes in the same order",
            )
        elif labels.reduced != found[first].reduced:
            yield wrong(
                "label maps",
                f"{first} has reduce_zero_label={found[first].reduced}, {key} has {labels.reduced}: the numbers in label maps "
                "would mean different classes",
                "Give both the same",
            )


def _unpaired(reader: Any, key: str, known: bool) -> str | None:
    """Return a message about images without label map or label maps without image; None if all match by name.

    Args:
        reader: mmseg's dataset, which lists the files that it would read.
        key: config key of the dataset.
        known: whether the folder's layout is known; then every file with the suffix of label maps must have an image.
    """
    images, maps = (Path(reader.data_prefix[name]) for name in ("img_path", "seg_map_path"))
    entries = reader.load_data_list()
    if not entries:
        return f"{images} ({key}.data_prefix.img_path) holds no image *{reader.img_suffix}"
    wanted = {Path(entry["seg_map_path"]) for entry in entries}
    present = {maps / name for name in files_below(str(maps)) if name.endswith(reader.seg_map_suffix)}
    lost = sorted(file for file in wanted - present if not file.exists())
    if lost:
        return (
            f"{len(lost)} of the {len(entries)} images of {images} have no label map; the first that is missing is "
            f"{lost[0]} ({key}.data_prefix.seg_map_path). Complete the folder, or take the images out"
            + ("; for images without labels: --no-labels --out DIR" if key.startswith("test_") else "")
        )
    alone = sorted(present - wanted)
    if alone and known and not reader.ann_file:
        image = f"{alone[0].relative_to(maps)}".removesuffix(reader.seg_map_suffix) + reader.img_suffix
        return (
            f"{len(alone)} label maps of {maps} have no image; the first that is missing is {images / image} "
            f"({key}.data_prefix.img_path). Complete the folder, or take the label maps out"
        )
    return None
