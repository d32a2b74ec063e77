"""Checks that an evaluation measures what its dataset predicts, and gives a figure."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ..arguments import listed, name_of
from ..config.datasets import DatasetView
from ..config.parts import entry_of, mappings, parts_of
from ..config.schedules import processes_of
from ..errors import InputError, counted, first_few, nearest
from .best import COCO_METRICS, IOU, SAVING
from .findings import Finding, doubtful, wrong
from .plan import SEPARATE, Plan
from .survey import Survey

GIVEN = "For this, PackDetInputs needs meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor', 'instances')"
COUNTED = 100  # detections of an image that pycocotools counts for AP


def check_evaluators(plan: Plan) -> Iterator[Finding]:
    """Report annotation files of `CocoMetric`, which pycocotools reads in its own way, that do not fit the datasets'."""
    for key, evaluator, views in plan.coco_evaluators():
        file = Path(evaluator["ann_file"])
        label = f"{file} ({key}.ann_file)"
        if not file.is_file():
            yield wrong(f"{label}: no such file. Expected the annotations of the dataset that it measures")
            continue
        surveys = [(view, found) for view in views if (found := plan.surveyed(view)) is not None]
        if not views or len(surveys) < len(views):
            continue  # the check of annotations has reported the dataset's file
        try:
            found = plan.survey(views[0], evaluator, label)
        except InputError as error:
            yield wrong(str(error))
            continue
        if len(views) > 1:
            yield from _several(key, surveys)
        elif file.resolve() != views[0].ann_file.resolve():
            yield from _other_file(label, found, *surveys[0])
        if len(views) == 1:
            yield from _some_images(plan, key, label, found, *surveys[0])
        yield from _uncounted(label, found)


def _some_images(plan: Plan, key: str, label: str, found: Survey, view: DatasetView, predicted: Survey) -> Iterator[Finding]:
    """Yield a finding for an evaluation of the first images, or of some, by a file that has all."""
    loader = view.key.partition(".")[0]
    batches = entry_of(plan.config, f"{loader}.num_batch_per_epoch")
    option = f"{view.key}.indices" if view.config.get("indices") is not None else f"{loader}.num_batch_per_epoch"
    size = (entry_of(plan.config, f"{loader}.batch_size") or 1) * processes_of(plan.config)
    images = set(predicted.ids[: batches * size] if batches else predicted.ids)
    missed = [number for number in found.ids if number not in images]
    if missed and (batches or view.config.get("indices") is not None):
        sentence = f"{label}: {option} leaves out {len(missed)} of its {len(found.ids)} images, whose objects count as missed"
        remedy = f"Measure all, or set {key}.ann_file=None, for the objects of the images that are read. {GIVEN}"
        yield doubtful(sentence, remedy)


def _uncounted(label: str, found: Survey) -> Iterator[Finding]:
    count, ids = found.without_crowd
    if count:
        sentence = f"{label}: {count} annotations have no iscrowd (ids {first_few(ids, total=count)}), which evaluation needs"
        yield wrong(f"{sentence} and training does not", 'Write "iscrowd": 0 into each')
    for name in found.mixed:
        yield wrong(f"{label}: some ids of its {name} are numbers and some text, which evaluation cannot sort", "Write numbers")
    count, ids = found.uncounted
    if count:
        yield wrong(
            f"{label}: {count} annotations have an id of 0, or of text (ids {first_few(ids, total=count)}). pycocotools takes "
            "0 for 'not found', so that these objects count as missed even if they are found",
            "Number the annotations from 1",
        )


