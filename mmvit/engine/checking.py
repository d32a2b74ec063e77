"""Checks that need a run: the length of its epochs, its model, its metrics, the labels of its batches.

Labels without a class are found before they reach a GPU and fail there in a device-side assert.
"""

from collections.abc import Iterator, Mapping, Sequence
from math import isfinite
from typing import Any

import numpy as np
from mmengine.evaluator import Evaluator
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import Tensor, nn

from ..arguments import listed
from ..checks.findings import Finding, doubtful, wrong
from ..checks.settings import schedule_faults, vain_keys
from ..checks.table import require, warn
from ..config.datasets import first_meta
from ..errors import InputError, counted, nearest
from ..registry import HOOKS
from .checkpoints import best_hook
from .figures import number_of
from .models import unwrapped


@HOOKS.register_module()
class CheckSettingsHook(Hook):
    """Report settings that do not do what they say, as soon as the length of an epoch and the names of parameters are known."""

    def before_train(self, runner: Runner) -> None:
        """
        Raises:
            InputError: one is wrong.
        """
        before = set(schedule_faults(runner.cfg))  # reported before the run
        per_epoch = len(runner.train_loop.dataloader) if runner.cfg.train_cfg.get("max_epochs") else None
        names = (name for name, _ in unwrapped(runner.model).named_parameters())
        found = [*schedule_faults(runner.cfg, per_epoch), *vain_keys(runner.cfg, names)]
        require((finding for finding in found if finding not in before), "settings")

    def after_val_epoch(self, runner: Runner, metrics: Mapping[str, Any] | None = None) -> None:
        """Check the metric that selects the best checkpoint. Raise InputError if the evaluation does not give this metric."""
        saving = best_hook(runner)
        for name in listed(saving.save_best) if saving else ():
            require(best_faults(next(iter(metrics or ()), "") if name == "auto" else name, metrics or {}), "best")


def best_faults(name: str, metrics: Mapping[str, Any]) -> Iterator[Finding]:
    """Yield a finding if the metric of the best checkpoint is not there, or is no figure that ranks."""
    key = "default_hooks.checkpoint.save_best"
    if metrics and name not in metrics:
        yield wrong(f"{key} is {name!r}, and the evaluation gives no such metric; {nearest(name, metrics)}")
    elif metrics and (number := number_of(metrics[name])) is None and metrics[name] is not None:
        yield wrong(f"{key} is {name!r}, which is a {type(metrics[name]).__name__}; expected a metric that is one number")
    elif metrics and (number is None or not isfinite(number) or number == -1):
        sentence = f"{name} is {metrics[name]}, by which no checkpoint is the best ({key}): the validation data have no object"
        yield doubtful(sentence, "Validate on data with objects")


