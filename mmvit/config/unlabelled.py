"""Tests on images without labels: they compute no metrics and write the files of a submission."""

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config

from ..errors import InputError
from .datasets import LOADERS, datasets_of, name_of
from .parts import class_of, parts_of


def without_labels(cfg: Config, out: Path) -> None:
    """Change a config in place so that its test reads only images and writes results.

    `out` is the folder of label maps for segmentation, and the prefix of the names of the JSON files for detection; of several
    evaluators, each has its own after it.

    Raises:
        InputError: an evaluator cannot do without labels.
    """
    for view in datasets_of(cfg, ("test",)):
        view.config.pipeline = without_annotations(view.config.pipeline)
        (view.config.get("data_prefix") or {}).pop("seg_map_path", None)
    where = dict(output_dir=str(out)) if cfg.get("default_scope") == "mmseg" else dict(outfile_prefix=str(out))
    evaluators = evaluators_of(cfg)
    several = len(evaluators) > 1 and "outfile_prefix" in where  # which would write the same files
    names = cfg.test_evaluator.get("dataset_prefixes") if isinstance(cfg.test_evaluator, Mapping) else None
    for index, (key, evaluator) in enumerate(evaluators):
        if not takes(evaluator, "format_only", cfg.get("default_scope")):
            raise InputError(
                f"--no-labels: {key} is {name_of(evaluator.get('type'))}, which cannot write results without measuring them. "
                "Expected an evaluator with the option format_only, such as CocoMetric or IoUMetric: --cfg-options "
                f"{key}.type=CocoMetric"
            )
        name = names[index] if names and index < len(names) else index
        evaluator.update(format_only=True, **(dict(outfile_prefix=f"{out}_{name}") if several else where))


def with_label_maps(cfg: Config, out: Path) -> None:
    """Change a config in place so that its test writes label maps to a folder, besides measuring them.

    Raises:
        InputError: no evaluator writes them.
    """
    writing = [part for _, part in evaluators_of(cfg) if takes(part, "output_dir", cfg.get("default_scope"))]
    if not writing:
        raise InputError(f"--out {out}: no test_evaluator writes label maps; expected one with output_dir, such as IoUMetric")
    writing[0].output_dir = str(out)


def evaluators_of(cfg: Config) -> list[tuple[str, Any]]:
    """Return the metrics of `test_evaluator` with their keys; it may be one, a list, or an evaluator that has them."""
    given = cfg.test_evaluator
    if isinstance(given, Mapping) and given.get("metrics"):
        return parts_of(given, "metrics", "test_evaluator")
    return parts_of(cfg, "test_evaluator", "")


def takes(evaluator: Mapping[str, Any], option: str, scope: str | None) -> bool:
    """Return whether a metric has an option; of an unknown one, whose name the run refuses, True."""
    from mmengine.registry import METRICS  # torch, which --help does without

    kind = class_of(evaluator, METRICS, scope)
    makers = [base.__init__ for base in getattr(kind, "__mro__", ()) if "__init__" in vars(base)]
    return kind is None or any(option in inspect.signature(maker).parameters for maker in makers)


def without_annotations(steps: Any) -> Any:
    """Return a pipeline without the steps that read annotations, and without views that consist of nothing else."""
    if isinstance(steps, Mapping):
        return {key: without_annotations(value) if key == "transforms" else value for key, value in steps.items()}
    if not isinstance(steps, list | tuple):
        return steps
    kept = [step for step in steps if not (isinstance(step, Mapping) and name_of(step.get("type")) in LOADERS)]
    return [inner for step in kept if (inner := without_annotations(step)) != []]
