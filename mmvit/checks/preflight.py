"""Checks of a config's files before anything expensive begins: datasets, annotations, checkpoints.

Only what the run will read is checked, on the first process of each machine. A COCO annotation file is parsed once more than
mmdet does it: seconds, against a day of training lost on a name.
"""

import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unicodedata import normalize

from mmengine.config import Config, ConfigDict
from mmengine.logging import print_log

from ..errors import InputError, some
from ..weights.downloads import fetch
from ..zoo import families
from .annotations import check_annotations, check_lists, read
from .dataset import (
    ann_file,
    classes_of,
    datasets_of,
    image_folder,
    is_coco,
    is_remote,
    label_map_reader,
    name_of,
    reads_boxes,
    reads_label_maps,
    reads_masks,
)
from .model import require_fit

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
    """Checks what a run over `splits` (train, val, test) reads.

    Raises:
        InputError: something is missing or wrong; the message has the paths, their config keys and what to do.
    """
    if int(os.environ.get("LOCAL_RANK", 0)) != 0:
        return
    leaves = list(datasets_of(cfg, splits))
    require_fit(cfg, [leaf for leaf in leaves if leaf[0].startswith("train_")])
    _check_paths(leaves)
    classes_found = {}
    for key, dataset in leaves:
        if is_coco(dataset):
            classes_found[key] = _check_coco(key, dataset, cfg.get("default_scope"))
        elif reads_label_maps(dataset):
            _check_label_maps(key, dataset, cfg.get("default_scope"))
    _check_same_classes(classes_found)
    _check_checkpoints(cfg)


def _paths(key: str, dataset: ConfigDict) -> Iterator[tuple[str, Path]]:
    """Config keys and paths of a dataset's annotation file and image folders."""
    root = dataset.get("data_root") or ""
    if dataset.get("ann_file"):
        yield f"{key}.ann_file", Path(root, dataset.ann_file)
    for name, folder in (dataset.get("data_prefix") or {}).items():
        if folder is not None and (root or folder):
            yield f"{key}.data_prefix.{name}", Path(root, folder)


def _check_paths(leaves: list[tuple[str, ConfigDict]]) -> None:
    lost: dict[Path, list[str]] = {}
    affected = []
    for key, dataset in leaves:
        for name, path in _paths(key, dataset):
            if not is_remote(path) and not path.exists():
                lost.setdefault(path, []).append(name)
                affected.append(dataset)
    if not lost:
        return
    dataset = affected[0]
    root = dataset.get("data_root") or "."
    lines = [f"dataset not found: {len(lost)} paths of this config are missing"]
    lines += [f"  {path}   ({', '.join(names)})" for path, names in lost.items()]
    lines += _told_of(dataset)
    lines += [
        f"Put or link it there (ln -s /where/it/is {str(root).rstrip('/')}), or change the keys above in a config of your own "
        "or with --cfg-options.",
        "--demo needs no data: it trains the same model on an embedded dataset.",
    ]
    raise InputError("\n".join(lines))


def _told_of(dataset: ConfigDict) -> list[str]:
    """Where the files of a known dataset lie, and where they come from, in a line each."""
    kind = name_of(dataset.type)
    if kind not in SOURCES:
        return []
    layout, source = SOURCES[kind]
    return [f"Expected under {dataset.get('data_root') or '.'} (data_root): {layout}", f"To be had as {source}."]


def _check_coco(key: str, dataset: ConfigDict, scope: str | None) -> list[str]:
    """Category names of a COCO annotation file that the dataset's classes know, in the dataset's order."""
    told = f"{ann_file(dataset)} ({key}.ann_file)"
    content = read(ann_file(dataset), told, annotated=not key.startswith("test_"))
    classes = classes_of(dataset, scope)
    check_lists(content, told, classes)
    known = {category["name"] for category in content["categories"]}
    found = [name for name in classes if name in known]
    if classes and not found:
        raise InputError(
            f"{told}: none of its categories ({some(sorted(known))}) is a class of {dataset.type} "
            f"({some(classes)}). Name yours with {key}.metainfo.classes=(...), and set model.bbox_head.num_classes"
        )
    if len(found) < len(classes):
        print_log(
            f"{told}: {len(classes) - len(found)} of the {len(classes)} classes of {dataset.type} have no "
            f"category there ({some([name for name in classes if name not in known])}). mmdet's evaluation fails once such a "
            "class is predicted: complete the file's categories, empty ones will do, or name your classes in metainfo.classes",
            logger="current",
            level=logging.WARNING,
        )
    if reads_boxes(dataset, scope):
        check_annotations(content, told, classes, reads_masks(dataset))
    folder = image_folder(dataset)
    if not is_remote(folder):
        _check_images([image["file_name"] for image in content["images"]], folder, told, f"{key}.data_prefix.img")
    return found


