"""Check of training data in other formats than COCO's and label maps: what a dataset of any type gives to learn from."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from defusedxml import ElementTree
from mmengine.registry import DATASETS

from ..config.datasets import DatasetView
from ..errors import first_few, nearest
from . import findings
from .findings import Finding, brief
from .plan import Plan

SEARCHED = 20  # XML files in which unknown names are looked for

wrong = partial(findings.wrong, "annotations")
doubtful = partial(findings.doubtful, "annotations")


def check_other_data(plan: Plan) -> Iterator[Finding]:
    """Read the lists of other detection datasets as mmdet does, and count their targets by class."""
    for view in plan.trained:
        if view.reads_label_maps or (view.is_coco and view.reads_boxes) or not view.loads_annotations:
            continue
        if not all(path.exists() for _, path in view.paths()) or not _is_detection(view):
            continue
        settings = {name: value for name, value in view.config.items() if name != "pipeline"}
        dataset = DATASETS.build(dict(settings, pipeline=[], lazy_init=True))
        try:
            entries = dataset.load_data_list()
        except Exception as error:
            yield wrong(f"{view.key}: {view.type_name} cannot read its annotations: {brief(error)}")
            continue
        yield from _targets(view, entries, list(dataset.metainfo.get("classes") or ()))


def _is_detection(view: DatasetView) -> bool:
    from mmdet.datasets import BaseDetDataset

    return issubclass(view.kind, BaseDetDataset)


def _targets(view: DatasetView, entries: Sequence[Mapping[str, Any]], classes: list[str]) -> Iterator[Finding]:
    counts: Counter = Counter()
    empty = []
    for entry in entries:
        labels = [box["bbox_label"] for box in entry.get("instances") or () if not box.get("ignore_flag")]
        counts.update(labels)
        if not labels and not entry.get("segments_info"):
            empty.append(entry)
    total = f"{view.key}: {sum(counts.values())} boxes in {len(entries) - len(empty)} of {len(entries)} images to learn from"
    hint = _unknown_names(empty, classes)
    if not entries:
        yield wrong(f"{view.key}: {view.type_name} finds no image")
    elif len(empty) == len(entries):
        yield wrong(f"{view.key}: nothing to learn from: no image has an object of its classes ({first_few(classes)}){hint}")
    else:
        yield findings.ok("annotations", total)
        if empty and hint:
            yield doubtful(f"{view.key}: {len(empty)} of {len(entries)} images have no object of its classes{hint}")
        never = [name for number, name in enumerate(classes) if not counts[number]]
        if never and counts:
            yield doubtful(f"{view.key}: {len(never)} of {len(classes)} classes have no box to learn from: {first_few(never)}")


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
