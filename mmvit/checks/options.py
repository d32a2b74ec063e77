"""Check of the options that a config gives to classes, before anything is built.

Only classes whose constructors name all of their options are checked: a `**kwargs` may take anything.
"""

import inspect
from collections.abc import Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmengine.registry import (
    DATA_SAMPLERS,
    DATASETS,
    HOOKS,
    LOOPS,
    METRICS,
    MODELS,
    OPTIM_WRAPPERS,
    OPTIMIZERS,
    PARAM_SCHEDULERS,
    TRANSFORMS,
    Registry,
)
from torch.utils.data import DataLoader

from ..arguments import name_of
from ..config.datasets import SPLITS, DatasetView, datasets_of, loaders_of, wrapped_datasets
from ..config.parts import class_of, is_ours, parts_of
from ..errors import nearest
from .findings import Finding, wrong
from .plan import Plan

MARKS = ("type", "_scope_", "_delete_", "priority")  # mmengine removes these before it builds
TAKEN_OUT = ("bg_cls_weight",)  # DETR's head removes it from its loss
CLOSED = ("mmengine.hooks.checkpoint_hook",)  # modules of classes whose `**kwargs` take no other names
PASSED_ON = ("mmengine.runner", "mmengine.optim.scheduler", "mmvit.engine.loops", "mmvit.engine.checkpoints")
DATA = ("mmdet.datasets", "mmseg.datasets")
# Options of datasets, their types, and what messages say of these.
TYPES: dict[str, tuple[Any, str]] = {
    "ann_file": ((str, Path), "one file. For several write a ConcatDataset with a dataset for each"),
    "data_root": ((str, Path), "a folder"),
    "data_prefix": (Mapping, "a dict of folders, such as dict(img='train/') or dict(img_path=..., seg_map_path=...)"),
    "metainfo": (Mapping, "a dict, such as dict(classes=(...))"),
}
# Options that are tuples of names: in a string each letter would count as a name, and every class name inside it. Only
# mmseg's LovaszLoss takes a word for one: "present" or "all".
TUPLES = ("classes", "thing_classes", "stuff_classes", "meta_keys", "iou_metrics")


def check_options(plan: Plan) -> Iterator[Finding]:
    """Report options that a class does not take, and strings that should be tuples."""
    cfg = plan.config
    models = (part for key, model in plan.models for part in _built_of_model(model, key))
    for key, part, registry in chain(_built_of_run(cfg), _built_of_data(cfg), models):
        yield from _unknown(key, part, registry)
    for view in datasets_of(cfg, SPLITS):
        yield from _types(view)
    for key, part, wraps in wrapped_datasets(cfg, SPLITS):
        yield from _wrapper(key, part) if wraps else ()
    yield from _loaders(cfg)
    yield from _strings(dict(cfg.items()))
    yield from _pretrained(cfg.get("model"))


Built = Iterator[tuple[str, Mapping[str, Any], Registry]]  # key of a part, the part, and the registry of its type


def _built_of_run(cfg: Config) -> Built:
    for split in SPLITS:
        if isinstance(part := cfg.get(f"{split}_cfg"), Mapping) and part:
            yield f"{split}_cfg", _with_loop_type(part, split), LOOPS
    hooks = cfg.get("default_hooks") or {}
    for key, hook in parts_of(hooks, hooks, "default_hooks") + parts_of(cfg, "custom_hooks", ""):
        yield key, hook, HOOKS
    yield from ((key, part, PARAM_SCHEDULERS) for key, part in parts_of(cfg, "param_scheduler", ""))
    if isinstance(wrapper := cfg.get("optim_wrapper"), Mapping) and isinstance(wrapper.get("optimizer"), Mapping):
        yield "optim_wrapper.optimizer", wrapper["optimizer"], OPTIMIZERS
        if "constructor" not in wrapper or isinstance(wrapper.get("type"), str):
            inner = {name: value for name, value in wrapper.items() if name not in ("constructor", "paramwise_cfg")}
            yield "optim_wrapper", {"type": "OptimWrapper", **inner}, OPTIM_WRAPPERS


def _built_of_data(cfg: Config) -> Built:
    for split in SPLITS:
        yield from ((key, part, METRICS) for key, part in parts_of(cfg, f"{split}_evaluator", ""))
        loader = cfg.get(f"{split}_dataloader") or {}
        yield from ((key, part, DATA_SAMPLERS) for key, part in parts_of(loader, "sampler", f"{split}_dataloader"))
    for key, dataset, _ in wrapped_datasets(cfg, SPLITS):
        yield key, dataset, DATASETS
        yield from ((step_key, step, TRANSFORMS) for step_key, step in parts_of(dataset, "pipeline", key))


def _built_of_model(model: Mapping[str, Any], at: str) -> Built:
    yield at, model, MODELS
    names = [name for name in model if name in ("backbone", "neck", "data_preprocessor") or name.endswith("_head")]
    for key, part in parts_of(model, names, at):
        losses = [name for name in part if str(name).startswith("loss_")]
        yield from ((place, entry, MODELS) for place, entry in [(key, part), *parts_of(part, losses, key)])


