"""Checks of the annotation files in COCO's format: what mmdet makes of their classes, boxes and images."""

import os
from collections.abc import Iterator
from pathlib import Path
from unicodedata import normalize

from ..config.datasets import DatasetView, is_remote
from ..data.coco import OTHER
from ..errors import InputError, counted, first_few
from .findings import Finding, doubtful, ok, wrong
from .plan import Plan
from .survey import Survey
from .targets import may_load_labels


def check_annotations(plan: Plan) -> Iterator[Finding]:
    """Report each file that mmdet cannot use or would misread, and what of it is left to learn from."""
    for view in plan.coco:
        try:
            found = plan.survey(view)
        except InputError as error:
            yield wrong(str(error))
            continue
        if view.loads_annotations or not view.for_training:  # a semi-supervised training has images without labels
            yield from _classes(view, found)
        yield from _boxes(view, found)
        if not is_remote(view.image_folder):
            yield from _missing(view, "img", found.names)
        if view.reads_boxes and view.prefixes.get("seg") and any(step.get("with_seg") for step in view.steps()):
            maps = [name.rpartition(".")[0] + view.config.get("seg_map_suffix", ".png") for name in found.names]
            yield from _missing(view, "seg", maps)


def _classes(view: DatasetView, found: Survey) -> Iterator[Finding]:
    """Compare the categories of a file with the classes to train.

    mmdet numbers the classes by the file's list of categories, and names them by the dataset's list of classes.
    """
    classes, known = view.classes(), set(found.categories)
    order = "by their ids" if view.sorts_categories else "in the file's order"
    there = named(found, classes)
    ordered = [name for name in classes if name in known]
    lacking = [name for name in classes if name not in known]
    absent = (
        f"{view.label}: {len(lacking)} of the {len(classes)} classes of {view.type_name} have no category there "
        f"({first_few(lacking)})"
    )
    if classes and not there:
        yield wrong(
            f"{view.label}: none of its categories ({first_few(sorted(known))}) is a class of {view.type_name} "
            f"({first_few(classes)})",
            f"Name yours with {view.key}.metainfo.classes=(...), and set model.bbox_head.num_classes",
        )
    elif view.reads_boxes and there != ordered:
        yield wrong(
            f"{view.label}: its categories are in the order {first_few(there)}, the classes of {view.type_name} "
            f"in the order {first_few(ordered)}. mmdet numbers them {order}, so results would get the wrong names",
            f"Write {view.key}.metainfo.classes in that order",
        )
    elif lacking and view.reads_boxes and there != classes[: len(there)]:
        yield wrong(
            f"{absent}. mmdet numbers the others without them, so {there[-1]!r} would be called {classes[len(there) - 1]!r}",
            "Complete the file's categories, empty ones will do, or name only your classes in metainfo.classes",
        )
    elif lacking:
        yield doubtful(
            f"{absent}. mmdet's evaluation fails once such a class is predicted",
            "Complete the file's categories, empty ones will do, or name your classes in metainfo.classes",
        )


def named(found: Survey, classes: list[str]) -> list[str]:
    """Return the categories of a file that are classes, in the file's order."""
    wanted = set(classes)
    return [name for name in found.categories if name in wanted]


def _boxes(view: DatasetView, found: Survey) -> Iterator[Finding]:
    label = view.label
    if not view.reads_boxes:
        return
    for sentence in found.wrong:
        yield wrong(f"{label}: {sentence}")
    for sentence in found.odd:
        yield doubtful(f"{label}: {sentence}")
    for reason, (count, ids) in found.left_out.items():
        sentence = f"{label}: mmdet leaves out {reason}: {count} annotations (ids {first_few(ids, total=count)})"
        yield ok(sentence) if reason == OTHER else doubtful(sentence)
    if view.for_training and found.targets:
        boxes = f"{counted(found.targets, 'box')} in {counted(found.images, 'image')} to learn from"
        yield ok(f"{label}: {boxes}, {counted(found.crowds, 'crowd')} to ignore")