def _several(key: str, surveys: list[tuple[DatasetView, Survey]]) -> Iterator[Finding]:
    """Yield a finding for one evaluator of several datasets: pycocotools knows an image by its id alone."""
    (first, ours), *others = surveys
    remedy = (
        f"Measure each by itself: {key.partition('.')[0]}=dict(type='{SEPARATE}', metrics=[dict(type='CocoMetric', "
        f"ann_file=...), ...], dataset_prefixes=[...]) with one metric and one name for each dataset of the ConcatDataset"
    )
    for view, theirs in others:
        if view.ann_file.resolve() == first.ann_file.resolve():
            continue
        if shared := sorted({*map(str, ours.ids)} & {*map(str, theirs.ids)}):
            sentence = f"{first.label} and {view.label} share {len(shared)} ids of images ({first_few(shared)})"
            yield wrong(f"{sentence}: {key} would compare the predictions for one with the objects of the other", remedy)
        else:
            sentence = f"{key}.ann_file has the objects of one file, the predictions are for {first.label} and {view.label}"
            yield wrong(f"{sentence}: pycocotools stops at the images that it does not know", remedy)


def _other_file(label: str, found: Survey, view: DatasetView, predicted: Survey) -> Iterator[Finding]:
    """Compare an evaluator's file with the dataset's: by its ids, which is how pycocotools finds an image's objects."""
    known, ids = dict(zip(found.ids, found.names, strict=True)), dict(zip(predicted.names, predicted.ids, strict=True))
    other = dict(zip(found.names, found.ids, strict=True))
    moved = [name for name, number in ids.items() if name in other and other[name] != number]
    unknown = [f"{name} ({number!r})" for name, number in ids.items() if number not in known]
    if moved:
        name = moved[0]
        yield wrong(
            f"{label}: {len(moved)} of its images have other ids than in {view.label}: {name} is {other[name]!r} and "
            f"{ids[name]!r}. Predictions would be compared with the objects of other images, or of none",
            "Name the dataset's file in both",
        )
    elif unknown:
        yield wrong(
            f"{label}: it lacks {len(unknown)} of the {len(ids)} images of {view.label} ({first_few(unknown)}), at which "
            "pycocotools stops",
            "Name the dataset's file in both",
        )
    elif strangers := [name for name, number in ids.items() if Path(known[number]).name != Path(name).name]:
        number = ids[strangers[0]]
        yield wrong(
            f"{label}: {len(strangers)} of its images have the ids of others in {view.label}: {number!r} is {known[number]} "
            f"and {strangers[0]}. Predictions would be compared with the objects of other images",
            "Name the dataset's file in both",
        )
    else:
        lacking = [name for name in found.names if name not in ids]
        share = f"{len(lacking)} of its {len(found.names)} images ({first_few(lacking)})"
        missed = f", which lacks {share}: all their objects count as missed" if lacking else ""
        sentence = f"{label}: another file than {view.label}{missed}"
        yield doubtful(sentence, "Name the same file in both, unless this is intended")


def check_figures(plan: Plan) -> Iterator[Finding]:
    """Report validations whose figure says little: without objects, or with images that have more than are counted."""
    limits = dict(limits_of(plan))
    for view in plan.coco:
        if view.for_training or not view.reads_boxes or (found := plan.surveyed(view)) is None:
            continue
        if not view.loads_annotations or not found.annotations:
            if view.split == "val":
                yield from _nothing(plan, view, "no object to find")
            continue
        if not found.targets:
            yield from _nothing(plan, view, f"{found.annotations} annotations, of which none is an object to find")
        count, name = found.crowded
        for key, limit in limits.items():
            if count > limit:
                yield doubtful(
                    f"{view.label}: {name} has {count} objects, {key} keeps {limit} detections of an image",
                    f"Set {key} to {count} or more, where all of them count",
                )
        if count > COUNTED:
            sentence = f"{view.label}: {name} has {count} objects, and AP counts the {COUNTED} best detections of an image"
            yield doubtful(f"{sentence}: finding all of them does not give 1")


def _nothing(plan: Plan, view: DatasetView, what: str) -> Iterator[Finding]:
    ranks = entry_of(plan.config, f"{SAVING}.save_best")
    best = f"the best checkpoint (save_best={ranks!r}) would be the first" if ranks and view.split == "val" else ""
    sentence = f"{view.label}: {what}: every figure is -1 or nan" + (f", and {best}" if best else "")
    yield (wrong if best else doubtful)(sentence, "Give it images with objects, or validate on other data")


