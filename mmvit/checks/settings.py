"""Settings that are valid one by one and wrong together, or at which a run stops with an error that does not name them.

For example: a schedule that counts epochs in a training that counts iterations, a warm-up longer than the training, frozen
random weights, a mean for pixels from 0 to 1 with pixels from 0 to 255, random steps in a validation.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmengine.registry import DATA_SAMPLERS, DATASETS

from ..arguments import is_pretrained, name_of
from ..config.datasets import loaders_of
from ..config.parts import build, class_of, entry_of, is_ours, mappings, parts_of
from ..config.schedules import ENDLESS, WARM_UPS
from ..errors import nearest
from .findings import Finding, doubtful, wrong
from .plan import Plan

RANDOM = ("PhotoMetricDistortion", "Mosaic", "CachedMosaic", "MixUp", "CachedMixUp", "CutOut", "YOLOXHSVRandomAug")
ENDLESS_SAMPLERS = ("InfiniteSampler", "MultiSourceSampler")  # and those that derive from them
COUNTS = {  # the least that each may be
    "train_cfg.max_epochs": 1,
    "train_cfg.max_iters": 1,
    "train_cfg.val_interval": 1,
    "train_dataloader.batch_size": 1,
    "train_dataloader.num_workers": 0,
    "val_dataloader.num_workers": 0,
    "test_dataloader.num_workers": 0,
}
CUSTOM_KEYS = "optim_wrapper.paramwise_cfg.custom_keys"
ALIKE = 0.75  # least similarity of two names, from 0 to 1


def check_settings(plan: Plan) -> Iterator[Finding]:
    """Report settings at which a run stops, or that do not do what they say."""
    for check in (_impossible, _chance, _filters, _left_out, _endless, _balance, _normalisation):
        yield from check(plan)
    if "train" not in plan.splits:
        return
    for check_config in (_rate, schedule_faults, _saving, _frozen):
        yield from check_config(plan.config)
    yield from _precision(plan)
    yield from _same_data(plan)


def check_keys(plan: Plan) -> Iterator[Finding]:
    """Report misspelt `custom_keys`; the model is built for its names. In a run, `CheckSettingsHook` does the same."""
    if entry_of(plan.config, CUSTOM_KEYS):
        yield from vain_keys(plan.config, (name for name, _ in build(plan.config.model).named_parameters()))


def _impossible(plan: Plan) -> Iterator[Finding]:
    cfg = plan.config
    for key, least in COUNTS.items():
        value = entry_of(cfg, key)
        if isinstance(value, int) and value < least:
            yield wrong(f"{key} is {value}, expected a whole number from {least}")
    for split, name in (("val", "validation"), ("test", "test")):
        trio = [f"{split}_{part}" for part in ("dataloader", "cfg", "evaluator")]
        lacking = [key for key in trio if cfg.get(key) is None]
        if lacking and len(lacking) < len(trio):
            there = " and ".join(key for key in trio if key not in lacking)
            needs = f"a {name} needs all three, and no {name} none"
            yield wrong(f"{' and '.join(lacking)} missing or None, but {there} given: {needs}")
    scale = cfg.get("auto_scale_lr") or {}
    if scale.get("enable") and not scale.get("base_batch_size"):
        yield wrong("auto_scale_lr.enable is on without base_batch_size: the batch size that the learning rate was chosen for")


def _rate(cfg: Config) -> Iterator[Finding]:
    if entry_of(cfg, "optim_wrapper.optimizer.lr") == 0:
        yield wrong("optim_wrapper.optimizer.lr is 0: nothing learns")


def _precision(plan: Plan) -> Iterator[Finding]:
    wrappers = {name_of(part.get("type")) for part in mappings(plan.config.get("optim_wrapper"))}
    if "AmpOptimWrapper" in wrappers and not torch.cuda.is_available():
        yield (doubtful if plan.only_asked else wrong)(
            "optim_wrapper.type is AmpOptimWrapper, for which mmengine needs a GPU, and there is none here",
            "Train with --amp auto: in bfloat16 where the processor has units for it, else in float32",
        )


def schedule_faults(cfg: Config, per_epoch: int | None = None) -> Iterator[Finding]:
    """Yield a finding for each schedule that counts in another unit than the training, or ends after it.

    Args:
        per_epoch: iterations in an epoch, if known.
    """
    training = cfg.get("train_cfg") or {}
    epochs, iterations = training.get("max_epochs"), training.get("max_iters")
    if not isinstance(epochs or iterations, int):
        return
    if epochs and per_epoch:
        iterations = epochs * per_epoch
    for key, part in parts_of(cfg, "param_scheduler", ""):
        by_epoch = part.get("by_epoch", True)
        if by_epoch and not epochs:
            yield wrong(
                f"{key} counts epochs (by_epoch=True, its default), the training iterations (train_cfg.max_iters): it does "
                "nothing",
                "Set by_epoch=False and give its numbers in iterations",
            )
        elif total := epochs if by_epoch else iterations:
            yield from _beyond(key, part, total, "epochs" if by_epoch else "iterations")


def _beyond(key: str, part: Mapping[str, Any], total: int, unit: str) -> Iterator[Finding]:
    kind = name_of(part.get("type"))
    last = part.get("end", part.get("T_max"))
    milestones = part.get("milestones")
    over = isinstance(last, int | float) and total < last < ENDLESS
    ends = f"{key}: {kind} ends after {last} {unit}, the training after {total}"
    if kind in WARM_UPS and over:
        yield doubtful(f"{ends}: the learning rate never reaches its full value", f"Set {key}.end to a small part of {total}")
    elif isinstance(milestones, list | tuple) and milestones and min(milestones) >= total:
        sentence = f"{key}.milestones are {list(milestones)}, the training ends after {total} {unit}: the rate never falls"
        yield doubtful(sentence)
    elif kind in ("PolyLR", "CosineAnnealingLR") and over:
        yield doubtful(f"{ends}: the rate does not fall to its end", f"Set it to {total}")


def _saving(cfg: Config) -> Iterator[Finding]:
    hook = entry_of(cfg, "default_hooks.checkpoint")
    if hook and entry_of(cfg, "train_cfg.max_iters") and hook.get("by_epoch", True) and (hook.get("interval") or 0) > 0:
        yield doubtful(
            "default_hooks.checkpoint counts epochs (by_epoch=True, its default), the training iterations "
            "(train_cfg.max_iters): nothing is saved before the end",
            "Set by_epoch=False and interval in iterations",
        )


def _normalisation(plan: Plan) -> Iterator[Finding]:
    """Yield findings about pixels that are normalised for another range, twice, in one split only, or not at all."""
    model = plan.config.get("model") or {}
    part = model.get("data_preprocessor") or {}
    mean, std = part.get("mean"), part.get("std")
    if mean and std and max(mean) <= 1 and max(std) < 1:
        right = [[round(255 * value, 3) for value in values] for values in (mean, std)]
        yield doubtful(
            f"model.data_preprocessor has mean {list(mean)} and std {list(std)}, which are for pixels from 0 to 1. Here they "
            f"go from 0 to 255: write mean={right[0]}, std={right[1]}"
        )
    kinds = {view.key: {name_of(step.get("type")) for step in view.steps()} for view in plan.datasets}
    steps = {key: "Normalize" in found for key, found in kinds.items() if "LoadBands" not in found}  # which normalises, too
    with_step, without = ([key for key, has in steps.items() if has is wanted] for wanted in (True, False))
    if with_step and mean:
        sentence = (
            f"{with_step[0]}.pipeline has Normalize, and model.data_preprocessor normalises, too: pixels are normalised twice"
        )
        yield doubtful(sentence, "Remove the step")
    elif with_step and without:
        sentence = f"{with_step[0]}.pipeline has Normalize, {without[0]}.pipeline has not: the model sees other pixels there"
        yield wrong(sentence, "Give both the same steps, or model.data_preprocessor mean and std")
    elif not mean and without and is_ours(model.get("backbone") or {}):
        sentence = "model.data_preprocessor has no mean and std: pixels from 0 to 255 reach the backbone as they are"
        yield doubtful(
            sentence, "For the released weights: mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], bgr_to_rgb=True"
        )


def _frozen(cfg: Config) -> Iterator[Finding]:
    backbone = entry_of(cfg, "model.backbone") or {}
    loaded = any(is_pretrained(entry) for _, entry in parts_of(backbone, "init_cfg"))
    loaded |= any(entry_of(cfg, key) for key in ("load_from", "resume", "model.pretrained", "model.backbone.pretrained"))
    frozen = backbone.get("frozen_stages")
    if loaded or not isinstance(frozen, int) or frozen <= 0:
        return
    yield (wrong if is_ours(backbone) else doubtful)(  # others may load weights in ways of their own
        f"model.backbone.frozen_stages is {frozen}, and nothing is loaded into the backbone: random weights would stay as they "
        "are",
        "Give it init_cfg=dict(type='Pretrained', checkpoint=...), or set load_from, or frozen_stages=0",
    )


def _chance(plan: Plan) -> Iterator[Finding]:
    """Yield a finding for each random step of a validation or test. Test-time augmentation undoes its own flips."""
    for view in plan.datasets:
        for key, step in [] if view.for_training else parts_of(view.config, "pipeline", view.key):
            kind = name_of(step.get("type"))
            chance = kind.startswith("Random") or kind in RANDOM
            if chance and step.get("prob", 1) not in (0, 0.0, None) and not step.get("test_mode"):
                yield doubtful(
                    f"{key} is {kind}: results would depend on chance, and a flip or crop is not undone",
                    "Use the steps of a test pipeline",
                )


def _filters(plan: Plan) -> Iterator[Finding]:
    for view in plan.datasets:
        if not view.for_training and view.is_coco and view.filter:
            yield wrong(
                f"{view.key} leaves out images (filter_cfg), because test_mode is not set: their objects count as missed",
                "Set test_mode=True",
            )


def _left_out(plan: Plan) -> Iterator[Finding]:
    """Yield a finding for each loader of a validation or test that drops images of its last batch."""
    for key, loader in loaders_of(plan.config, [split for split in plan.splits if split != "train"]):
        for part_key, part in [(key, loader), *parts_of(loader, "batch_sampler", key)]:
            if part.get("drop_last") and loader.get("batch_size", 1) != 1:
                yield wrong(
                    f"{part_key}.drop_last leaves out images where the last batch is not full: figures are not of all images",
                    "Set it to False",
                )


def never_ends(loader: Mapping[str, Any], scope: str | None) -> bool:
    """Return whether a loader's sampler yields images without end."""
    kind = class_of(loader.get("sampler") or {}, DATA_SAMPLERS, scope)
    return any(base.__name__ in ENDLESS_SAMPLERS for base in getattr(kind, "__mro__", ()))