def check_targets(plan: Plan) -> Iterator[Finding]:
    """Report training data of which nothing remains when mmdet has read it."""
    training = [view for view in plan.coco if view.for_training and view.reads_boxes]
    if training and not any(map(may_load_labels, training)):
        words = f"{training[0].key}.pipeline loads no annotations: nothing to learn from"
        yield wrong(words, "Add dict(type='LoadAnnotations', with_bbox=True)")
    views = [view for view in training if view.loads_annotations]
    surveys = {view.label: found for view in views if (found := plan.surveyed(view)) is not None}
    if not surveys or any(found.targets for found in surveys.values()):
        return
    lines = ["nothing to learn from: no box remains when mmdet has read the training data"]
    for label, found in surveys.items():
        lines.append(f"  {label}: {found.annotations} annotations, of which")
        lines += [f"    {count} {reason}" for reason, (count, _) in found.left_out.items()]
        if found.crowds:
            lines.append(
                f"    {found.crowds} iscrowd=1, which are regions to ignore. A converter that marks every RLE as a "
                "crowd is wrong: write iscrowd=0 for single objects"
            )
    yield wrong("\n".join(lines))


def check_same_classes(plan: Plan) -> Iterator[Finding]:
    """Report files of a run that number the classes in different ways: mmdet counts the categories of each file."""
    found: dict[str, list[str]] = {}
    for view in plan.coco:
        labelled = view.loads_annotations or not view.for_training
        if labelled and (survey := plan.surveyed(view)) is not None:
            found[view.key] = named(survey, view.classes())
    for key, evaluator, views in plan.coco_evaluators():
        file, sorts = Path(evaluator["ann_file"]), bool(evaluator.get("sort_categories"))
        same = any(file.resolve() == view.ann_file.resolve() and sorts == view.sorts_categories for view in views)
        if views and file.is_file() and not same:
            survey = plan.survey(views[0], evaluator, f"{file} ({key}.ann_file)")
            found[f"{key}.ann_file"] = named(survey, views[0].classes())
    first = next(iter(found), "")
    for key, names in found.items():
        if names != found[first]:
            yield _differing(first, found[first], key, names)


def _differing(first: str, names: list[str], key: str, others: list[str]) -> Finding:
    if only := sorted({*names} ^ {*others}):
        sentence = f"{first} and {key} have different categories ({first_few(only)} in one of them only)"
        remedy = "Give both annotation files the same categories"
        return wrong(f"{sentence}, so labels would mean different classes", remedy)
    place = next(place for place, pair in enumerate(zip(names, others, strict=True)) if len({*pair}) > 1)
    return wrong(
        f"{first} and {key} have the same categories in different orders (number {place + 1} is {names[place]!r} and "
        f"{others[place]!r}). mmdet numbers classes as each file lists them, or by id (Objects365V1Dataset, an evaluator's "
        "sort_categories=True), so labels would mean different classes",
        "Write the list of categories in the same order into all files; where one is read by id, in the order of ids",
    )


def _missing(view: DatasetView, prefix: str, names: list[str]) -> Iterator[Finding]:
    """Yield a finding for files that are not in one of the dataset's folders: `img` or `seg`."""
    folder, key = Path(view.root, view.prefixes.get(prefix) or ""), f"{view.key}.data_prefix.{prefix}"
    present = set(files_below(str(folder)))
    lost = [name for name in names if name not in present and not os.path.exists(os.path.join(folder, name))]
    if lost:
        alike = next((name for name in present if _letters(name) == _letters(lost[0])), None)
        hint = f" The folder has {alike!a}: other capitals or another Unicode form than {lost[0]!a}." if alike else ""
        yield wrong(
            f"{view.label} names {len(lost)} images (of {len(names)}) that are not in {folder} ({key}): "
            f"{first_few(lost)}.{hint} Complete the folder, or take them out of the annotations",
        )


def _letters(name: str) -> str:
    return normalize("NFC", name).casefold()


def files_below(folder: str) -> Iterator[str]:
    """Yield the files below a folder as relative paths with slashes."""
    for parent, _, names in os.walk(folder, followlinks=True):
        inner = os.path.relpath(parent, folder).replace(os.sep, "/")
        yield from names if inner == "." else (f"{inner}/{name}" for name in names)