@HOOKS.register_module()
class CheckLabelsHook(Hook):
    """Hook that compares the labels of each batch with the classes; 0.2 ms for 512 x 512 pixels.

    In a training these are the model's, in a validation or test of a segmenter those of the data, which its figures count. It
    looks at the batch as the data loader returns it, on the CPU.
    """

    def __init__(self) -> None:
        self.pixels: int | None = None  # classes of a segmenter
        self.ignored: int = 255
        self.warned = False  # in a validation
        self.boxes: int | None = None  # classes of a detector

    def before_train(self, runner: Runner) -> None:
        model = unwrapped(runner.model)
        heads = list(_modules(model, "decode_head"))
        if heads:
            self.pixels, self.ignored = heads[-1].num_classes, getattr(heads[-1], "ignore_index", 255)  # one of depths has none
            if getattr(heads[-1], "out_channels", None) == 1:  # background and foreground, which mmseg also calls one class
                self.pixels = max(self.pixels, 2)
        else:
            self.boxes = min(_box_classes(model), default=None)

    before_val = before_test = before_train

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: dict | tuple | list | None = None) -> None:
        """Check a batch of samples in a list, as mmdet and mmseg make them; ignore others.

        Raises:
            InputError: a label that the model has no class for, or a detector's image without boxes.
        """
        for sample in _samples(data_batch):
            if self.pixels is not None and "gt_sem_seg" in sample:
                of_model = f"the model has {counted(self.pixels, 'class')} (model.decode_head.num_classes)"
                _check_pixels(sample, self.pixels, of_model, self.ignored)
            if self.boxes is not None and "gt_instances" in sample:
                if "labels" not in sample.gt_instances:
                    raise InputError(
                        f"image {sample.get('img_path')}: it has no boxes. Expected LoadAnnotations with with_bbox=True in "
                        "train_dataloader.dataset.pipeline, before PackDetInputs"
                    )
                if wrong := strangers(sample.gt_instances.labels, self.boxes):
                    raise InputError(
                        f"image {sample.get('img_path')}: boxes with labels {wrong}, but the model has {self.boxes} classes. "
                        f"Expected 0 to {self.boxes - 1}. Set num_classes of the model's heads to the number of the dataset's "
                        "classes (metainfo.classes)"
                    )

    def before_val_iter(self, runner: Runner, batch_idx: int, data_batch: dict | tuple | list | None = None) -> None:
        """Warn once of labels that the data have no class for; a training is not stopped for its figures."""
        try:
            self._check_measured(runner.val_loop.evaluator, data_batch)
        except InputError as error:
            if not self.warned:
                warn("label maps", str(error))
            self.warned = True

    def before_test_iter(self, runner: Runner, batch_idx: int, data_batch: dict | tuple | list | None = None) -> None:
        """Check a batch whose pixels will be measured: mmseg's metrics leave out those of no class, which raises the figures.

        Raises:
            InputError: a label that the data have no class for.
        """
        self._check_measured(runner.test_loop.evaluator, data_batch)

    def _check_measured(self, evaluator: Evaluator, batch: Any) -> None:
        classes = len(first_meta(evaluator.dataset_meta).get("classes") or ())
        if self.pixels is None or not classes:
            return
        ignored = {self.ignored, *(metric.ignore_index for metric in evaluator.metrics if hasattr(metric, "ignore_index"))}
        for sample in _samples(batch):
            if "gt_sem_seg" in sample:
                of_data = f"the data have {counted(classes, 'class')} (metainfo.classes), and a figure would leave them out"
                _check_pixels(sample, max(classes, 2), of_data, *sorted(ignored))  # one class: background and foreground


def _samples(batch: Any) -> Iterator[Any]:
    """Yield the samples of a batch, and those of its views in test-time augmentation."""
    found = batch.get("data_samples") if isinstance(batch, dict) else None
    for sample in found if isinstance(found, Sequence) else ():
        yield from sample if isinstance(sample, Sequence) else [sample]


def strangers(labels: Tensor, classes: int, *ignored: int) -> list[int]:
    """Return the distinct labels that are neither below the number of classes nor ignored."""
    if not labels.numel():
        return []
    least, most = (bound.item() for bound in labels.aminmax())
    if least >= 0 and most < classes:
        return []
    values = labels.numpy()
    if least >= 0 and most <= 255:
        values = values.astype(np.uint8)  # an eighth of the memory for what follows
    outside = (values < 0) | (values >= classes)
    for number in ignored:
        outside &= values != number
    return np.unique(values[outside]).tolist() if outside.any() else []


def _modules(model: nn.Module, *names: str) -> Iterator[Any]:
    """Yield parts of a model by their names, and the entries of parts that are lists."""
    for name in names:
        part = getattr(model, name, None)
        if isinstance(part, nn.ModuleList):
            yield from part
        elif part is not None:
            yield part


def _box_classes(model: nn.Module) -> Iterator[int]:
    """Yield the number of classes of each head that is trained with the boxes' labels."""
    heads = list(_modules(model, "bbox_head")) or list(_modules(model, "mask_head"))
    if (second := getattr(model, "roi_head", None)) is not None:
        heads += _modules(second, "bbox_head", "mask_head")
    for head in heads:
        if isinstance(classes := getattr(head, "num_classes", None), int) and not getattr(head, "class_agnostic", False):
            yield classes


def _check_pixels(sample: Any, classes: int, owner: str, *ignored: int) -> None:
    wrong = strangers(sample.gt_sem_seg.data, classes, *ignored)
    if not wrong:
        return
    if sample.get("reduce_zero_label"):
        shift, remedy = " (in the file each is one more: reduce_zero_label)", "Correct"
    else:
        remedy = "Where 0 is no class in the files and 1 is the first, set reduce_zero_label=True for the dataset; else correct"
        shift = ""
    raise InputError(
        f"label map {sample.get('seg_map_path')} of image {sample.get('img_path')}: labels {wrong}{shift}, but {owner}. "
        f"Expected 0 to {classes - 1}, or {' or '.join(map(str, ignored))} for what is ignored. "
        f"{remedy} the files, or the dataset's metainfo.classes and num_classes of all heads"
    )
