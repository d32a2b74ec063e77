"""Tests on images without labels: they compute no metrics and write the files of a submission."""

from collections.abc import Mapping
from copy import copy
from pathlib import Path
from typing import Any, Literal

from mmengine.config import Config

from ..arguments import name_of
from ..errors import InputError
from .datasets import LOADERS, datasets_of
from .parts import class_of, evaluators_of, takes


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
    evaluators = evaluators_of(cfg, "test")
    several = len(evaluators) > 1 and "outfile_prefix" in where  # which would write the same files
    names = cfg.test_evaluator.get("dataset_prefixes") if isinstance(cfg.test_evaluator, Mapping) else None
    for index, (key, evaluator) in enumerate(evaluators):
        if _refuses(evaluator, "format_only", cfg.get("default_scope")):
            kind = name_of(evaluator.get("type"))
            raise InputError(
                f"--no-labels: {key} is {kind}, which cannot write results without measuring them. {_remedy(cfg, key)}"
            )
        name = names[index] if names and index < len(names) else index
        evaluator.update(format_only=True, **(dict(outfile_prefix=f"{out}_{name}") if several else where))
        _keep_results(evaluator, cfg.get("default_scope"))


def _remedy(cfg: Config, key: str) -> str:
    others = [view for view in datasets_of(cfg, ("test",)) if not view.is_coco and cfg.get("default_scope") == "mmdet"]
    if not others:
        return (
            "Expected an evaluator with the option format_only, such as CocoMetric or IoUMetric: --cfg-options "
            f"{key}.type=CocoMetric"
        )
    return (
        f"{others[0].key} is {others[0].type_name}, which reads labels even so. Expected CocoDataset and CocoMetric with a "
        "file in COCO's format that lists the images; without one: mmvit predict CONFIG CHECKPOINT IMAGES"
    )


def with_label_maps(cfg: Config, out: Path) -> None:
    """Change a config in place so that its test writes label maps to a folder, besides measuring them.

    Raises:
        InputError: no evaluator writes them.
    """
    writing = [part for _, part in evaluators_of(cfg, "test") if not _refuses(part, "output_dir", cfg.get("default_scope"))]
    if not writing:
        raise InputError(f"--out {out}: no test_evaluator writes label maps; expected one with output_dir, such as IoUMetric")
    writing[0].update(output_dir=str(out))
    _keep_results(writing[0], cfg.get("default_scope"))


def require_names(dataset: Any, option: str, part: Literal["name", "stem"] = "name") -> None:
    """Check that no two images of a test have the same file name, or stem, by which mmdet and mmseg name what they write.

    Raises:
        InputError: two have; the message names both.
    """
    paths: dict[str, str] = {}
    for index in range(len(dataset) if hasattr(dataset, "get_data_info") else 0):
        path = dataset.get_data_info(index).get("img_path")
        if path is not None and (first := paths.setdefault(getattr(Path(path), part), str(path))) != str(path):
            raise InputError(
                f"{option}: {first} and {path} have the same name, and the file of one would replace that of the other. Test "
                "one folder at a time, or use mmvit predict, which gives each a name of its own"
            )


def _refuses(evaluator: Mapping[str, Any], option: str, scope: str | None) -> bool:
    """Return whether a metric is known to lack an option; the run names an unknown one."""
    kind = _kind(evaluator, scope)
    return kind is not None and not takes(kind, option)


def _keep_results(evaluator: Any, scope: str | None) -> None:
    """Set `keep_results`: without it, mmseg's CityscapesMetric removes its folder with all that is in it, at the end."""
    if takes(_kind(evaluator, scope), "keep_results"):
        evaluator.update(keep_results=True)


def _kind(evaluator: Mapping[str, Any], scope: str | None) -> type | None:
    from mmengine.registry import METRICS  # torch, which --help does without

    return class_of(evaluator, METRICS, scope)


def without_annotations(steps: Any) -> Any:
    """Return a pipeline without the steps that read annotations, and without views that consist of nothing else."""
    if isinstance(steps, Mapping):
        kept: Any = copy(steps)  # the types of pure-Python configs stay names, which can be written out
        if "transforms" in kept:
            kept["transforms"] = without_annotations(kept["transforms"])
        return kept
    if not isinstance(steps, list | tuple):
        return steps
    images = [step for step in steps if not (isinstance(step, Mapping) and name_of(step.get("type")) in LOADERS)]
    return [inner for step in images if (inner := without_annotations(step)) != []]
