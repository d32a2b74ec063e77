"""Replacement of the stock steps that read files by ours, whose errors name the file.

Inferencers and tools of mmdet and mmseg find the steps that read files by the names `LoadImageFromFile` and `LoadAnnotations`,
in our configs, in those that a run writes, and in those inside checkpoints. The configs therefore keep these names, and a hook
replaces the steps in the built datasets.
"""

from collections.abc import Iterator
from typing import Any

from mmcv.transforms import LoadImageFromFile
from mmengine.hooks import Hook
from mmengine.runner import Runner

from ..registry import HOOKS
from .images import LoadImage
from .label_maps import LoadLabelMap

NESTS = ("pipeline", "transforms", "subroutines", "dataset", "datasets")  # attributes that hold steps or datasets


@HOOKS.register_module()
class NameFilesHook(Hook):
    """Hook that replaces the stock reading steps of all datasets by ours; subclasses of the stock steps stay."""

    def before_run(self, runner: Runner) -> None:
        for name in ("_train_loop", "_val_loop", "_test_loop"):
            loader = getattr(getattr(runner, name, None), "dataloader", None)
            if loader is not None:
                name_files(loader.dataset)


def name_files(part: Any) -> None:
    """Replace the reading steps in a dataset, a pipeline or a step in place, at any depth."""
    for steps in _lists(part):
        for index, step in enumerate(steps):
            steps[index] = ours(step)
            name_files(steps[index])


def ours(step: Any) -> Any:
    """Return our counterpart of a stock step that reads a file, with the same options; any other step itself."""
    if type(step) is LoadImageFromFile:
        image = LoadImage()
        image.__dict__.update(step.__dict__)
        return image
    kind = type(step)
    labels = kind.__name__ == "LoadAnnotations" and kind.__module__.startswith("mmseg.")
    if labels and getattr(step, "reduce_zero_label", None) is None:  # an option of old, that the dataset has taken over
        return LoadLabelMap(step.imdecode_backend, step.backend_args)
    return step


def _lists(part: Any) -> Iterator[list]:
    for name in NESTS:
        inner = getattr(part, "__dict__", {}).get(name)
        if isinstance(inner, list):
            yield inner
        elif inner is not None:
            yield from _lists(inner)
