"""Tests on images without labels: they compute no metrics and write the files of a submission."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config

from .datasets import LOADERS, datasets_of, name_of
from .parts import listed


def without_labels(cfg: Config, out: Path) -> None:
    """Change a config in place so that its test reads only images and writes results.

    `out` is the folder of label maps for segmentation, and the prefix of the names of the JSON files for detection.
    """
    for view in datasets_of(cfg, ("test",)):
        view.config.pipeline = without_annotations(view.config.pipeline)
        (view.config.get("data_prefix") or {}).pop("seg_map_path", None)
    where = dict(output_dir=str(out)) if cfg.get("default_scope") == "mmseg" else dict(outfile_prefix=str(out))
    for evaluator in listed(cfg.test_evaluator):
        evaluator.update(format_only=True, **where)


def without_annotations(steps: Any) -> Any:
    """Return a pipeline without the steps that read annotations, and without views that consist of nothing else."""
    if isinstance(steps, Mapping):
        return {key: without_annotations(value) if key == "transforms" else value for key, value in steps.items()}
    if not isinstance(steps, list | tuple):
        return steps
    kept = [step for step in steps if not (isinstance(step, Mapping) and name_of(step.get("type")) in LOADERS)]
    return [inner for step in kept if (inner := without_annotations(step)) != []]