def _endless(plan: Plan) -> Iterator[Finding]:
    """Yield a finding for each pass over the images that never ends."""
    for key, loader in loaders_of(plan.config, plan.splits):
        training = key.startswith("train")
        if training and not entry_of(plan.config, "train_cfg.max_epochs"):
            continue
        if never_ends(loader, plan.config.get("default_scope")):
            yield wrong(
                f"{key}.sampler is {name_of(loader['sampler']['type'])}, which yields images without end: no epoch ends",
                f"Take DefaultSampler{', or train_cfg with type IterBasedTrainLoop and max_iters' if training else ''}",
            )


def _balance(plan: Plan) -> Iterator[Finding]:
    """Yield a finding for each dataset that shall be balanced by class, and cannot say which classes an image has."""
    for key, loader in loaders_of(plan.config, plan.splits):
        for part in mappings(loader):
            inner = part.get("dataset") if name_of(part.get("type")) == "ClassBalancedDataset" else None
            kind = class_of(inner, DATASETS) if isinstance(inner, Mapping) else None
            if kind is not None and getattr(kind, "get_cat_ids", None) in (None, BaseDataset.get_cat_ids):
                yield wrong(
                    f"{key} has a ClassBalancedDataset around a {kind.__name__}, which does not tell which "
                    "classes an image has (get_cat_ids)",
                    "Put it around a dataset of boxes, such as CocoDataset; of several, around each",
                )


