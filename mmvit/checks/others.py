"""Checks of datasets of any type: whether they can be built, and what those in other formats give to learn from."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import redirect_stdout
from glob import escape
from io import StringIO
from pathlib import Path
from typing import Any

from defusedxml import ElementTree
from mmengine.dataset import BaseDataset

from ..config.datasets import DatasetView, is_remote
from ..errors import brief, counted, first_few, nearest
from .findings import Finding, doubtful, not_checked, ok, wrong
from .plan import Plan

PICKLES = (".pkl", ".pickle")
TOOLKITS = ("mmdet.", "mmseg.", "mmengine.")
SLOW = ("CrowdHumanDataset", "WIDERFaceDataset")
SEARCHED = 20  # XML files in which unknown names are looked for


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
    """Read the lists of other detection datasets as mmdet does, and count their targets by class; name what is not counted."""
    for view in plan.trained:
        if not view.loads_annotations or (view.is_coco and view.reads_boxes):
            continue
        if view.label_map_reader() is not None:
            continue  # the check of label maps counts them
        if reason := _unread(view):
            yield not_checked(f"{view.key}: what it gives to learn from: {reason}")
        elif not any(view.absent()):
            yield from _read(view)


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


def _read(view: DatasetView) -> Iterator[Finding]:
    try:
        with redirect_stdout(StringIO()):  # pycocotools, and bars
            dataset = view.built()
            entries = view.chosen(dataset.load_data_list())
    except ImportError as error:
        yield not_checked(f"{view.key}: {brief(error)}")  # the check of packages has it
    except Exception as error:
        yield wrong(f"{view.key}: {view.type_name} cannot read its annotations: {brief(error)}")
    else:
        yield from _missing(view, entries)
        yield from _targets(view, entries, list(dataset.metainfo.get("classes") or ()))


def _missing(view: DatasetView, entries: Sequence[Mapping[str, Any]]) -> Iterator[Finding]:
    """Yield a finding for files that the lists name and that are not there."""
    for name, what in (("img_path", "images"), ("seg_map_path", "label maps")):
        paths = [path for entry in entries if isinstance(path := entry.get(name), str) and not is_remote(Path(path))]
        lost = [Path(path) for path in paths if not Path(path).exists()]
        if lost:
            alike = first_few([file.name for file in lost[0].parent.glob(f"{escape(lost[0].stem)}.*")])
            sentence = f"{view.key}: {len(lost)} of its {len(paths)} {what} are missing: {first_few(list(map(str, lost)))}"
            yield wrong(sentence + (f". The folder has {alike}" if alike else ""), "Complete the folder")


def _targets(view: DatasetView, entries: Sequence[Mapping[str, Any]], classes: list[str]) -> Iterator[Finding]:
    counts: Counter = Counter()
    empty = []
    for entry in entries:
        labels = [box["bbox_label"] for box in entry.get("instances") or () if not box.get("ignore_flag")]
        labels = [part["category"] for part in entry.get("segments_info") or ()] or labels  # stuff has no boxes
        counts.update(labels)
        if not labels:
            empty.append(entry)
    hint = _unknown_names(empty, classes)
    if not entries:
        yield wrong(f"{view.key}: {view.type_name} finds no image")
    elif len(empty) == len(entries):
        yield wrong(f"{view.key}: nothing to learn from: no image has an object of its classes ({first_few(classes)}){hint}")
    else:
        some = f"{len(entries) - len(empty)} of {len(entries)} images"
        yield ok(f"{view.key}: {counted(sum(counts.values()), 'object')} in {some} to learn from")
        if empty and hint:
            yield doubtful(f"{view.key}: {len(empty)} of {len(entries)} images have no object of its classes{hint}")
        never = [name for number, name in enumerate(classes) if not counts[number]]
        if never and counts:
            yield doubtful(
                f"{view.key}: {len(never)} of {len(classes)} classes have no object to learn from: {first_few(never)}"
            )


def _unknown_names(entries: Sequence[Mapping[str, Any]], classes: list[str]) -> str:
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
