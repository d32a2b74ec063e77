"""Whether the parts of a config's model fit each other and the data: channels from backbone to heads, numbers of classes.

A user's config may have necks and heads that nobody here knows. A part whose `in_channels` look wrong is therefore tried out,
on the meta device, where that costs neither memory nor time: it is wrong if it fails, and does not with what would be right.
"""

import copy
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

import torch
from mmengine.config import Config
from mmengine.registry import DATASETS, MODELS, DefaultScope, Registry

from ..errors import InputError
from ..pyramid import Pyramid
from ..registry import MODELS as OUR_MODELS
from ..registry import SCOPE
from .dataset import DatasetView

SIDE = 128  # pixels of the image that parts are tried out with
COUNTED = ("mmdet.", "mmseg.")  # modules of heads whose num_classes is known to be the dataset's
NOT_COUNTED = ("STDCHead", "SideAdapterCLIPHead", "GroundingDINOHead")  # borders; words for classes; words of a sentence


@dataclass(frozen=True)
class Misfit:
    """Options of a part that are not what the part before it gives.

    Attributes:
        key: the part's, such as `model.neck`.
        right: the options as they would have to be.
    """

    key: str
    told: str
    right: Mapping[str, Any]

    def __str__(self) -> str:
        return f"{self.key}.{self.told}"


def require_fit(cfg: Config, datasets: Iterable[DatasetView]) -> None:
    """Check a config's model before anything of it is built in earnest.

    Args:
        datasets: those that the model is trained on.

    Raises:
        InputError: options of the backbone, channels or numbers of classes that are wrong.
    """
    with DefaultScope.overwrite_default_scope(cfg.get("default_scope") or "mmengine"):
        backbone = our_backbone(cfg.model)
        faults = [] if backbone is None else channel_faults(cfg.model, backbone)
        faults += class_faults(cfg.model, datasets)
    if faults:
        raise InputError("\n".join(["the parts of this config do not fit each other:", *(f"  {fault}" for fault in faults)]))


def our_backbone(model: Mapping[str, Any]) -> Pyramid | None:
    """The backbone of a model's config, built; None where it is not one of ours.

    Raises:
        InputError: there is none of that name, or it does not take its options.
    """
    part = model.get("backbone")
    if not isinstance(part, dict):
        return None
    kind = part.get("type")
    if isinstance(kind, str) and kind.startswith(f"{SCOPE}."):
        kind = OUR_MODELS.get(kind)
        if kind is None:
            raise InputError(f"model.backbone.type: there is no {part['type']}{_nearest_backbone(part['type'])}")
    if not (isinstance(kind, type) and issubclass(kind, Pyramid)):
        return None
    try:
        return build(part)
    except (InputError, TypeError) as error:
        if not isinstance(error, InputError) and not kind.__module__.startswith(f"{SCOPE}."):
            raise  # a mistake inside of a user's own backbone, who wants to see where
        raise InputError(f"model.backbone: {error}") from error


def _nearest_backbone(name: str) -> str:
    names = [f"{SCOPE}.{kind}" for kind in OUR_MODELS.module_dict]
    near = get_close_matches(name, names, n=1)
    return f"; did you mean {near[0]}?" if near else f"; there are {', '.join(names)}"


def build(part: dict[str, Any]) -> Any:
    """A part of a model without the files that it would load, and without memory where it allows that."""
    bare = without_init(part)
    try:
        with torch.device("meta"):
            return MODELS.build(copy.deepcopy(bare))
    except Exception:
        return MODELS.build(copy.deepcopy(bare))


def without_init(part: Any) -> Any:
    """A part of a config, without what would load files as it is built."""
    if isinstance(part, dict):
        return type(part)({key: None if key == "init_cfg" else without_init(value) for key, value in part.items()})
    if isinstance(part, list | tuple):
        return type(part)(without_init(entry) for entry in part)
    return part


def channel_faults(model: Mapping[str, Any], backbone: Pyramid) -> list[str]:
    """A line for each `in_channels` or `in_index` with which the model fails."""
    suspects = {misfit.key: misfit for misfit in misfits(model, backbone.out_channels)}
    if not suspects:
        return []
    with torch.device("meta"):
        maps = _run(backbone, torch.empty(1, backbone.in_channels, SIDE, SIDE))
    faults = []
    for key, part in _in_order(model):
        right = part
        if key in suspects:
            right = type(part)({**part, **suspects[key].right})
            if _try(part, maps) is None and _try(right, maps) is not None:
                faults.append(str(suspects[key]))
        if key.startswith("model.neck"):
            maps = _try(right, maps)
    return faults


