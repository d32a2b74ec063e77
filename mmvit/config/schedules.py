"""The length of a training: `--epochs`, for loops that count epochs and for loops that count iterations."""

import os
from collections.abc import Iterator, Mapping
from contextlib import redirect_stdout
from copy import copy
from dataclasses import dataclass
from math import ceil, floor
from typing import Any

from mmengine.config import Config

from ..arguments import name_of
from ..errors import InputError
from .parts import mappings, replaced

WARM_UPS = ("LinearLR", "ConstantLR", "LinearMomentum", "ConstantMomentum", "QuadraticWarmupLR")
WARM_UP_SHARE = 10  # a warm-up takes at most the tenth part of a training
ENDLESS = 1e8  # mmengine's default `end` of a schedule is larger
POINTS = ("begin", "end")
DURATIONS = ("T_max", "step_size", "total_steps")
HOOK_POINTS = ("switch_epoch", "switch_iter", "begin_epoch", "begin_iter")
HOOK_DURATIONS = ("num_last_epochs", "num_last_iters")
PROCESSES = ("WORLD_SIZE", "SLURM_NTASKS", "OMPI_COMM_WORLD_SIZE")  # of torchrun, srun, mpirun
RANKS = ("RANK", "SLURM_PROCID", "OMPI_COMM_WORLD_RANK")


@dataclass(frozen=True)
class Axis:
    """Old positions of a training, counted in epochs or iterations, and what they become in the new one."""

    old: float | None  # length of the training; None if the config does not tell
    new: int
    warm: int = 0  # length of its warm-up
    new_warm: int = 0

    @property
    def factor(self) -> float:
        """By which what follows the warm-up is stretched."""
        return 1.0 if not self.old or self.old <= self.warm else (self.new - self.new_warm) / (self.old - self.warm)

    def point(self, place: float) -> int:
        """Return the new position of a place; what lay before the end stays before it, where something can still happen."""
        if place <= self.warm:
            return round(place * self.new_warm / self.warm) if self.warm else 0
        new = self.new_warm + round((place - self.warm) * self.factor)
        return min(new, max(self.new - 1, 1)) if self.old and place < self.old else new

    def duration(self, length: float) -> int:
        return max(1, round(length * self.factor))


def length_of(cfg: Config, option: str) -> tuple[int, str]:
    """Return the length of a training, and the key that holds it.

    Raises:
        InputError: a loop of another kind; the message names the option that would change it.
    """
    loop = cfg.get("train_cfg") or {}
    unit = next((name for name in ("max_epochs", "max_iters") if isinstance(loop.get(name), int)), None)
    if unit is None:
        raise InputError(f"{option}: {cfg.filename} has neither train_cfg.max_epochs nor train_cfg.max_iters to change")
    return loop[unit], unit


def set_epochs(cfg: Config, epochs: int) -> str:
    """Train for `epochs` passes over the images: stretch the loop, its intervals and all schedules; say what changed.

    Raises:
        InputError: a loop of another kind, or one that counts iterations over images that cannot be counted.
    """
    _, unit = length_of(cfg, "--epochs")
    if unit == "max_epochs":
        return set_length(cfg, epochs)
    steps, fault = steps_an_epoch(cfg, once=True)
    if steps is None:
        raise InputError(f"--epochs: this training counts iterations, and its images cannot be counted: {fault}")
    return set_length(cfg, epochs * steps, f" ({steps} an epoch)")


def set_length(cfg: Config, length: int, remark: str = "") -> str:
    """Train for a length in the unit that the loop counts; see `set_epochs`."""
    old, unit = length_of(cfg, "--epochs")
    by_epoch = unit == "max_epochs"
    parts = [part for part in mappings(cfg.get("param_scheduler")) if "type" in part]
    mixed = by_epoch and any(not part.get("by_epoch", True) for part in parts)
    steps, fault = steps_an_epoch(cfg) if mixed else (None, "")
    axes = {by_epoch: _axis(parts, by_epoch, old, length)}
    if steps is not None:
        axes[False] = _axis(parts, False, None, length * steps)
    cfg.param_scheduler = _stretched(cfg.get("param_scheduler"), axes)
    cfg.train_cfg[unit] = length
    said = [f"train_cfg.{unit} {old} -> {length}{remark}"]
    said += _intervals(cfg, by_epoch, Axis(old, length), steps)
    said += [f"warm-up {axis.warm} -> {axis.new_warm}" for axis in axes.values() if axis.warm != axis.new_warm]
    said += ["param_scheduler stretched with it"] if parts else []
    said += [f"schedules by iteration kept ({fault})"] if by_epoch and fault else []
    return "; ".join(said)


def _warms_up(part: Mapping[str, Any]) -> bool:
    """Return whether a schedule begins with the training and rises to the full rate, so that leaving it out changes no rate."""
    start = part.get("start_factor", part.get("factor", 1 / 3))
    return (
        name_of(part.get("type")) in WARM_UPS
        and not part.get("begin")
        and part.get("end", ENDLESS) < ENDLESS
        and start < part.get("end_factor", 1.0) == 1.0
    )


