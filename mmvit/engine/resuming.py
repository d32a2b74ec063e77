"""Differences between a config and the checkpoint that it resumes: reported, or with `--new-schedule` the config's are taken.

mmengine resumes the optimiser's and the schedulers' settings with their state: another learning rate, weight decay or milestone
in the config changes nothing, and nothing says so. The number of epochs or iterations, clipping, data, batch size and the
model's options are the config's in any case.
"""

import inspect
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mmengine.hooks import EMAHook, Hook
from mmengine.optim import OptimWrapper
from mmengine.runner import IterBasedTrainLoop, Runner
from torch import Tensor

from ..checks.table import warn
from ..compat.texts import text_of
from ..config.parts import like
from ..errors import InputError
from ..layers.forms import forms_in_training
from ..registry import HOOKS
from .checkpoints import forget_other_best
from .differences import NOTHING, OPTIMIZER_TYPE, Difference, of_parts, of_settings, of_wrapper
from .loops import BATCHES, FORMS

MOVING = ("betas", "momentum")  # options that a scheduler of momenta changes as it goes
AVERAGES = ("exp_avg", "momentum_buffer", "square_avg")  # these have the shape of the parameter; others need not
# Options that make an optimiser what it is; later versions of torch add others to all of them.
OWN = ("alpha", "amsgrad", "betas", "centered", "dampening", "eps", "etas", "lambd", "momentum", "nesterov", "rho")
SHOWN = 6  # differences in a message
COUNTERS = ("self", "optimizer", "last_step", "verbose", "args", "kwargs")
Group = Mapping[str, Any]


@HOOKS.register_module()
class ResumeHook(Hook):
    """Compare the config of a resumed run with its checkpoint.

    Args:
        new_schedule: take options of the optimiser and the schedules from the config, as they would be by now had the training
            begun with them; the optimiser's averages are the checkpoint's in any case.
    """

    priority = "VERY_HIGH"

    def __init__(self, new_schedule: bool = False) -> None:
        self.new_schedule = new_schedule

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """
        Raises:
            InputError: the optimiser of the checkpoint is another one or has other parameters; or `new_schedule` where the
                optimisers are several, or shared out among processes.
        """
        if not getattr(runner, "_resume", False) or "optimizer" not in checkpoint:
            return
        for line in forget_other_best(runner, checkpoint):
            warn("resume", line)
        wrapper, theirs = runner.optim_wrapper, checkpoint["optimizer"]
        if not isinstance(wrapper, OptimWrapper) or not _is_plain(theirs):
            if self.new_schedule:
                raise InputError("--new-schedule: only for trainings with one optimiser in each process, without FSDP")
            return
        _require_same_parameters(runner, wrapper, checkpoint)
        schedulers = runner.param_schedulers if isinstance(runner.param_schedulers, list) else []
        found = [
            *_of_optimizer(wrapper.optimizer.param_groups, theirs["param_groups"]),
            *_of_schedulers(schedulers, checkpoint.get("param_schedulers") or []),
        ]
        if found and self.new_schedule:
            _advance(runner, schedulers, checkpoint["meta"])
            _take(wrapper, schedulers, checkpoint)
        if found:
            lines = "\n  ".join(map(str, found))
            side = "the config's count (--new-schedule)" if self.new_schedule else "the checkpoint's count"
            remedy = "" if self.new_schedule else "\nTo take the config's: --resume --new-schedule"
            warn("resume", f"the config has other settings than the checkpoint, and {side}:\n  {lines}{remedy}")
        for line in _others(runner, checkpoint):
            warn("resume", line)


def _is_plain(state: Any) -> bool:
    groups = state.get("param_groups") if isinstance(state, Mapping) else None
    return groups is not None and all(isinstance(number, int) for group in groups for number in group.get("params", ()))


