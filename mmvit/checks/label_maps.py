"""Checks of datasets of label maps: pairs of files, what their numbers mean, and pixels to learn from."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..arguments import name_of
from ..config.datasets import LOADERS, DatasetView
from ..config.parts import mappings
from ..data.label_maps import IGNORED, OF_CITYSCAPES, ORIGINAL_IDS, TRAIN_IDS, LoadLabelMap
from ..errors import counted, first_few
from .annotations import files_below
from .findings import Finding, doubtful, wrong
from .losses import check_ignored_pixels
from .paths import layout_of
from .plan import Plan
from .targets import Labels, count_pixels, labels_of, may_load_labels, pixel_fault, reader_of, sampled, shifted_classes, stock

IMAGES = (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".webp")
JPEG = b"\xff\xd8"  # first bytes


def check_label_maps(plan: Plan) -> Iterator[Finding]:
    meanings: dict[str, tuple[Labels, str]] = {}
    for view in plan.datasets:
        # mmseg's PascalVOCDataset and others assert that their folders are there.
        reader = None if any(view.absent()) else view.label_map_reader()
        if reader is None:
            yield from _unlabelled(plan, view)
            continue
        labels = labels_of(reader)
        meanings[view.key] = labels, view.root
        yield from _shifted(view, reader)
        layout = layout_of(view)
        if fault := _unpaired(reader, view.key, known=bool(layout)):
            yield wrong("\n".join([fault, *layout]))
        else:
            yield from _pixels(plan, view, reader, labels)
        yield from _left_aside(view, reader)
    yield from _disagreement(meanings)


def _unlabelled(plan: Plan, view: DatasetView) -> Iterator[Finding]:
    """Yield a finding for a pipeline of mmseg that loads no label maps, although a loss or a metric compares with them."""
    from mmseg.datasets import BaseSegDataset

    if not issubclass(view.kind, BaseSegDataset) or may_load_labels(view):
        return
    metrics = [] if view.for_training else plan.evaluators(view.split)
    needing = [key for key, part, views in metrics if view in views and needs_labels(part)]
    if view.for_training or needing:
        what = f"{needing[0]} compares with them" if needing else "nothing to learn from"
        yield (doubtful if view.split == "test" and plan.only_asked else wrong)(
            f"{view.key}.pipeline loads no label maps: {what}",
            f"Add dict(type='LoadAnnotations'){'; for images without labels: --no-labels --out DIR' * (view.split == 'test')}",
        )


def needs_labels(evaluator: Mapping[str, Any]) -> bool:
    """Return whether a metric compares with label maps that the pipeline loads."""
    return name_of(evaluator.get("type")) in ("IoUMetric", "BinaryMetric") and not evaluator.get("format_only")


def _pixels(plan: Plan, view: DatasetView, reader: Any, labels: Labels) -> Iterator[Finding]:
    load, entries = reader_of(view, LoadLabelMap, LOADERS), view.chosen(reader.load_data_list())
    where = f"label maps of {Path(reader.data_prefix['seg_map_path'])} ({view.key}.data_prefix.seg_map_path)"
    if lossy := next((entry["seg_map_path"] for entry in sampled(entries) if is_lossy(entry["seg_map_path"])), None):
        yield wrong(
            f"{where}: {lossy} is a JPEG, which changes the numbers of pixels: classes become others along every border",
            "Create them again as PNG",
        )
    counts, broken = count_pixels(entries, lambda entry: load.transform({**entry, "seg_fields": []})["gt_seg_map"], labels)
    if broken:
        rest = f" (and {len(broken) - 1} more of those that were looked at)" if len(broken) > 1 else ""
        yield (wrong if stock(view) else doubtful)(f"{view.key}: {broken[0]}{rest}")
    if view.for_training:
        fault = pixel_fault(counts, labels)
    else:
        fault = None if counts[:IGNORED].any() else "all pixels are ignored (255): every figure is nan, and none is the best"
    if fault and counts.any():
        yield wrong(f"{where}: {fault}")
    elif view.for_training and (shift := shifted_classes(counts, labels)):
        yield doubtful(f"{where}: {shift}")
    if view.for_training:
        yield from check_ignored_pixels(plan, counts)
    original = any(entry["seg_map_path"].endswith(ORIGINAL_IDS) for entry in entries)
    # Before a training the first batches tell; a validation may be hours away.
    classes, ignored = max(len(labels.classes), 2), ignored_by(plan)  # one class: background and foreground
    strange = [label for label in np.flatnonzero(counts).tolist() if label >= classes and label not in ignored]
    if original and view.for_training and (strange or not _are_own(labels.classes)):
        yield doubtful(f"{where}: {OF_CITYSCAPES[0]}", OF_CITYSCAPES[1])
    if strange and labels.classes and not view.for_training:
        shift = " (in the files each is one more: reduce_zero_label)" if labels.reduced else ""
        remedy = "Correct the files or metainfo.classes"
        if original:
            remedy = ". ".join(OF_CITYSCAPES)
        elif not labels.reduced:
            remedy += ", or set reduce_zero_label=True where 0 is no class"
        yield (wrong if stock(view) else doubtful)(
            f"{where}: labels {first_few(strange)}{shift} are none of the {counted(len(labels.classes), 'class')}, which are 0 "
            f"to {len(labels.classes) - 1}: a figure would leave their pixels out",
            remedy,
        )


def _are_own(classes: Sequence[str]) -> bool:
    """Return whether classes have names, which are not those of Cityscapes."""
    from mmseg.datasets import CityscapesDataset

    return bool(classes) and tuple(classes) != CityscapesDataset.METAINFO["classes"] and "class_7" not in classes


def _shifted(view: DatasetView, reader: Any) -> Iterator[Finding]:
    """Yield a finding for each step that moves labels in another way than its dataset says, at which mmseg stops."""
    for step in view.steps():
        given = step.get("reduce_zero_label")
        if name_of(step.get("type")) == "LoadAnnotations" and given not in (None, reader.reduce_zero_label):
            yield wrong(
                f"{view.key}: LoadAnnotations has reduce_zero_label={given}, its dataset {reader.reduce_zero_label}",
                f"Leave it out of the step, and set {view.key}.reduce_zero_label",
            )


def ignored_by(plan: Plan) -> set[int]:
    """Return the labels that are ignored: 255, and those that heads and metrics name."""
    heads = [part for _, model in plan.models for part in mappings(model)]
    metrics = [part for split in plan.splits for _, part, _ in plan.evaluators(split)]
    return {IGNORED, *(part["ignore_index"] for part in (*heads, *metrics) if isinstance(part.get("ignore_index"), int))}


def is_lossy(path: str) -> bool:
    """Return whether a file begins like a JPEG, whatever its suffix."""
    if not Path(path).is_file():
        return False
    with Path(path).open("rb") as file:
        return file.read(2) == JPEG


def _left_aside(view: DatasetView, reader: Any) -> Iterator[Finding]:
    """Yield a finding for files with another suffix than the dataset's, which mmseg passes over."""
    if reader.ann_file:
        return  # a list says which images count
    for option, name in (("img_suffix", "img_path"), ("seg_map_suffix", "seg_map_path")):
        suffix, folder = getattr(reader, option), str(reader.data_prefix[name])
        end = "." + suffix.rpartition(".")[2]
        there = list(files_below(folder))
        others = [file for file in there if Path(file).suffix.lower() in IMAGES and not file.endswith(end)]
        if reader.data_prefix["img_path"] == reader.data_prefix["seg_map_path"]:  # side by side
            others = [file for file in others if not file.endswith((reader.img_suffix, reader.seg_map_suffix))]
        if others:
            yield doubtful(
                f"{len(others)} of {len(there)} files of {folder} ({view.key}.data_prefix.{name}) are left aside, because "
                f"{option} is {suffix!r}: {first_few(sorted(others))}",
                "Give all the same suffix, capitals included",
            )


