"""Checks of a config's files before anything expensive begins: datasets, annotations, checkpoints.

The first process of each machine checks the files that the run will read. The survey of a large COCO annotation file is kept
between runs. A few label maps are opened, and all of them only if these leave nothing to learn from.
"""

import logging
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from unicodedata import normalize

from mmengine.config import Config
from mmengine.logging import print_log

from ..config.datasets import LOADERS, DatasetView, datasets_of, is_remote, name_of
from ..data.coco import OTHER
from ..data.label_maps import LoadLabelMap
from ..errors import InputError, first_few
from .agreement import Labels, another_file, require_same_labels
from .files import reader_of
from .model import require_fit
from .pretrained import check_pretrained
from .settings import odd_settings, same_data
from .survey import Reading, Survey, require_targets, survey
from .targets import require_pixels

SOURCES = {
    "CocoDataset": (
        "annotations/instances_{train,val}2017.json, train2017/*.jpg, val2017/*.jpg",
        "train2017.zip, val2017.zip and annotations_trainval2017.zip from https://cocodataset.org/#download",
    ),
    "ADE20KDataset": (
        "images/{training,validation}/*.jpg, annotations/{training,validation}/*.png",
        "ADEChallengeData2016.zip from http://sceneparsing.csail.mit.edu",
    ),
    "CityscapesDataset": (
        "leftImg8bit/{train,val}/CITY/*_leftImg8bit.png, gtFine/{train,val}/CITY/*_gtFine_labelTrainIds.png",
        "leftImg8bit_trainvaltest.zip and gtFine_trainvaltest.zip from https://www.cityscapes-dataset.com, "
        "labelTrainIds by the cityscapesscripts package",
    ),
}


def check(cfg: Config, splits: tuple[str, ...]) -> None:
    """Check the files that a run over `splits` (train, val, test) reads.

    Raises:
        InputError: something is missing or wrong; the message has the paths, their config keys and the remedy.
    """
    if int(os.environ.get("LOCAL_RANK", 0)) != 0:
        return
    leaves = list(datasets_of(cfg, splits))
    require_fit(cfg, [leaf for leaf in leaves if leaf.for_training])
    _check_paths(leaves)
    if "train" in splits:
        for told in [*odd_settings(cfg), *same_data(cfg)]:
            _warn(told)
    classes_found: dict[str, list[str]] = {}
    labels: dict[str, Labels | None] = {}
    trained: dict[str, Survey] = {}
    for view in leaves:
        if view.is_coco:
            found = _check_coco(view, classes_found)
            if view.for_training and view.reads_boxes and view.loads_annotations:
                trained[_label(view)] = found
        elif view.reads_label_maps:
            labels[view.key] = _check_label_maps(view)
    _check_same_classes(classes_found)
    require_same_labels({key: found for key, found in labels.items() if found is not None})
    require_targets(trained)
    _check_evaluators(cfg, splits, classes_found)
    check_pretrained(cfg)


def _check_paths(leaves: list[DatasetView]) -> None:
    lost: dict[Path, list[str]] = {}
    affected = []
    for view in leaves:
        for name, path in view.paths():
            unread = name.endswith(".seg_map_path") and not view.loads_annotations
            if not is_remote(path) and not path.exists() and not unread:
                lost.setdefault(path, []).append(name)
                affected.append(view)
    if not lost:
        return
    root = affected[0].root or "."
    lines = [f"dataset not found: {len(lost)} paths of this config are missing"]
    lines += [f"  {path}   ({', '.join(names)})" for path, names in lost.items()]
    lines += _layout_of(affected[0])
    if all(name.startswith("test_") and name.endswith("seg_map_path") for names in lost.values() for name in names):
        lines.append("Images without label maps: --no-labels --out DIR, which writes label maps instead of measuring.")
    if affected[0].type_name in SOURCES:
        lines.append(
            f"Put or link it there (ln -s /where/it/is {str(root).rstrip('/')}), or change the keys above in a config of your "
            "own or with --cfg-options."
        )
    else:
        lines.append("Name your files and folders in the keys above, in a config or with --cfg-options.")
    lines.append("--demo needs no data: it trains the same model on an embedded dataset.")
    raise InputError("\n".join(lines))


