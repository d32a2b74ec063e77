"""Checks of datasets of any type: whether they can be built, and what those in other formats give to learn from."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import redirect_stdout
from glob import escape
from io import StringIO
from pathlib import Path
from typing import Any

import msgspec
from defusedxml import ElementTree
from mmengine.dataset import BaseDataset

from ..config.datasets import DatasetView, is_remote
from ..errors import brief, counted, first_few, nearest
from .findings import Finding, doubtful, not_checked, ok, wrong
from .plan import Plan

PICKLES = (".pkl", ".pickle")
TOOLKITS = ("mmdet.", "mmseg.", "mmengine.")
SLOW = ("CrowdHumanDataset",)
Entries = Sequence[Mapping[str, Any]]  # of a dataset's list, one for each image
SEARCHED = 20  # XML files in which unknown names are looked for


class Category(msgspec.Struct):
    name: str


class Categories(msgspec.Struct):
    """An annotation file of which only the categories are read."""

    categories: list[Category]


def check_datasets(plan: Plan) -> Iterator[Finding]:
    """Build the datasets of mmdet and mmseg without reading data; report those that cannot be built."""
    for view in plan.datasets:
        if not issubclass(view.kind, BaseDataset) or not view.kind.__init__.__module__.startswith(TOOLKITS):
            continue  # it may read files as soon as it is built
        try:
            with redirect_stdout(StringIO()):
                view.built()
        except ImportError:
            continue  # the check of packages has it
        except Exception as error:
            told = "unexpected keyword argument" in str(error)  # by the check of options, and of missing paths by theirs
            if not told and not any(view.absent()):
                yield wrong(f"{view.key}: {view.type_name} cannot be built: {brief(error)}")


def check_other_data(plan: Plan) -> Iterator[Finding]:
    """Read the lists of other detection datasets as mmdet does: look for their images, and count what training learns from."""
    for view in plan.datasets:
        if (view.is_coco and view.reads_boxes) or (view.for_training and not view.loads_annotations):
            continue  # the check of annotations reads the former
        if view.label_map_reader() is not None:
            continue  # the check of label maps counts them
        if reason := _unread(view):
            if view.loads_annotations:
                what = "what it gives to learn from" if view.for_training else "whether its images are there"
                yield not_checked(f"{view.key}: {what}: {reason}")
        elif not any(view.absent()):
            yield from _read(plan, view)


def check_unlearned(plan: Plan) -> Iterator[Finding]:
    """Report classes that no dataset of the training has an object of; say nothing unless all of them were counted."""
    for view in plan.coco:
        if view.for_training and view.reads_boxes and (found := plan.surveyed(view)) is not None:
            plan.learned[view.key] = found.boxes
    labelled = [view for view in plan.trained if view.loads_annotations]
    counts: Counter = Counter()
    for view in labelled:
        counts.update(plan.learned.get(view.key, {}))  # zeros are entries, too
    never = [name for name, count in counts.items() if not count]
    if any(view.key not in plan.learned for view in labelled) or not counts.total() or not never:
        return
    boxes = all(view.is_coco and view.reads_boxes for view in labelled)
    first = labelled[0].label if boxes else labelled[0].key
    others = f" and {counted(len(labelled) - 1, 'other dataset')}" if len(labelled) > 1 else ""
    what = f"{len(never)} of {len(counts)} classes have no {'box' if boxes else 'object'} to learn from"
    yield doubtful(f"{first}{others}: {what}: {first_few(never)}")


def _unread(view: DatasetView) -> str | None:
    """Return why the lists of a dataset are not read; None if they are."""
    files = [value for name, value in view.config.items() if str(name).endswith("_file") and isinstance(value, str)]
    if pickles := [file for file in files if file.endswith(PICKLES)]:
        return f"{pickles[0]} is a pickle, and reading one can run code"
    if any(is_remote(path) for _, path in view.paths()):
        return "its files are not on this machine"
    from mmdet.datasets import BaseDetDataset

    if not issubclass(view.kind, BaseDetDataset):
        return f"{view.type_name} is no detection dataset of mmdet"
    return f"{view.type_name} opens every image for its list" if view.type_name in SLOW else None


def _read(plan: Plan, view: DatasetView) -> Iterator[Finding]:
    try:
        with redirect_stdout(StringIO()):  # pycocotools, and bars
            dataset = view.built()
            dataset.data_list = listed = dataset.load_data_list()
            entries = view.chosen(dataset.filter_data())  # in mmengine's order: `indices` counts what the filter leaves
    except ImportError as error:
        yield not_checked(f"{view.key}: {brief(error)}")  # the check of packages has it
    except Exception as error:
        yield wrong(f"{view.key}: {view.type_name} cannot read its annotations: {brief(error)}")
    else:
        classes = list(dataset.metainfo.get("classes") or ())
        yield from _missing(view, entries)
        yield from _numbers(view, classes)
        if view.for_training:
            counts = Counter(label for entry in entries for label in _labels(entry))
            plan.learned[view.key] = {name: counts[number] for number, name in enumerate(classes)}
            yield from _targets(view, listed, entries, classes)


def _missing(view: DatasetView, entries: Entries) -> Iterator[Finding]:
    """Yield a finding for files that the lists name and that are not there."""
    for name, what in (("img_path", "images"), ("seg_map_path", "label maps")):
        paths = [path for entry in entries if isinstance(path := entry.get(name), str) and not is_remote(Path(path))]
        lost = [Path(path) for path in paths if not Path(path).exists()]
        if lost:
            alike = first_few([file.name for file in lost[0].parent.glob(f"{escape(lost[0].stem)}.*")])
            sentence = f"{view.key}: {len(lost)} of its {len(paths)} {what} are missing: {first_few(list(map(str, lost)))}"
            yield wrong(sentence + (f". The folder has {alike}" if alike else ""), "Complete the folder")


def _numbers(view: DatasetView, classes: list[str]) -> Iterator[Finding]:
    """Yield a finding where LVIS's datasets, which number all categories of the file, give the classes other numbers."""
    from mmdet.datasets import LVISV05Dataset

    if not issubclass(view.kind, LVISV05Dataset):
        return
    names = [entry.name for entry in msgspec.json.decode(view.ann_file.read_bytes(), type=Categories).categories]
    places = {name: number for number, name in enumerate(classes)}
    moved = [number for number, name in enumerate(names) if places.get(name, number) != number]
    if moved or len(names) > len(classes):
        number = moved[0] if moved else len(classes)
        place = f"{names[number]!r} gets number {number}, which is {classes[number]!r}" if number < len(classes) else ""
        yield wrong(
            f"{view.label}: {view.type_name} numbers all of its {len(names)} categories in the file's order, whatever the "
            f"{len(classes)} classes of metainfo are{': ' if place else ''}{place}",
            f"Name all of them in {view.key}.metainfo.classes, in this order, or write a file with your categories alone",
        )