def _axis(parts: list[Mapping[str, Any]], by_epoch: bool, old: int | None, new: int) -> Axis:
    mine = [part for part in parts if bool(part.get("by_epoch", True)) == by_epoch]
    warm_ups = [part for part in mine if _warms_up(part)]
    ends = [part.get("end", part.get("T_max", ENDLESS)) for part in mine if part not in warm_ups]
    if old is None:  # the loop counts epochs, and these schedules iterations
        old = max((end for end in ends if end < ENDLESS), default=None)
    warm = max((part["end"] for part in warm_ups), default=0)
    # mmengine's warm-ups of a single step stay at their start; those that it converts to iterations have many.
    least = 1 if warm_ups and all(part.get("convert_to_iter_based") for part in warm_ups) else 2
    short = min(warm, max(new // WARM_UP_SHARE, 1 if least == 1 and new > 1 else 0))
    return Axis(old, new, warm, short if short >= least else 0)


def _stretched(part: Any, axes: Mapping[bool, Axis]) -> Any:
    """Return schedules for the new length, None for one that has no step left."""
    if isinstance(part, list | tuple):
        return [entry for old in part if (entry := _stretched(old, axes)) is not None]
    if not isinstance(part, Mapping):
        return part
    if "type" not in part:
        return {name: _stretched(entry, axes) for name, entry in part.items()}
    axis = axes.get(bool(part.get("by_epoch", True)))
    if axis is None:
        return part
    changes: dict[str, Any] = {name: axis.point(part[name]) for name in POINTS if part.get(name, ENDLESS) < ENDLESS}
    changes |= {name: axis.duration(part[name]) for name in DURATIONS if part.get(name)}
    if "milestones" in part:
        # At a place that is there twice, mmengine lowers the rate twice.
        changes["milestones"] = sorted(max(1, axis.point(old)) for old in part["milestones"])
    if "periods" in part:
        changes["periods"] = [axis.duration(old) for old in part["periods"]]
    new: Any = copy(part)  # the types of pure-Python configs stay names, which can be written out
    new.update(changes)
    return None if new.get("end", ENDLESS) <= new.get("begin", 0) else new


def _intervals(cfg: Config, by_epoch: bool, axis: Axis, steps: int | None) -> Iterator[str]:
    """Fit the intervals of validation, checkpoints and the log, and hooks that act at some time; yield what changed."""

    def fitted(interval: int) -> int:
        return min(interval if by_epoch else axis.duration(interval), axis.new)

    loop, hooks = cfg.train_cfg, cfg.get("default_hooks") or {}
    if loop.get("dynamic_intervals"):
        loop.dynamic_intervals = [(axis.point(at), fitted(interval)) for at, interval in loop.dynamic_intervals]
    if loop.get("val_begin", 1) > 1:
        loop.val_begin = max(1, axis.point(loop.val_begin))
    yield from _change(loop, "val_interval", fitted, "train_cfg.")
    saving = hooks.get("checkpoint") or {}
    if bool(saving.get("by_epoch", True)) == by_epoch:  # not more often than it was and validations are
        validated = loop.get("val_interval", axis.new)
        yield from _change(
            saving, "interval", lambda old: max(fitted(old), min(old, validated, axis.new)), "default_hooks.checkpoint."
        )
    span = steps if by_epoch else loop.get("val_interval", axis.new)
    if span:
        logged = max(1, span // 2)
        yield from _change(hooks.get("logger") or {}, "interval", lambda old: min(old, logged), "default_hooks.logger.")
    for hook in cfg.get("custom_hooks") or ():
        for names, moved in ((HOOK_POINTS, axis.point), (HOOK_DURATIONS, axis.duration)):
            for name in names:
                yield from _change(hook, name, moved, f"{name_of(hook.get('type'))}.")


def _change(part: Any, name: str, moved: Any, prefix: str) -> Iterator[str]:
    old = part.get(name)
    if isinstance(old, int) and old > 0 and (new := moved(old)) != old:
        part[name] = new
        yield f"{prefix}{name} {old} -> {new}"


def steps_an_epoch(cfg: Config, once: bool = False) -> tuple[int | None, str]:
    """Return the iterations of a pass over the training's images; None and the reason if these cannot be counted.

    A dataset that repeats all its images counts them as often, or, if asked for, `once`: mmseg's retina sets have 40,000.
    """
    loader: Any = cfg.get("train_dataloader") or {}
    if loader.get("num_batch_per_epoch"):
        return loader["num_batch_per_epoch"], ""
    if not isinstance(loader.get("batch_size"), int):
        return None, "train_dataloader.batch_size is not given"
    from mmengine.registry import DATASETS  # torch, which --help does without

    try:
        with redirect_stdout(None), DATASETS.switch_scope_and_registry(cfg.get("default_scope")) as registry:
            dataset = loader.dataset
            while once and name_of(dataset.get("type")) == "RepeatDataset":
                dataset = dataset["dataset"]
            images = len(registry.build(replaced(dataset, "pipeline", [])))
    except Exception as error:  # the checks of a run name what is missing in words of their own
        return None, str(error)
    share = ceil(images / processes_of(cfg))  # mmengine's samplers round up
    return max(1, (floor if loader.get("drop_last") else ceil)(share / loader.batch_size)), ""


def is_first(cfg: Config) -> bool:
    """Return whether this is the first of the processes that the launcher of a config has started, before they are a group."""
    launched = cfg.get("launcher", "none") != "none"
    return not launched or next((os.environ[name] for name in RANKS if name in os.environ), "0") == "0"


def processes_of(cfg: Config) -> int:
    """Return the number of processes that the launcher of a config has started."""
    launched = cfg.get("launcher", "none") != "none"
    return next((int(os.environ[name]) for name in PROCESSES if launched and name in os.environ), 1)