def _layout_of(view: DatasetView) -> list[str]:
    """Return a line on the folders of a known dataset and one on its download; no lines for another dataset."""
    if view.type_name not in SOURCES:
        return []
    layout, source = SOURCES[view.type_name]
    return [f"Expected under {view.root or '.'} (data_root): {layout}", f"Download {source}."]


def _label(view: DatasetView) -> str:
    return f"{view.ann_file} ({view.key}.ann_file)"


def reading_of(view: DatasetView) -> Reading:
    """Return how a dataset reads its annotation file."""
    return Reading(
        classes=tuple(view.classes()),
        boxes=view.reads_boxes,
        masks=view.reads_masks,
        annotated=view.loads_annotations and not view.for_test,
        least_side=view.least_side,
    )


def _check_coco(view: DatasetView, classes_found: dict[str, list[str]]) -> Survey:
    """Check a COCO annotation file, and add the classes that it has categories for to `classes_found`, in their order."""
    label, reading = _label(view), reading_of(view)
    found = survey(view.ann_file, label, reading)
    known = set(found.categories)
    classes_found[view.key] = [name for name in found.categories if name in set(reading.classes)]
    if reading.classes and not classes_found[view.key]:
        raise InputError(
            f"{label}: none of its categories ({first_few(sorted(known))}) is a class of {view.type_name} "
            f"({first_few(reading.classes)}). Name yours with {view.key}.metainfo.classes=(...), and set "
            "model.bbox_head.num_classes"
        )
    if lacking := [name for name in reading.classes if name not in known]:
        _warn(
            f"{label}: {len(lacking)} of the {len(reading.classes)} classes of {view.type_name} have no "
            f"category there ({first_few(lacking)}). mmdet's evaluation fails once such a "
            "class is predicted: complete the file's categories, empty ones will do, or name your classes in metainfo.classes"
        )
    named = [name for name in reading.classes if name in known]
    if reading.boxes and classes_found[view.key] != named:
        _warn(
            f"{label}: its categories are in the order {first_few(classes_found[view.key])}, the classes of {view.type_name} "
            f"in the order {first_few(named)}. mmdet numbers them in the file's order, so results would get the wrong names. "
            f"Write {view.key}.metainfo.classes in the file's order"
        )
    if found.wrong and reading.boxes:
        raise InputError(f"{label}: {'; '.join(found.wrong)}")
    _log_survey(view, label, found)
    if not is_remote(view.image_folder):
        _check_images(found.names, view.image_folder, label, f"{view.key}.data_prefix.img")
    return found


def _log_survey(view: DatasetView, label: str, found: Survey) -> None:
    for reason, (count, ids) in found.left_out.items():
        more = f"{first_few(ids[:5])}{f' and {count - 5} more' if count > 5 else ''}"
        text = f"{label}: mmdet leaves out {reason}: {count} annotations (ids {more})"
        print_log(text, logger="current", level=logging.INFO if reason == OTHER else logging.WARNING)
    for sentence in found.odd:
        _warn(f"{label}: {sentence}")
    if view.for_training and found.targets:
        never = [name for name, count in found.boxes.items() if not count]
        text = f"{label}: {found.targets} boxes in {found.images} images to learn from, {found.crowds} crowds to ignore"
        print_log(text, logger="current", level=logging.INFO)
        if never:
            _warn(f"{label}: {len(never)} of {len(found.boxes)} classes have no box to learn from: {first_few(never)}")


def _warn(text: str) -> None:
    print_log(text, logger="current", level=logging.WARNING)