def limits_of(plan: Plan) -> Iterator[tuple[str, int]]:
    """Yield the keys and values of the largest number of detections of an image, of one-stage and of two-stage detectors."""
    for key, model in plan.models:
        whole = parts_of(model, "test_cfg", key)
        second = [entry for at, part in whole for entry in parts_of(part, "rcnn", at)]
        for part_key, part in (*whole, *second):
            if isinstance(limit := part.get("max_per_img"), int) and limit > 0:
                yield f"{part_key}.max_per_img", limit


def check_metrics(plan: Plan) -> Iterator[Finding]:
    """Report metrics that the model cannot give, or that no evaluator gives."""
    parts = {name for _, model in plan.models for part in mappings(model) for name in part}
    masks = parts & {"mask_head", "panoptic_head", "loss_mask"}  # the last stands in heads of both, such as RTMDet's
    for split in plan.splits:
        for key, evaluator, views in plan.evaluators(split):
            kind, wanted = name_of(evaluator.get("type")), listed(evaluator.get("metric"))
            for name in wanted if kind in ("CocoMetric", "LVISMetric") else ():
                if name not in COCO_METRICS:
                    yield wrong(f"{key}.metric has {name!r}; {nearest(str(name), COCO_METRICS)}")
            if kind == "CocoMetric" and "segm" in wanted and parts & {"bbox_head", "roi_head"} and not masks:
                yield wrong(
                    f"{key}.metric has 'segm', and the model has no head of masks", "Leave it out, or take such a model"
                )
            if kind == "CocoMetric" and not evaluator.get("format_only"):
                yield from _unmeasured(key, evaluator, views)
            if kind == "IoUMetric":
                from mmseg.datasets import BaseSegDataset

                plain = [view for view in views if view.kind.__init__ is BaseSegDataset.__init__]  # others may name them
                for view in (view for view in plain if not view.classes()):
                    sentence = f"{view.key} ({view.type_name}) names no classes, which {key} counts by"
                    yield wrong(sentence, f"Set {view.key}.metainfo=dict(classes=(...))")
                for name in evaluator.get("iou_metrics") or ():
                    if name not in IOU:
                        yield wrong(f"{key}.iou_metrics has {name!r}; {nearest(str(name), IOU)}")


def _unmeasured(key: str, evaluator: Mapping[str, Any], views: list[DatasetView]) -> Iterator[Finding]:
    """Yield findings for options of `CocoMetric` at which the first evaluation stops."""
    steps = [step for view in views for step in view.steps() if name_of(step.get("type")) == "PackDetInputs"]
    if not evaluator.get("ann_file") and any("instances" not in step.get("meta_keys", ()) for step in steps):
        yield wrong(f"{key} has no ann_file, and {views[0].key}.pipeline packs no objects to compare with", GIVEN)
    wanted = {*(listed(evaluator.get("metric")) or ["bbox"])} - {"proposal_fast"}  # which mmdet measures itself
    counts = evaluator.get("proposal_nums")
    if wanted and evaluator.get("iou_thrs") is not None:
        sentence = (
            f"{key}.iou_thrs is {evaluator['iou_thrs']}, with which pycocotools cannot sum up: it looks for 0.5 in an array"
        )
        yield wrong(sentence, "Leave it out, for 0.5 to 0.95; of these, mAP_50 and mAP_75 are given by themselves")
    reads = wanted if not evaluator.get("use_mp_eval") else wanted & {"proposal"}
    if reads and isinstance(counts, list | tuple) and len(counts) < 3:
        yield wrong(
            f"{key}.proposal_nums has {counted(len(counts), 'number')}, and pycocotools reads three", "Write (100, 300, 1000)"
        )
