"""Checks that the parts of a model fit each other and the data: options, channels and numbers of classes."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from mmengine.config import Config
from mmengine.registry import DATASETS, MODELS, DefaultScope, Registry

from ..config.datasets import DatasetView
from ..config.parts import build, parts_of
from ..errors import InputError, nearest
from ..pyramid import Pyramid
from ..registry import MODELS as OUR_MODELS
from ..registry import SCOPE
from .channels import channel_fit
from .options import option_faults

COUNTED = ("mmdet.", "mmseg.")  # packages of heads whose num_classes must be the dataset's
NOT_COUNTED = ("STDCHead", "SideAdapterCLIPHead", "GroundingDINOHead")  # these predict borders, or match words to regions


def require_fit(cfg: Config, datasets: Iterable[DatasetView]) -> None:
    """Check a config's model before it is built with memory for its weights.

    Args:
        datasets: those that the model is trained on.

    Raises:
        InputError: wrong options, channels or numbers of classes.
    """
    with DefaultScope.overwrite_default_scope(cfg.get("default_scope") or "mmengine"):
        backbone = our_backbone(cfg.model)
        faults = [] if backbone is None else channel_fit(cfg.model, backbone).wrong
        faults += class_faults(cfg.model, datasets)
        faults += option_faults(cfg)
    if faults:
        raise InputError("\n".join(["the parts of this config do not fit each other:", *(f"  {fault}" for fault in faults)]))


def our_backbone(model: Mapping[str, Any]) -> Pyramid | None:
    """Build the backbone of a model's config; return None if it is not one of ours.

    Raises:
        InputError: there is no such backbone, or it does not take its options.
    """
    part = model.get("backbone")
    if not isinstance(part, dict):
        return None
    kind = part.get("type")
    if isinstance(kind, str) and kind.startswith(f"{SCOPE}."):
        kind = OUR_MODELS.get(kind)
        if kind is None:
            names = [f"{SCOPE}.{kind}" for kind in OUR_MODELS.module_dict]
            raise InputError(f"model.backbone.type: there is no {part['type']}; {nearest(part['type'], names, most=1)}")
    if not (isinstance(kind, type) and issubclass(kind, Pyramid)):
        return None
    try:
        return build(part)
    except (InputError, TypeError) as error:
        if not isinstance(error, InputError) and not kind.__module__.startswith(f"{SCOPE}."):
            raise  # a mistake in the user's own backbone: the traceback shows where
        raise InputError(f"model.backbone: {error}") from error


def class_faults(model: Mapping[str, Any], datasets: Iterable[DatasetView]) -> list[str]:
    """Return a line for each head of mmdet or mmseg whose number of classes differs from that of the datasets or its loss.

    If the datasets do not name their classes, or have different numbers of them, only the losses are compared.
    """
    views = list(datasets)
    heads = [(key, head) for key, head in _classifiers(model) if _counts_classes(head)]
    weights = [fault for key, head in heads for fault in _weight_faults(key, head, head["num_classes"])]
    panoptic = [fault for key, part in _panoptic(model) for fault in _panoptic_faults(key, part, views)]
    known = [(view.key, view.config, known_classes(view.config)) for view in views]
    if not known or any(classes is None or len(classes) != len(known[0][2] or ()) for _, _, classes in known):
        return [*weights, *panoptic]
    where, dataset, classes = known[0]
    assert classes is not None
    names = ", ".join(classes[:3]) + (", ..." if len(classes) > 3 else "")
    text = f"{where} ({_name(dataset['type'])}) has {len(classes)} classes ({names})"
    counts = [
        f"{key}.num_classes is {head['num_classes']}, but {text}: set it to {len(classes)}, or name other classes in "
        f"{where}.metainfo.classes"
        for key, head in heads
        if head["num_classes"] != len(classes)
    ]
    return [*counts, *weights, *panoptic]


def _weight_faults(key: str, head: Mapping[str, Any], count: int) -> Iterator[str]:
    """Yield a line for each list of class weights whose length does not fit the `count` predicted classes."""
    for name in (name for name in ("loss_cls", "loss_decode") if name in head):
        for loss_key, loss in parts_of(head, name, key):
            weights = loss.get("class_weight")
            background = name == "loss_cls" and _name(loss.get("type")).endswith("CrossEntropyLoss")
            extra = int(background and not loss.get("use_sigmoid"))
            if isinstance(weights, list | tuple) and len(weights) != count + extra:
                text = f"{count} classes{' and the background' if extra else ''}"
                yield f"{loss_key}.class_weight has {len(weights)} numbers, expected {count + extra}: one for each of {text}"


def _panoptic(model: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for name in ("panoptic_head", "panoptic_fusion_head", "semantic_head"):
        yield from parts_of(model, name)


def _panoptic_faults(key: str, part: Mapping[str, Any], views: Iterable[DatasetView]) -> Iterator[str]:
    """Yield a line for each number of things or stuff that differs from the dataset's, and for unfit class weights."""
    counts = {name: part[f"num_{name}_classes"] for name in ("things", "stuff") if f"num_{name}_classes" in part}
    if len(counts) == 2 and all(isinstance(count, int) for count in counts.values()):
        yield from _weight_faults(key, part, sum(counts.values()))
    for view in list(views)[:1]:
        kind = _type_of(DATASETS, view.config)
        info = {**(getattr(kind, "METAINFO", None) or {}), **(view.config.get("metainfo") or {})}
        right = {"things": info.get("thing_classes") or info.get("classes"), "stuff": info.get("stuff_classes") or ()}
        for name, count in counts.items():
            classes = right[name]
            if isinstance(classes, list | tuple) and isinstance(count, int) and count != len(classes):
                text = f"{view.key} ({_name(view.config.get('type'))}) has {len(classes)} classes of {name}"
                yield f"{key}.num_{name}_classes is {count}, but {text}: set it to {len(classes)}"


def known_classes(dataset: Mapping[str, Any]) -> list[str] | None:
    """Return the classes of a dataset, from its config or its type; None if neither names them.

    Panoptic datasets give None, too: their things and stuff belong to different heads.
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
    """Return whether a head's `num_classes` must be the dataset's, unlike that of a binary or class-agnostic head."""
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
    """Return the class that a config's `type` names in its scope or the default one; None if there is none."""
    kind = part.get("type")
    if isinstance(kind, str):
        with root.switch_scope_and_registry(part.get("_scope_")) as registry:
            kind = registry.get(kind)
    return kind if isinstance(kind, type) else None


def _name(kind: Any) -> str:
    return kind.__name__ if isinstance(kind, type) else str(kind)