def _check_evaluators(cfg: Config, splits: tuple[str, ...], classes_found: Mapping[str, list[str]]) -> None:
    """Check the annotation files of `CocoMetric`, which pycocotools reads in its own way.

    Raises:
        InputError: a file is not there, has the classes in another order than the dataset's, or annotations without
            `iscrowd`.
    """
    for split in splits:
        evaluators = cfg.get(f"{split}_evaluator") or []
        for evaluator in evaluators if isinstance(evaluators, list | tuple) else [evaluators]:
            if not isinstance(evaluator, dict) or name_of(evaluator.get("type")) != "CocoMetric":
                continue
            if not (file := evaluator.get("ann_file")) or is_remote(Path(file)) or evaluator.get("format_only"):
                continue
            label = f"{file} ({split}_evaluator.ann_file)"
            if not Path(file).is_file():
                raise InputError(f"{label}: no such file. Expected the annotations of {split}_dataloader.dataset")
            views = [view for view in datasets_of(cfg, (split,)) if view.is_coco and view.reads_boxes]
            if not views:
                continue
            found = survey(Path(file), label, reading_of(views[0]))
            if Path(file).resolve() != views[0].ann_file.resolve():
                predicted = {name for view in views for name in survey(view.ann_file, _label(view), reading_of(view)).names}
                _warn(f"{label}: {another_file(found.names, predicted, _label(views[0]))}")
                named = set(views[0].classes())
                ordered = [name for name in found.categories if name in named]
                _check_same_classes({views[0].key: classes_found[views[0].key], f"{split}_evaluator.ann_file": ordered})
            count, ids = found.without_crowd
            if count:
                raise InputError(
                    f"{label}: {count} annotations have no iscrowd (ids {first_few(ids)}), which evaluation needs and training "
                    'does not. Write "iscrowd": 0 into each'
                )


def _check_same_classes(found: dict[str, list[str]]) -> None:
    """Check that all annotation files have categories for the same classes.

    mmdet numbers the classes by the categories of each file, so files with different subsets would disagree.
    """
    keys = list(found)
    for key in keys[1:]:
        if found[key] != found[keys[0]]:
            differing = sorted(set(found[key]) ^ set(found[keys[0]]))
            if not differing:
                place = next(
                    place for place, names in enumerate(zip(found[key], found[keys[0]], strict=True)) if len({*names}) > 1
                )
                raise InputError(
                    f"{keys[0]} and {key} have the same categories in different orders (number {place + 1} is "
                    f"{found[keys[0]][place]!r} and {found[key][place]!r}). mmdet numbers classes as each file lists them, so "
                    "labels would mean different classes. Write the list of categories in the same order into all files"
                )
            raise InputError(
                f"{keys[0]} and {key} have different categories ({first_few(differing)} in one of them only), so labels would "
                "mean different classes. Give both annotation files the same categories"
            )


def _check_images(names: list[str], folder: Path, annotations: str, key: str) -> None:
    present = set(_files(str(folder)))
    lost = [name for name in names if name not in present and not os.path.exists(os.path.join(folder, name))]
    if lost:
        alike = next((name for name in present if _letters(name) == _letters(lost[0])), None)
        hint = f" The folder has {alike!a}: other capitals or another Unicode form than {lost[0]!a}." if alike else ""
        raise InputError(
            f"{annotations} names {len(lost)} images (of {len(names)}) that are not in {folder} ({key}): {first_few(lost)}."
            f"{hint} Complete the folder, or take them out of the annotations"
        )


def _letters(name: str) -> str:
    return normalize("NFC", name).casefold()


def _files(folder: str) -> Iterator[str]:
    """Yield the files below a folder as relative paths with slashes."""
    for parent, _, names in os.walk(folder, followlinks=True):
        inner = os.path.relpath(parent, folder).replace(os.sep, "/")
        yield from names if inner == "." else (f"{inner}/{name}" for name in names)


def _check_label_maps(view: DatasetView) -> Labels | None:
    """Check the label maps of a dataset, and return what their numbers mean; None for datasets that are not mmseg's."""
    reader = view.label_map_reader()
    if reader is None:
        return None
    layout_lines = _layout_of(view)
    if fault := _unpaired(reader, view.key, known=bool(layout_lines)):
        raise InputError("\n".join([fault, *layout_lines]))
    if view.for_training:
        load = reader_of(view, LoadLabelMap, LOADERS)
        require_pixels(
            reader.load_data_list(),
            lambda entry: load.transform({**entry, "seg_fields": []})["gt_seg_map"],
            reader.metainfo.get("classes") or (),
            f"label maps of {Path(reader.data_prefix['seg_map_path'])} ({view.key}.data_prefix.seg_map_path)",
            bool(reader.reduce_zero_label),
        )
    return Labels(tuple(reader.metainfo.get("classes") or ()), bool(reader.reduce_zero_label))


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
    present = {maps / name for name in _files(str(maps)) if name.endswith(reader.seg_map_suffix)}
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