def _disagreement(found: dict[str, tuple[Labels, str]]) -> Iterator[Finding]:
    """Yield a finding for each dataset in which a number may mean another class than in the first."""
    first = next(iter(found), "")
    for key, (labels, root) in found.items():
        ours, reduced = found[first][0].classes, found[first][0].reduced
        if labels.classes != ours:
            yield wrong(
                f"{first} has {len(ours)} classes ({first_few(ours)}), {key} has {len(labels.classes)} "
                f"({first_few(labels.classes) or 'none'}): the numbers in label maps would mean different classes",
                "Give both the same metainfo.classes in the same order",
            )
        elif labels.reduced != reduced:  # COCO-Stuff's two releases differ so
            yield (wrong if root == found[first][1] else doubtful)(
                f"{first} has reduce_zero_label={reduced}, {key} has {labels.reduced}: the numbers in label maps would mean "
                "different classes",
                "Give both the same" + ", unless the files themselves differ so" * (root != found[first][1]),
            )


def _unpaired(reader: Any, key: str, known: bool) -> str | None:
    """Return a message about images without label map or label maps without image; None if all match by name.

    If the folder's layout is `known`, every file with the suffix of label maps must have an image.
    """
    images, maps = (Path(reader.data_prefix[name]) for name in ("img_path", "seg_map_path"))
    entries = reader.load_data_list()
    if fault := _list_fault(reader, key):
        return fault
    if not entries:
        return f"{images} ({key}.data_prefix.img_path) holds no image *{reader.img_suffix}"
    wanted = {Path(entry["seg_map_path"]) for entry in entries}
    present = {maps / name for name in files_below(str(maps)) if name.endswith(reader.seg_map_suffix)}
    lost = sorted(file for file in wanted - present if not file.exists())
    if lost:
        original = Path(str(lost[0]).replace(TRAIN_IDS, ORIGINAL_IDS))
        remedy = ". ".join(OF_CITYSCAPES) if original.exists() else "Complete the folder, or take the images out"
        return (
            f"{len(lost)} of the {len(entries)} images of {images} have no label map; the first that is missing is "
            f"{lost[0]} ({key}.data_prefix.seg_map_path). {remedy}"
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


def _list_fault(reader: Any, key: str) -> str | None:
    """Return what is wrong with a file that lists a dataset's images: mmseg takes each line as a name, whatever it holds."""
    if not reader.ann_file or not Path(reader.ann_file).is_file():
        return None
    lines = Path(reader.ann_file).read_bytes().decode(errors="replace").split("\n")
    lines = [line.rstrip("\r") for line in (lines[:-1] if lines[-1] == "" else lines)]
    where = f"{reader.ann_file} ({key}.ann_file)"
    if lines and lines[0].startswith("\ufeff"):
        return f"{where} begins with a byte order mark, which would belong to the first name. Save it as UTF-8 without one"
    if blank := [number for number, line in enumerate(lines, 1) if not line.strip()]:
        return f"{where}: line {first_few(blank)} is blank, and would count as an image without a name. Take it out"
    images, suffix = Path(reader.data_prefix["img_path"]), reader.img_suffix
    names = [line.strip() for line in lines]
    suffixed = [name for name in names if suffix and name.endswith(suffix) and not (images / f"{name}{suffix}").exists()]
    if suffixed:
        return f"{where} names {suffixed[0]}: expected names without {suffix}, which img_suffix adds"
    return None