def _require_same_parameters(runner: Runner, wrapper: OptimWrapper, checkpoint: Mapping[str, Any]) -> None:
    """Check that the config's optimiser can load the state of the checkpoint's.

    Raises:
        InputError: it is another optimiser, or its parameters or their order differ.
    """
    ours, theirs = wrapper.optimizer.param_groups, checkpoint["optimizer"]["param_groups"]
    counts = [[len(group["params"]) for group in groups] for groups in (ours, theirs)]
    changed = list(of_settings(runner.cfg, text_of(checkpoint)))
    lacking = [name for name in OWN if name in wrapper.optimizer.defaults and name not in theirs[0]]
    if lacking or any(entry.key == OPTIMIZER_TYPE for entry in changed):
        without = f" (it has no {', '.join(lacking)})" if lacking else ""
        fault = f"its optimiser is another one than {type(wrapper.optimizer).__name__} of this config{without}"
    elif counts[0] != counts[1]:
        sizes = [f"{sum(count)} parameters in {len(count)} groups" for count in counts]
        fault = f"its optimiser has {sizes[1]}, this config's has {sizes[0]}"
    elif (place := _first_misfit(ours, checkpoint["optimizer"])) is not None:
        fault = f"its optimiser has the parameters in another order: number {place} has another shape"
    else:
        return
    unknown = "unknown. Other frozen parts, another optimiser, paramwise_cfg or constructor can be the cause"
    why = "\n  ".join([str(entry) for entry in changed[:SHOWN]] or [unknown])
    raise InputError(
        f"--resume {runner._load_from}: {fault}. What differs:\n  {why}\nResume with the settings of the checkpoint, or begin "
        f"anew from its weights, without --resume: --cfg-options load_from={runner._load_from}"
    )


def _first_misfit(ours: Sequence[Group], theirs: Mapping[str, Any]) -> int | None:
    """Return the position of the first parameter whose averages in the checkpoint have another shape."""
    numbers = [number for group in theirs["param_groups"] for number in group["params"]]
    parameters = [parameter for group in ours for parameter in group["params"]]
    for place, (number, parameter) in enumerate(zip(numbers, parameters, strict=True)):
        averages = theirs["state"].get(number) or {}
        for name in AVERAGES:
            if isinstance(averages.get(name), Tensor) and averages[name].shape != parameter.shape:
                return place
    return None


def _of_optimizer(ours: Sequence[Group], theirs: Sequence[Group]) -> Iterator[Difference]:
    found: dict[str, list[Difference]] = {}
    for mine, other in zip(ours, theirs, strict=True):
        moving = MOVING if "initial_momentum" in other else ()
        for name in mine:
            if name == "params" or name in moving or (name == "lr" and "initial_lr" in mine) or name not in other:
                continue
            if mine[name] != like(other[name], mine[name]):
                key = f"optim_wrapper.optimizer.{name.removeprefix('initial_')}"
                found.setdefault(key, []).append(Difference(key, mine[name], other[name]))
    for entries in found.values():
        more = f" (and so on in {len(entries)} of {len(ours)} groups of parameters)" if len(entries) > 1 else ""
        yield entries[0]._replace(checkpoint=f"{entries[0].checkpoint}{more}")


def _of_schedulers(ours: Sequence[Any], theirs: Sequence[Mapping[str, Any]]) -> Iterator[Difference]:
    if len(ours) != len(theirs):
        yield Difference("param_scheduler", f"{len(ours)} schedules", f"{len(theirs)}")
    for index, (scheduler, other) in enumerate(zip(ours, theirs, strict=False)):
        mine = scheduler.state_dict()
        for name in _options_of(scheduler):
            if name in mine and mine[name] != like(other.get(name, NOTHING), mine[name]):
                yield Difference(f"param_scheduler.{index}.{name}", _short(mine[name]), _short(other.get(name, NOTHING)))


def _options_of(scheduler: Any) -> list[str]:
    kinds = [kind for kind in type(scheduler).__mro__ if "__init__" in vars(kind)]
    names = [name for kind in kinds for name in inspect.signature(kind).parameters]
    return list(dict.fromkeys(name for name in names if name not in COUNTERS))