def _check_same_classes(found: dict[str, list[str]]) -> None:
    """mmdet numbers the classes by the categories that a file has: two files with other subsets would disagree."""
    keys = list(found)
    for key in keys[1:]:
        if found[key] != found[keys[0]]:
            differing = sorted(set(found[key]) ^ set(found[keys[0]]))
            raise InputError(
                f"{keys[0]} and {key} have different categories ({some(differing)} in one of them only), so labels would "
                "mean different classes. Give both annotation files the same categories"
            )


def _check_images(names: list[str], folder: Path, annotations: str, key: str) -> None:
    present = {entry.relative_to(folder).as_posix() for entry in _files(folder)}
    lost = [name for name in names if Path(name).as_posix() not in present]
    if lost:
        alike = next((name for name in present if _letters(name) == _letters(lost[0])), None)
        hint = f" The folder has {alike!a}: other capitals or another Unicode form than {lost[0]!a}." if alike else ""
        raise InputError(
            f"{annotations} names {len(lost)} images (of {len(names)}) that are not in {folder} ({key}): {some(lost)}.{hint} "
            "Complete the folder, or take them out of the annotations"
        )


def _letters(name: str) -> str:
    return normalize("NFC", name).casefold()


def _files(folder: Path) -> Iterator[Path]:
    for parent, _, names in os.walk(folder, followlinks=True):
        yield from (Path(parent, name) for name in names)


def _check_label_maps(key: str, dataset: ConfigDict, scope: str | None) -> None:
    reader = label_map_reader(dataset, scope)
    if reader is None:
        return
    told = _told_of(dataset)
    if fault := _unpaired(reader, key, known=bool(told)):
        raise InputError("\n".join([fault, *told]))


def _unpaired(reader: Any, key: str, known: bool) -> str | None:
    """What images and label maps lack of each other, by their names.

    Args:
        reader: the dataset, which says by itself what it would read.
        key: the dataset's in the config.
        known: nothing but label maps ends as they do in this layout, so that each must have its image.
    """
    images, maps = (Path(reader.data_prefix[name]) for name in ("img_path", "seg_map_path"))
    entries = reader.load_data_list()
    if not entries:
        return f"{images} ({key}.data_prefix.img_path) holds no image *{reader.img_suffix}"
    wanted = {Path(entry["seg_map_path"]) for entry in entries}
    present = {file for file in _files(maps) if file.name.endswith(reader.seg_map_suffix)}
    lost = sorted(file for file in wanted - present if not file.exists())
    if lost:
        return (
            f"{len(lost)} of the {len(entries)} images of {images} have no label map; the first that is missing is "
            f"{lost[0]} ({key}.data_prefix.seg_map_path). Complete the folder, or take the images out"
        )
    alone = sorted(present - wanted)
    if alone and known and not reader.ann_file:
        image = f"{alone[0].relative_to(maps)}".removesuffix(reader.seg_map_suffix) + reader.img_suffix
        return (
            f"{len(alone)} label maps of {maps} have no image; the first that is missing is {images / image} "
            f"({key}.data_prefix.img_path). Complete the folder, or take the label maps out"
        )
    return None


def _check_checkpoints(cfg: Config) -> None:
    """Files that `init_cfg` of our backbones names are fetched now, so that an unreachable one stops the run at once."""
    for name, part in cfg.model.items():
        if not isinstance(part, dict) or not str(part.get("type", "")).startswith("mmvit."):
            continue
        settings = part.get("init_cfg") or []
        listed = not isinstance(settings, dict)
        for index, setting in enumerate(settings if listed else [settings]):
            if setting.get("type") != "Pretrained":
                continue
            key = f"model.{name}.init_cfg{f'.{index}' if listed else ''}"
            source = str(setting["checkpoint"])
            if "://" not in source and not Path(source).expanduser().is_file():
                raise InputError(missing_checkpoint(key, source, part))
            fetch(source, setting.get("sha256"))


def missing_checkpoint(key: str, source: str, part: ConfigDict) -> str:
    """What to say about a local checkpoint that is not there: above all, where the authors' files are."""
    path = Path(source).expanduser()
    lines = [f"checkpoint {source}: no such file ({key}.checkpoint, looked in {path.resolve().parent})"]
    family = next((family for family in families() if f"mmvit.{family.__name__}" == part.type), None)
    rows = family.released.values() if family else ()
    for row in rows:
        if row.arch == part.get("arch") and row.url:
            lines.append(f"The authors' file for images of {row.img_size} pixels is {row.url}, which {key}.checkpoint may name")
        elif row.arch == part.get("arch"):
            lines.append(
                f"The authors' file lies in a folder that only a browser opens, {row.folder}: fetch it by hand and put it "
                f"at {path}"
            )
    lines += [
        f"Another path: --cfg-options {key}.checkpoint=PATH",
        f"Random weights: --cfg-options {key.partition('.init_cfg')[0]}.init_cfg=None",
    ]
    return "\n".join(lines)
