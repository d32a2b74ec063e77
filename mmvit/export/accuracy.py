"""Accuracy of an exported file and of its model, on the validation images of the config if they are available.

Boxes and masks are counted by pycocotools (AP and AP50 on COCO's scale), label maps as the mean intersection over union of all
classes.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from contextlib import redirect_stdout
from functools import partial
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import DATASETS, TRANSFORMS, DefaultScope

from ..config.datasets import LOADERS, datasets_of, name_of
from ..errors import InputError
from ..predict.results import Detections, LabelMap, Result
from ..predict.runner import Runner
from ..predict.sessions import Session
from .models import Exportable

MOST = 200  # images in a comparison

Predict = Callable[[Sequence[str]], Iterable[Result]]


def loss(exportable: Exportable, file: Path) -> str:
    """Return a sentence about the accuracy that a file of less precision loses on validation images, or why it is not known."""
    if exportable.config is None:
        return "the loss of accuracy of a backbone alone is not known"
    model = Session(eager(exportable.program), dict(exportable.metadata, size=None, batch=1))
    try:
        data = validation(exportable.config)
        before, after = (measure(partial(map, Runner(one, 0.0, "cpu")), data, MOST) for one in (model, file))
    except (InputError, OSError) as error:
        lacking = f"no file {error.filename or 'is named'}" if isinstance(error, OSError) else error
        return f"its loss of accuracy is not known, because there are no validation data: {lacking}"
    words = ", ".join(f"{name} {before[name]:.4f} -> {after[name]:.4f} ({after[name] - before[name]:+.4f})" for name in before)
    return f"{words} on {min(MOST, len(data))} validation images"


def eager(program: Any) -> Callable[[dict[str, np.ndarray]], list[np.ndarray]]:
    """Return a program as a function from inputs by name to a list of outputs, like an opened file."""

    def run(feed: dict[str, np.ndarray]) -> list[np.ndarray]:
        with torch.no_grad():
            found = program(*(torch.from_numpy(feed[name]) for name in program.inputs))
        return [tensor.numpy() for tensor in (found if isinstance(found, tuple) else (found,))]

    return run


def validation(config: Config) -> Any:
    """Return the dataset of a config's test, without its pipeline.

    Raises:
        InputError: there is none, or it is neither COCO's nor mmseg's.
        OSError: its files are missing.
    """
    view = next(datasets_of(config, ("test",)), None)
    if view is None:
        raise InputError("the config has no test dataset")
    settings = view.config.to_dict()
    steps = settings.pop("pipeline", [])
    with DefaultScope.overwrite_default_scope(config.default_scope):
        data = DATASETS.build(dict(settings, pipeline=[], test_mode=True, lazy_init=False))
        loads = [step for step in steps if name_of(step["type"]) in LOADERS]
        data.annotation = TRANSFORMS.build(loads[0] if loads else dict(type="LoadAnnotations"))
    if not hasattr(data, "cat_ids") and not hasattr(data, "reduce_zero_label"):
        raise InputError(f"{type(data).__name__} is neither COCO's nor mmseg's")
    if not len(data) or not Path(data.get_data_info(0)["img_path"]).is_file():
        raise InputError(f"no images of {type(data).__name__} in {data.data_root or data.data_prefix}")
    return data


def measure(predict: Predict, data: Any, most: int | None = None) -> dict[str, float]:
    """Return metrics of a predictor, by name, on the first `most` images of a dataset from `validation`."""
    records = [data.get_data_info(index) for index in range(len(data))[:most]]
    results = predict([record["img_path"] for record in records])
    if hasattr(data, "cat_ids"):
        return average_precision(results, data, records)
    return mean_iou(results, data, records)


def average_precision(results: Iterable[Result], data: Any, records: list[dict[str, Any]]) -> dict[str, float]:
    """Return AP and AP50 of boxes, and of masks if there are any."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    with redirect_stdout(StringIO()):
        truth = COCO(data.ann_file)
        truth.dataset.setdefault("info", {})  # pycocotools copies it
        entries: list[dict[str, Any]] = []
        kinds = ["bbox"]
        for record, result in zip(records, results, strict=True):
            assert isinstance(result, Detections)
            kinds = ["bbox", "segm"] if result.masks is not None else ["bbox"]
            entries += [coded(entry) for entry in result.to_coco(record["img_id"], data.cat_ids)]
        found = {f"{kind} {name}": 0.0 for kind in kinds for name in ("AP", "AP50")}
        if not entries:
            return found
        for kind in kinds:
            evaluation = COCOeval(truth, truth.loadRes(json.loads(json.dumps(entries))), kind)
            evaluation.params.imgIds = [record["img_id"] for record in records]
            evaluation.params.catIds = data.cat_ids
            evaluation.evaluate()
            evaluation.accumulate()
            evaluation.summarize()
            found |= {f"{kind} AP": float(evaluation.stats[0]), f"{kind} AP50": float(evaluation.stats[1])}
    return found


def coded(entry: dict[str, Any]) -> dict[str, Any]:
    """Return a result entry with compressed run lengths instead of uncompressed ones."""
    from pycocotools import mask as masks

    if "segmentation" not in entry:
        return entry
    packed = masks.frPyObjects(entry["segmentation"], *entry["segmentation"]["size"])
    return dict(entry, segmentation=dict(packed, counts=packed["counts"].decode()))


def mean_iou(results: Iterable[Result], data: Any, records: list[dict[str, Any]]) -> dict[str, float]:
    """Return the mean over classes of intersection over union."""
    classes = len(data.metainfo["classes"])
    table = np.zeros((classes, classes), np.int64)
    for record, result in zip(records, results, strict=True):
        assert isinstance(result, LabelMap)
        truth = data.annotation(dict(record))["gt_seg_map"].astype(np.int64)
        inside = (truth >= 0) & (truth < classes)
        table += np.bincount(truth[inside] * classes + result.labels[inside], minlength=classes**2).reshape(classes, classes)
    union = table.sum(axis=0) + table.sum(axis=1) - table.diagonal()
    return dict(mIoU=float((table.diagonal()[union > 0] / union[union > 0]).mean()))