def _short(value: Any) -> Any:
    """Milestones, which mmengine counts, as a list."""
    return sorted(value) if isinstance(value, Mapping) else value


def _advance(runner: Runner, schedulers: Sequence[Any], position: Mapping[str, int]) -> None:
    """Step new schedules to the position of a checkpoint, in the order of mmengine's hook."""

    def step(by_epoch: bool) -> None:
        for scheduler in schedulers:
            if bool(scheduler.by_epoch) == by_epoch:
                scheduler.step()

    epochs = position["epoch"] if getattr(runner.train_loop, "_max_epochs", None) else 0
    length = len(runner.train_dataloader) if epochs else 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that no step of the optimiser came before
        for number in range(1, position["iter"] + 1):
            step(by_epoch=False)
            if epochs and number % length == 0:
                epochs -= 1
                step(by_epoch=True)
        for _ in range(epochs):  # of a training with other batches
            step(by_epoch=True)


def _take(wrapper: OptimWrapper, schedulers: Sequence[Any], checkpoint: dict) -> None:
    """Write the config's options into what is about to be resumed."""
    state, theirs = wrapper.state_dict(), checkpoint["optimizer"]
    for mine, other in zip(state["param_groups"], theirs["param_groups"], strict=True):
        other.update({name: value for name, value in mine.items() if name != "params"})
    theirs.update({name: value for name, value in state.items() if name not in ("state", "param_groups", "loss_scaler")})
    checkpoint["param_schedulers"] = [scheduler.state_dict() for scheduler in schedulers]


def _others(runner: Runner, checkpoint: Mapping[str, Any]) -> Iterator[str]:
    """What else differs, in words, with what counts."""
    done, planned = checkpoint["meta"].get("iter", 0), runner.train_loop.max_iters
    if done >= planned:
        key = "max_iters" if isinstance(runner.train_loop, IterBasedTrainLoop) else "max_epochs"
        yield f"nothing is left to train: the checkpoint has {done} of {planned} iterations. To continue, raise train_cfg.{key}"
    averaged = any(isinstance(hook, EMAHook) for hook in runner.hooks)
    if "ema_state_dict" in checkpoint and not averaged:
        yield "the checkpoint has averaged weights, the config no EMAHook: training goes on from the averages without it"
    for entry in of_settings(runner.cfg, text_of(checkpoint)):
        if entry.key.startswith("model."):  # the optimiser has their parameters in any case, frozen or not
            yield f"{entry}. {entry.config} holds. --cfg-options load_from={runner._load_from} starts a new training with it"
    if found := list(map(str, of_parts(runner.cfg, text_of(checkpoint)))):
        rest = [f"and {len(found) - SHOWN} more"] * (len(found) > SHOWN)
        lines = "\n  ".join([*found[:SHOWN], *rest])
        yield f"the config has other options of the model or the data than the checkpoint, and the config's count:\n  {lines}"
    for entry in of_wrapper(runner.cfg, text_of(checkpoint)):
        yield f"{entry}. {entry.config} counts. To go on as it began, give its --amp or --cfg-options again"
    noted = checkpoint["message_hub"].get("runtime_info") or {}
    before, forms = noted.get(BATCHES), noted.get(FORMS)
    ours = forms_in_training(next(runner.model.parameters()).device.type)
    other = [f"{name}={forms[name]:d}" for name in ours if forms.get(name, ours[name]) != ours[name]] if forms else []
    if other:
        yield (
            "on this kind of machine other forms of the same computations are faster than where the training began, so its "
            f"last bits will differ. To keep the forms, set in the environment: {' '.join(other)}"
        )
    now = getattr(runner.train_loop, "batches", None)
    for name, value in (now() if now else {}).items():
        if isinstance(before, Mapping) and before.get(name, value) != value:
            yield (
                f"{name}: {value} now, {before[name]} in the checkpoint. {value} counts: the iterations that are done stay "
                "done, so that the order of the data and the schedule are no longer those of one training"
            )