def _same_data(plan: Plan) -> Iterator[Finding]:
    """Yield a finding for each validation on the training's own data. Some users do this first, to see that a model learns."""

    def place_of(view: Any) -> tuple[str, ...]:
        return tuple(str(path) for _, path in view.paths())

    def apart(view: Any, other: Any) -> bool:
        chosen = [each.config.get("indices") for each in (view, other)]
        return None not in chosen and chosen[0] != chosen[1]

    trained = {place_of(view): view for view in plan.trained}
    for view in plan.datasets:
        other = trained.get(place_of(view)) if view.split == "val" else None
        if other is not None and (place := place_of(view)) and not apart(view, other):
            sentence = f"{view.key} reads the data of {other.key} ({place[0]}): its results say nothing about other images"
            yield doubtful(sentence)


def vain_keys(cfg: Config, names: Iterable[str]) -> Iterator[Finding]:
    """Yield a finding for each misspelt key of `optim_wrapper.paramwise_cfg.custom_keys`, which applies to no parameter.

    Recipes for several networks have keys for parts that a network lacks (`cls_token`). These resemble no part and are valid.
    """
    known = list(names)
    parts = list(dict.fromkeys(part for name in known for part in name.split(".")))
    for key in entry_of(cfg, CUSTOM_KEYS) or ():
        unknown = [part for part in str(key).split(".") if not any(part in name for name in parts)]
        if unknown and (hint := nearest(unknown[0], parts, most=1, cutoff=ALIKE, otherwise="")):
            yield doubtful(f"{CUSTOM_KEYS}: no parameter has {key} in its name, so its factors apply to nothing; {hint}")
