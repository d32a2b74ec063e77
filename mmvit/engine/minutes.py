"""`--minutes`: a training of the length that fits into a time, measured on its own first iterations.

The measurement is a run of its own in a temporary folder, so that the training begins with the schedule that it ends with: its
decay completes, and a resumed run, which finds the length in its checkpoint, ends with the same bits.
"""

import time
from bisect import bisect_right
from collections.abc import Callable, Mapping
from copy import deepcopy
from math import ceil
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.logging import MMLogger
from mmengine.runner import Runner

from ..compat.texts import plain_values, text_of
from ..config.parts import entry_of
from ..config.schedules import length_of, set_length
from ..errors import InputError
from .configuration import tell_nobody
from .models import of_first
from .terminal import FOR_TERMINAL, Terminal

LEAD, COUNTED = 3, 20  # iterations before the clock starts where steps are quick, and those that it times at most
SHARE = 0.05  # of the time, after which the measurement ends
PLANNED = 0.9  # share of the time left that is planned
KEY = "minutes"  # in the config: what was asked for, the length that was chosen, and the one that the config had


class Pace(NamedTuple):
    """Seconds of an iteration and of a whole validation, and iterations of an epoch."""

    step: float
    validation: float
    steps: int


class _MeasuredError(Exception):
    pass


class PaceHook(Hook):
    """Hook that times the first iterations and a few batches of validation, then ends the run."""

    priority = "LOWEST"
    pace: Pace

    def __init__(self, limit: float) -> None:
        self.limit, self.count, self.began, self.uncounted = limit, 0, 0.0, 0

    def after_train_iter(self, runner: Runner, *_: Any, **__: Any) -> None:
        now = _now()
        self.count += 1
        if self.count == 1 or (self.count == LEAD and now - self.began < self.limit):
            self.began, self.uncounted = now, self.count
        counted = self.count - self.uncounted
        if of_first(counted > 0 and (counted >= COUNTED or now - self.began > self.limit)):  # the processes stop together
            self._measure(runner, now)
            raise _MeasuredError

    def after_train(self, runner: Runner) -> None:
        self._measure(runner, _now())  # of a training with fewer iterations

    def _measure(self, runner: Runner, now: float) -> None:
        step = (now - self.began) / max(self.count - self.uncounted, 1)
        self.pace = of_first(Pace(step, self._validation(runner), len(runner.train_loop.dataloader)))

    def _validation(self, runner: Runner) -> float:
        if runner.val_loop is None:
            return 0.0
        loader, began, seen = runner.val_dataloader, _now(), 0
        runner.model.eval()
        for batch in loader:
            with torch.no_grad():
                runner.model.val_step(batch)
            seen += 1
            if seen == 1:
                began = _now()  # workers have started
            elif seen > COUNTED or _now() - began > self.limit:
                break  # with a batch at least
        return (_now() - began) / max(seen - 1, 1) * len(loader)


def _now() -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.monotonic()


def fit(
    cfg: Config, minutes: float, began: float, build: Callable[[Config], Runner], terminal: Terminal, content: Any = None
) -> str | None:
    """Shorten what is left of a training to the time; return what was changed, in words, None if nothing is left.

    Args:
        began: when the command began, by the monotonic clock.
        build: makes a runner of a config.
        content: the checkpoint that is resumed.

    Raises:
        InputError: the time does not suffice.
    """
    old, unit = length_of(cfg, "--minutes")
    done = entry_of(content, f"meta.{'epoch' if unit == 'max_epochs' else 'iter'}") or 0
    if done >= old:
        return None
    pace = measured(cfg, minutes * 60 * SHARE, build, terminal)
    left = of_first(minutes * 60 - (time.monotonic() - began))
    length = fitting(pace, old, unit == "max_epochs", cfg.train_cfg.get("val_interval", 1), left * PLANNED, done)
    each = f"{_time(pace.step)} an iteration, {_time(pace.validation)} a validation"
    if length <= done:
        what = "one epoch" if unit == "max_epochs" else "its validations"
        raise InputError(
            f"--minutes {minutes:g}: too short for {what} ({each}). Give more, or make steps cheaper: --image-size"
        )
    cfg[KEY] = dict(minutes=minutes, length=length, instead_of=old)
    return f"--minutes {minutes:g}: {each}; " + ("the training fits as it is" if length >= old else set_length(cfg, length))


def _time(value: float) -> str:
    return f"{value:.2g} s" if value < 10 else f"{value:,.0f} s"


def fitting(pace: Pace, old: int, by_epoch: bool, interval: int, seconds: float, done: int = 0) -> int:
    """Return the longest training whose rest takes at most `seconds`, in epochs or in iterations, `done` if there is none."""

    def takes(length: int) -> float:
        # Where iterations are counted, there are as many validations: their interval is shortened, too.
        validations = ceil(length / interval) - done // interval if by_epoch else ceil((old - done) / interval)
        return (length - done) * (pace.steps if by_epoch else 1) * pace.step + validations * pace.validation

    return bisect_right(range(done + 1, old + 1), seconds, key=takes) + done


def measured(cfg: Config, limit: float, build: Callable[[Config], Runner], terminal: Terminal) -> Pace:
    """Return the pace of a training's first iterations. It leaves nothing behind."""
    trial, hook, early = deepcopy(cfg), PaceHook(limit), list(terminal.early or ())
    MMLogger.get_current_instance().info("measuring the first iterations ...", extra={FOR_TERMINAL: True})
    trial.load_from, trial.resume = None, False
    trial.default_hooks.checkpoint = None
    tell_nobody(trial, "mmvit.DemoReportHook", "mmvit.CheckSettingsHook", "mmvit.ResumeHook")
    for name in ("val_interval", "val_begin"):
        trial.train_cfg[name] = 10**9
    trial.train_cfg.pop("dynamic_intervals", None)
    with TemporaryDirectory() as folder:
        trial.work_dir = folder
        runner = build(trial)
        runner.register_hook(hook)
        try:
            runner.train()
        except _MeasuredError:
            pass
        finally:
            for handler in runner.logger.handlers:
                handler.flush()
            terminal.early = early  # for the log of the training
    return hook.pace


def keep(cfg: Config, checkpoint: Mapping[str, Any]) -> str | None:
    """Give a run that is resumed the length that was chosen for it, unless the config has another than it had then.

    Return what was changed, in words, None if nothing was.
    """
    chosen = plain_values(text_of(checkpoint), (KEY,)).get(KEY)
    if not isinstance(chosen, Mapping) or not isinstance(chosen.get("length"), int):
        return None
    old, _ = length_of(cfg, "--minutes")
    if old not in (chosen["length"], chosen.get("instead_of", old)):
        return None  # the config's was changed since
    cfg[KEY] = dict(chosen)
    return f"--minutes: as chosen before; {set_length(cfg, chosen['length'])}" if chosen["length"] != old else None