def _labels(entry: Mapping[str, Any]) -> list[int]:
    """Return the numbers of the classes that an image has, one for each object or segment."""
    segments = [part["category"] for part in entry.get("segments_info") or ()]  # stuff has no boxes
    return segments or [box["bbox_label"] for box in entry.get("instances") or () if not box.get("ignore_flag")]


def _targets(view: DatasetView, listed: Entries, entries: Entries, classes: list[str]) -> Iterator[Finding]:
    """Yield findings on what the `entries` give to learn from, which filter and `indices` leave of the images `listed`."""
    empty = [entry for entry in listed if not _labels(entry)]
    labels = [found for entry in entries if (found := _labels(entry))]
    hint = _unknown_names(empty, classes)
    if not listed:
        yield wrong(f"{view.key}: {view.type_name} finds no image")
    elif len(empty) == len(listed):
        yield wrong(f"{view.key}: nothing to learn from: no image has an object of its classes ({first_few(classes)}){hint}")
    elif not labels:
        left = f"filter_cfg and indices leave {len(entries)} of {len(listed)} images, and these have no object of its classes"
        sides = [min(entry["width"], entry["height"]) for entry in listed if {"width", "height"} <= {*entry}]
        sentence = f"{view.key}: nothing to learn from: {left}"
        yield wrong(sentence + (f". The shorter sides of images are {min(sides)} to {max(sides)} pixels" if sides else ""))
    else:
        some = f"{len(labels)} of {len(listed)} images"
        yield ok(f"{view.key}: {counted(sum(map(len, labels)), 'object')} in {some} to learn from")
        if empty and hint:
            yield doubtful(f"{view.key}: {len(empty)} of {len(listed)} images have no object of its classes{hint}")


def _unknown_names(entries: Entries, classes: list[str]) -> str:
    """Return a remark on names of objects in XML files that are none of the classes; empty if there are none."""
    names: dict[str, None] = {}
    for entry in entries[:SEARCHED]:
        path = Path(str(entry.get("xml_path") or ""))
        if path.is_file():
            root = ElementTree.parse(path).getroot()
            names.update(dict.fromkeys(name for part in root.iter("object") if (name := part.findtext("name") or "")))
    strange = [name for name in names if name not in classes]
    if not strange:
        return ""
    meant = {name.casefold(): name for name in classes}.get(strange[0].casefold())
    guess = f"did you mean {meant}?" if meant else nearest(strange[0], classes, most=1, otherwise="")
    return f". Their files name {first_few([repr(name) for name in strange])}; {guess}".rstrip("; ")
