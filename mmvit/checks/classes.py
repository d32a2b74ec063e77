"""Check that the heads of a model have the classes of the data."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from mmengine.registry import DATASETS, MODELS

from ..config.datasets import DatasetView
from ..config.parts import build, class_of, parts_of
from ..errors import InputError, counted, first_few, nearest
from ..pyramid import Pyramid
from ..registry import MODELS as OUR_MODELS
from ..registry import SCOPE
from .findings import Finding, doubtful, wrong
from .plan import Plan

COUNTED = ("mmdet.", "mmseg.")  # packages of heads whose num_classes must be the dataset's
NOT_COUNTED = ("STDCHead", "SideAdapterCLIPHead", "GroundingDINOHead")  # these predict borders, or match words to regions


def check_classes(plan: Plan) -> Iterator[Finding]:
    """Report heads that have another number of classes than the training data."""
    for view in plan.datasets:
        names = known_classes(view.config) or []
        if twice := [name for name in dict.fromkeys(names) if names.count(name) > 1]:
            yield wrong(f"{view.key}.metainfo.classes has {first_few(twice)} more than once")
    for key, model in plan.models:
        yield from class_faults(model, plan.trained, key)


def our_backbone(model: Mapping[str, Any], key: str = "model") -> Pyramid | None:
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
            raise InputError(f"{key}.backbone.type: there is no {part['type']}; {nearest(part['type'], names, most=1)}")
    if not (isinstance(kind, type) and issubclass(kind, Pyramid)):
        return None
    try:
        return build(part)
    except (InputError, TypeError) as error:
        if not isinstance(error, InputError) and not kind.__module__.startswith(f"{SCOPE}."):
            raise  # a mistake in the user's own backbone: the traceback shows where
        raise InputError(f"{key}.backbone: {error}") from error


def class_faults(model: Mapping[str, Any], datasets: Iterable[DatasetView], at: str = "model") -> Iterator[Finding]:
    """Yield a finding for each head of mmdet or mmseg whose number of classes differs from that of the datasets or its loss.

    If the datasets do not name their classes, or have different numbers of them, only the losses are compared.
    """
    views = list(datasets)
    heads = [(key, head) for key, head in _classifiers(model, at) if _counts_classes(head)]
    known = [(view, known_classes(view.config)) for view in views]
    view, classes = known[0] if known else (None, None)
    if view is not None and classes is not None and all(len(other or ()) == len(classes) for _, other in known):
        about = f"{view.key} ({_name(view.config['type'])}) has {counted(len(classes), 'class')} ({first_few(classes, 3)})"
        for key, head in _classifiers(model, at):
            if _is_binary(head) and len(classes) != 2:
                yield doubtful(
                    f"{key} has one channel, which tells background from foreground, but {about}: no figure is the class's IoU",
                    f"Name two in {view.key}.metainfo.classes, such as ('background', {classes[-1]!r}), or give the head more",
                )
        for key, head in heads:
            if head["num_classes"] != len(classes):
                yield wrong(
                    f"{key}.num_classes is {head['num_classes']}, but {about}",
                    f"Set it to {len(classes)}, or name other classes in {view.key}.metainfo.classes",
                )
    for key, head in heads:
        yield from _weight_faults(key, head, head["num_classes"])
    for key, part in parts_of(model, ("panoptic_head", "panoptic_fusion_head", "semantic_head"), at):
        yield from _panoptic_faults(key, part, views)


def _weight_faults(key: str, head: Mapping[str, Any], count: int) -> Iterator[Finding]:
    """Yield a finding for each list of class weights whose length does not fit the `count` predicted classes."""
    for name in ("loss_cls", "loss_decode"):
        for loss_key, loss in parts_of(head, name, key):
            weights = loss.get("class_weight")
            background = name == "loss_cls" and _name(loss.get("type")).endswith("CrossEntropyLoss")
            extra = int(background and not loss.get("use_sigmoid"))
            if isinstance(weights, list | tuple) and len(weights) != count + extra:
                text = f"{count} classes{' and the background' if extra else ''}"
                sentence = (
                    f"{loss_key}.class_weight has {len(weights)} numbers, expected {count + extra}: one for each of {text}"
                )
                yield wrong(sentence)


def _panoptic_faults(key: str, part: Mapping[str, Any], views: Iterable[DatasetView]) -> Iterator[Finding]:
    """Yield a finding for each number of things or stuff that differs from the dataset's, and for unfit class weights."""
    counts = {name: part[f"num_{name}_classes"] for name in ("things", "stuff") if f"num_{name}_classes" in part}
    if len(counts) == 2 and all(isinstance(count, int) for count in counts.values()):
        yield from _weight_faults(key, part, sum(counts.values()))
    for view in list(views)[:1]:
        info = _metainfo(view.config)
        right = {"things": info.get("thing_classes") or info.get("classes"), "stuff": info.get("stuff_classes") or ()}
        for name, count in counts.items():
            classes = right[name]
            if isinstance(classes, list | tuple) and isinstance(count, int) and count != len(classes):
                text = f"{view.key} ({_name(view.config.get('type'))}) has {len(classes)} classes of {name}"
                yield wrong(f"{key}.num_{name}_classes is {count}, but {text}", f"Set it to {len(classes)}")


def known_classes(dataset: Mapping[str, Any]) -> list[str] | None:
    """Return the classes of a dataset, from its config or its type; None if neither names them.

    Panoptic datasets give None, too: their things and stuff belong to different heads.
    """
    info = _metainfo(dataset)
    classes = info.get("classes")
    if "thing_classes" in info or not isinstance(classes, list | tuple) or not classes:
        return None
    return list(map(str, classes))


def _metainfo(dataset: Mapping[str, Any]) -> dict[str, Any]:
    return {**(getattr(class_of(dataset, DATASETS), "METAINFO", None) or {}), **(dataset.get("metainfo") or {})}


def _classifiers(model: Mapping[str, Any], at: str) -> Iterator[tuple[str, dict[str, Any]]]:
    yield from parts_of(model, ("bbox_head", "decode_head", "auxiliary_head"), at)
    for key, part in parts_of(model, "roi_head", at):
        yield from parts_of(part, ("bbox_head", "mask_head"), key)


def _counts_classes(head: Mapping[str, Any]) -> bool:
    """Return whether a head's `num_classes` must be the dataset's, unlike that of a binary or class-agnostic head."""
    kind = class_of(head, MODELS)
    if kind is None or not kind.__module__.startswith(COUNTED):
        return False
    return (
        isinstance(head.get("num_classes"), int)
        and kind.__name__ not in NOT_COUNTED
        and not _is_binary(head)
        and not head.get("class_agnostic")
    )


def _is_binary(head: Mapping[str, Any]) -> bool:
    """Return whether a head of mmseg has one channel, for two classes; mmseg takes either of them for num_classes."""
    kind = class_of(head, MODELS)
    channels = head.get("out_channels") or head.get("num_classes")
    return channels == 1 and kind is not None and kind.__module__.startswith("mmseg.") and kind.__name__ not in NOT_COUNTED


def _name(kind: Any) -> str:
    return kind.__name__ if isinstance(kind, type) else str(kind)
