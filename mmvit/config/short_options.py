"""Short options of a training: each is a field, whose function changes the entries of a config that belong together."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, fields
from math import prod
from pathlib import Path
from typing import Any

from mmengine.config import Config

from ..arguments import listed, name_of
from ..errors import InputError
from .parts import class_of, entry_of, is_ours, models_of, takes
from .schedules import processes_of, set_epochs
from .sizes import set_image_size

STAGES = 4
LEAST_GAIN = 1e-6  # of a better metric; mmengine's 0.1 is more than most APs gain, and at 0 an equal one counts as better
METRICS = dict(mmdet="coco/bbox_mAP", mmseg="mIoU")  # of the evaluators that most configs have


def short(change: Callable[[Config, Any], str], kind: type, least: float, help: str) -> Any:
    """Return a field of `ShortOptions`.

    Args:
        change: changes a config in place and returns what it changed; it raises InputError for a config that cannot take it.
        kind: type of the value.
        least: smallest value; a rate must be larger.
    """
    return field(default=None, metadata=dict(change=change, kind=kind, least=least, help=help))


@dataclass(kw_only=True)
class DataOptions:
    """Option of every command that reads the data of a config."""

    data_root: str | Path | None = None  # another copy of the data, for all datasets and evaluators


def set_batch_size(cfg: Config, size: int) -> str:
    loader = cfg.get("train_dataloader") or {}
    sampler = loader.get("sampler") or {}
    if "batch_size" in sampler or not isinstance(loader.get("batch_size"), int):
        where = (
            "train_dataloader.sampler makes the batches"
            if "batch_size" in sampler
            else "train_dataloader.batch_size is missing"
        )
        raise InputError(f"--batch-size: {where} in {cfg.filename}; change it there")
    old, loader["batch_size"] = loader["batch_size"], size
    if old == size:
        return f"batches have {size} already"
    return f"train_dataloader.batch_size {old} -> {size}; the learning rate stays (--auto-scale-lr scales it)"


def set_rate(cfg: Config, rate: float, option: str = "--lr") -> str:
    optimizer = entry_of(cfg, "optim_wrapper.optimizer") or {}
    old = optimizer.get("lr")
    if not isinstance(old, int | float):
        raise InputError(
            f"{option}: {cfg.filename} has no optim_wrapper.optimizer.lr to change; name its optimizers' with --cfg-options"
        )
    optimizer["lr"] = rate
    said = [f"optim_wrapper.optimizer.lr {old:g} -> {rate:g}"]
    for part in listed(cfg.get("param_scheduler")):
        for name in ("eta_min", "eta_max"):  # rates, too: at a tenth of lr they stay at a tenth
            if part.get(name) and old:
                part[name] *= rate / old
                said.append(f"{name_of(part['type'])}.{name} {part[name]:g}")
    return "; ".join(said)


def scale_rate(cfg: Config) -> str:
    """Scale the rates from `auto_scale_lr.base_batch_size` to the images of a step of all processes, and note that batch there.

    mmengine, which does it where `auto_scale_lr.enable` is set, leaves the schedules' rates and does not count accumulation.
    """
    name, base, batch = "--auto-scale-lr", cfg.auto_scale_lr.base_batch_size, entry_of(cfg, "train_dataloader.batch_size")
    if not isinstance(batch, int):
        raise InputError(f"{name}: {cfg.filename} has no train_dataloader.batch_size to scale to")
    counts = batch, processes_of(cfg), entry_of(cfg, "optim_wrapper.accumulative_counts") or 1
    total = prod(counts)
    said = set_rate(cfg, (entry_of(cfg, "optim_wrapper.optimizer.lr") or 0) * total / base, name)
    cfg.auto_scale_lr.update(enable=False, base_batch_size=total)
    return f"{name}: from {base} images a step to {total} = {' x '.join(map(str, counts))}: {said}"


def set_frozen(cfg: Config, stages: int) -> str:
    if stages > STAGES:
        raise InputError(f"--freeze {stages}: expected 0 to {STAGES}, the number of leading stages")
    parts = [(f"{key}.backbone", part["backbone"]) for key, part in models_of(cfg.get("model") or {}) if part.get("backbone")]
    if not parts:
        raise InputError(f"--freeze: {cfg.filename} has no model.backbone")
    from mmengine.registry import MODELS  # torch, which --help does without

    for key, backbone in parts:
        ours = is_ours(backbone)
        if not ours and not takes(class_of(backbone, MODELS, cfg.get("default_scope")), "frozen_stages"):
            raise InputError(
                f"--freeze: {name_of(backbone.get('type'))} ({key}) has no frozen_stages, by which its stages stay as loaded"
            )
        backbone["frozen_stages"] = stages if ours or stages else -1  # 0 would freeze the stem of mmdet's and mmseg's
    return f"{' and '.join(key for key, _ in parts)}.frozen_stages {parts[0][1]['frozen_stages']}"


def set_patience(cfg: Config, patience: int) -> str:
    saving = entry_of(cfg, "default_hooks.checkpoint") or {}
    metric, rule = (next(iter(listed(saving.get(name))), None) for name in ("save_best", "rule"))  # of several, the first
    if not cfg.get("val_dataloader"):
        raise InputError(
            f"--patience: {cfg.filename} has no validation (val_dataloader), whose figures would tell when to stop"
        )
    if not isinstance(metric, str) or metric == "auto":
        raise InputError(
            f"--patience: default_hooks.checkpoint.save_best is {metric!r}; expected the metric that has to improve, "
            f"such as --cfg-options default_hooks.checkpoint.save_best={METRICS.get(cfg.get('default_scope'), 'NAME')}"
        )
    hook = dict(type="EarlyStoppingHook", monitor=metric, patience=patience, min_delta=LEAST_GAIN)
    from mmengine.hooks import CheckpointHook  # torch, which --help does without

    keys = {name: saving[name] for name in ("greater_keys", "less_keys") if name in saving}
    with suppress(ValueError):  # nobody knows which is better, and the checks of a run name the checkpoint's rule
        hook["rule"] = CheckpointHook(save_best=metric, rule=rule, **keys).rules[0]
    others = [other for other in cfg.get("custom_hooks") or () if name_of(other.get("type")) != "EarlyStoppingHook"]
    cfg.custom_hooks = [*others, hook]
    return f"EarlyStoppingHook ends the training after {patience} validations without a better {metric}"


@dataclass(kw_only=True)
class ShortOptions(DataOptions):
    """Options that change all entries of a config that belong together, in this order."""

    batch_size: int | None = short(set_batch_size, int, 1, "images of a step on each process")
    epochs: int | None = short(set_epochs, int, 1, "passes over the images; the schedules are stretched to them")
    image_size: int | None = short(set_image_size, int, 32, "shorter side of crops, or else of images; other sizes go with it")
    lr: float | None = short(set_rate, float, 0, "learning rate")
    freeze: int | None = short(set_frozen, int, 0, "leading stages of the backbone that stay as loaded")
    patience: int | None = short(set_patience, int, 1, "validations without improvement after which training ends")


SHORT = tuple(entry for entry in fields(ShortOptions) if entry.metadata)


def apply_short(cfg: Config, options: ShortOptions) -> list[str]:
    """Change a config in place by the options that are given; return a line for each.

    Raises:
        InputError: a value out of its range, or a config that cannot take the option.
    """
    lines = []
    for entry in SHORT:
        value = getattr(options, entry.name)
        if value is None:
            continue
        name, kind, least = f"--{entry.name.replace('_', '-')}", entry.metadata["kind"], entry.metadata["least"]
        whole = kind is int
        fits = isinstance(value, int if whole else int | float) and not isinstance(value, bool)
        if not fits or value < least or (not whole and not 0 < value < float("inf")):
            raise InputError(f"{name} {value}: expected {f'a whole number from {least}' if whole else 'a number above 0'}")
        lines.append(f"{name} {value}: {entry.metadata['change'](cfg, value)}")
    return lines