def _with_loop_type(part: Mapping[str, Any], split: str) -> Mapping[str, Any]:
    if "type" in part:
        return part
    if split == "train":
        rest = {name: value for name, value in part.items() if name != "by_epoch"}
        return {"type": "EpochBasedTrainLoop" if part.get("by_epoch", True) else "IterBasedTrainLoop", **rest}
    return {"type": f"{split.capitalize()}Loop", **part}


def _unknown(key: str, part: Mapping[str, Any], registry: Registry) -> Iterator[Finding]:
    kind = class_of(part, registry)
    if kind is None or (taken := options_of(kind)) is None:
        return
    extra = ("convert_to_iter_based",) if registry is PARAM_SCHEDULERS else ()
    for name in part:
        if name not in (*MARKS, *TAKEN_OUT) and name not in taken and name not in extra:
            yield wrong(f"{key}.{name}: {kind.__name__} takes no such option; {nearest(str(name), taken)}")


def options_of(kind: type) -> list[str] | None:
    """Return the names of the options of a class; None if its constructor does not name them all.

    The constructors in `PASSED_ON`, and of datasets in `DATA`, pass other options to the next class.
    """
    names: list[str] = []
    for base in kind.__mro__:
        if "__init__" not in vars(base) or base is object:
            continue
        parameters = inspect.signature(vars(base)["__init__"]).parameters.values()
        names += [entry.name for entry in parameters if entry.kind in (entry.POSITIONAL_OR_KEYWORD, entry.KEYWORD_ONLY)]
        if base.__module__ in CLOSED or not any(entry.kind is entry.VAR_KEYWORD for entry in parameters):
            return [name for name in dict.fromkeys(names) if name != "self"]
        if not (base.__module__.startswith(PASSED_ON) or (base.__module__.startswith(DATA) and issubclass(base, BaseDataset))):
            return None
    return None


def _types(view: DatasetView) -> Iterator[Finding]:
    """Yield a finding for each option of a dataset of another type, and for names of classes that are no longer read."""
    kind = class_of(view.config, DATASETS, view.scope)
    if kind is None or not issubclass(kind, BaseDataset):
        return
    for name, (expected, words) in TYPES.items():
        value = view.config.get(name)
        if value is not None and not isinstance(value, expected):
            yield wrong(f"{view.key}.{name} is {value!r}, expected {words}")
    given = view.config.get("metainfo")
    if isinstance(given, Mapping) and "CLASSES" in given and "classes" not in given:
        yield wrong(f"{view.key}.metainfo has CLASSES, which mmdet and mmseg no longer read", "Write classes=(...)")


def _wrapper(key: str, part: Mapping[str, Any]) -> Iterator[Finding]:
    """Yield a finding for each option that a dataset around others lacks, or that has a value of another type."""
    if (kind := class_of(part, DATASETS)) is None:
        return
    for entry in inspect.signature(kind).parameters.values():
        if entry.kind is entry.POSITIONAL_OR_KEYWORD and entry.default is entry.empty and entry.name not in part:
            yield wrong(f"{key}: {kind.__name__} needs {entry.name}")
    times, share = part.get("times", 1), part.get("oversample_thr", 1)
    if kind.__name__ == "RepeatDataset" and not (isinstance(times, int) and times > 0):
        yield wrong(f"{key}.times is {times!r}, expected a whole number from 1")
    if kind.__name__ == "ClassBalancedDataset" and not isinstance(share, int | float):
        yield wrong(f"{key}.oversample_thr is {share!r}, expected a share of the images, such as 0.01")


def _loaders(cfg: Config) -> Iterator[Finding]:
    taken = [*inspect.signature(DataLoader).parameters, "num_batch_per_epoch"]
    for key, loader in loaders_of(cfg, SPLITS):
        for name in loader:
            if name not in taken:
                yield wrong(f"{key}.{name}: a data loader takes no such option; {nearest(str(name), taken)}")


def _pretrained(model: Any) -> Iterator[Finding]:
    backbone = model.get("backbone") if isinstance(model, Mapping) else None
    if isinstance(backbone, Mapping) and is_ours(backbone) and model.get("pretrained") is not None:
        yield wrong(
            f"model.pretrained is {model['pretrained']!r}, which mmseg hands to the backbone; ours load weights with "
            "init_cfg=dict(type='Pretrained', checkpoint=...)",
            "Write model=dict(pretrained=None, ...)",
        )


def _strings(part: Any, key: str = "") -> Iterator[Finding]:
    """Yield a finding for each string that should be a tuple, such as `("cat")`, which lacks a comma."""
    entries = part.items() if isinstance(part, Mapping) else enumerate(part) if isinstance(part, list | tuple) else ()
    if isinstance(part, Mapping) and name_of(part.get("type")) == "LovaszLoss":
        return
    for name, value in entries:
        inner = f"{key}.{name}" if key else str(name)
        if name in TUPLES and isinstance(value, str) and not Path(value).suffix and not Path(value).is_file():
            sentence = f"{inner} is the string {value!r}, where a tuple is meant"
            yield wrong(sentence, f"Write {name}=({value!r},) with a comma")
        else:
            yield from _strings(value, inner)