def _in_order(model: Mapping[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Necks, then heads, with their keys."""
    names = ["neck", *(name for name in model if name.endswith("_head"))]
    return [entry for name in names for entry in parts_of(model, name)]


def _try(part: dict[str, Any], maps: Any) -> Any:
    """What a part makes of maps; None where it cannot be built or does not take them."""
    if maps is None:
        return None
    try:
        return _run(build(part), maps)
    except Exception:
        return None


def _run(module: torch.nn.Module, maps: Any) -> Any:
    with torch.device("meta"), torch.no_grad():
        return module.eval()(maps)


def misfits(model: Mapping[str, Any], channels: tuple[int, ...]) -> Iterator[Misfit]:
    """Each `in_channels` or `in_index` in a model's config that does not look like what the part before gives."""
    given: Any = list(channels)
    for key, neck in parts_of(model, "neck"):
        expected, wanted = plain(neck.get("in_channels")), given
        if isinstance(given, int) and isinstance(expected, list):
            wanted = [given] * len(expected)
        if None not in (expected, given) and expected != wanted:
            yield Misfit(key, _told(expected, wanted), dict(in_channels=wanted))
        given = neck.get("out_channels")
    for name in model:
        for key, head in parts_of(model, name) if name.endswith("_head") else ():
            if "in_channels" in head and given is not None:
                yield from _misfit_of_head(key, head, given, "neck" in model)


def _misfit_of_head(key: str, head: Mapping[str, Any], given: Any, after_neck: bool) -> Iterator[Misfit]:
    """What is wrong with a head's `in_channels` or `in_index`, for the channels that the part before it gives."""
    expected, index = plain(head["in_channels"]), plain(head.get("in_index"))
    if isinstance(given, int):  # the same channels on every level of the neck
        wanted: Any = [given] * len(expected) if isinstance(expected, list) else given
    elif index is None and not isinstance(expected, list):
        wanted = plain(given)[-1] if not after_neck else expected  # mmseg's heads take the last map by default
    else:
        levels = plain(given)
        chosen = range(len(levels)) if index is None else index if isinstance(index, list) else [index]
        inside = [level for level in chosen if -len(levels) <= level < len(levels)] or [len(levels) - 1]
        wanted = [levels[level] for level in inside]
        if index is not None and inside != [*chosen]:
            right = (inside, wanted) if isinstance(expected, list) else (inside[0], wanted[0])
            told = f"in_index is {index}, but there are {len(levels)} maps: {levels}"
            yield Misfit(key, told, dict(zip(("in_index", "in_channels"), right, strict=True)))
            return
        wanted = wanted if isinstance(expected, list) else wanted[0]
    if expected != wanted:
        yield Misfit(key, _told(expected, wanted), dict(in_channels=wanted))


def _told(expected: Any, wanted: Any) -> str:
    return f"in_channels is {expected}, but what comes before it gives {wanted}"


def class_faults(model: Mapping[str, Any], datasets: Iterable[DatasetView]) -> list[str]:
    """A line for each head of mmdet's or mmseg's that has another number of classes than the datasets.

    None where the datasets do not tell theirs, or differ.
    """
    known = [(view.key, view.config, known_classes(view.config)) for view in datasets]
    if not known or any(classes is None or len(classes) != len(known[0][2] or ()) for _, _, classes in known):
        return []
    where, dataset, classes = known[0]
    assert classes is not None
    some = ", ".join(classes[:3]) + (", ..." if len(classes) > 3 else "")
    told = f"{where} ({_name(dataset['type'])}) has {len(classes)} classes ({some})"
    return [
        f"{key}.num_classes is {head['num_classes']}, but {told}: set it to {len(classes)}, or name other classes in "
        f"{where}.metainfo.classes"
        for key, head in _classifiers(model)
        if _counts_classes(head) and head["num_classes"] != len(classes)
    ]


def known_classes(dataset: Mapping[str, Any]) -> list[str] | None:
    """Classes of a dataset by its config or its type; None where neither tells.

    Nor do panoptic ones, which have classes of things and of stuff, for different heads.
    """
    kind = _type_of(DATASETS, dataset)
    info = {**(getattr(kind, "METAINFO", None) or {}), **(dataset.get("metainfo") or {})}
    classes = info.get("classes")
    if "thing_classes" in info or not isinstance(classes, list | tuple) or not classes:
        return None
    return list(map(str, classes))


def _classifiers(model: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for name in ("bbox_head", "decode_head", "auxiliary_head"):
        yield from parts_of(model, name)
    for key, part in parts_of(model, "roi_head"):
        for name in ("bbox_head", "mask_head"):
            yield from parts_of(part, name, key)


def _counts_classes(head: Mapping[str, Any]) -> bool:
    """Whether `num_classes` of a head must be the dataset's: not that of binary segmentation or of masks for any class."""
    kind = _type_of(MODELS, head)
    if kind is None or not kind.__module__.startswith(COUNTED):
        return False
    binary = head.get("out_channels") == 1 or (head.get("num_classes") == 1 and kind.__module__.startswith("mmseg."))
    return (
        isinstance(head.get("num_classes"), int)
        and kind.__name__ not in NOT_COUNTED
        and not binary
        and not head.get("class_agnostic")
    )


def _type_of(root: Registry, part: Mapping[str, Any]) -> type | None:
    """The class that a config's `type` means under its scope or the default one."""
    kind = part.get("type")
    if isinstance(kind, str):
        with root.switch_scope_and_registry(part.get("_scope_")) as registry:
            kind = registry.get(kind)
    return kind if isinstance(kind, type) else None


def _name(kind: Any) -> str:
    return kind.__name__ if isinstance(kind, type) else str(kind)


def parts_of(model: Mapping[str, Any], name: str, key: str = "model") -> list[tuple[str, dict[str, Any]]]:
    """The configs under a name, which may be one or a list, each with its full key."""
    part = model.get(name)
    if isinstance(part, list | tuple):
        return [(f"{key}.{name}.{index}", entry) for index, entry in enumerate(part) if isinstance(entry, dict)]
    return [(f"{key}.{name}", part)] if isinstance(part, dict) else []


def plain(value: Any) -> Any:
    return list(value) if isinstance(value, list | tuple) else value
