"""Progress in an interactive terminal."""

import logging
import sys
from typing import Any

import torch
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from ..compat.systems import peak_memory
from ..errors import counted
from ..registry import HOOKS
from .figures import number_of

WINDOW = 20  # number of iterations over which the displayed loss is averaged


@HOOKS.register_module()
class ProgressHook(Hook):
    """Hook that shows a live bar with ETA, loss, learning rate and memory in an interactive terminal, and nothing when piped.

    While the bar is shown, plain log lines go to the log file only; results of a validation are printed above the bar.
    """

    priority = "VERY_LOW"  # after the hooks whose values it shows

    def __init__(self) -> None:
        self.progress: Progress | None = None
        self.tasks: dict[str, TaskID] = {}
        self.silenced: list[tuple[logging.Handler, int]] = []

    def _start(self, runner: Runner) -> None:
        if self.progress is not None or not (sys.stdout.isatty() and is_main_process()):
            return
        self.progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[figures]}"),
            console=Console(),
        )
        for handler in runner.logger.handlers:
            if type(handler) is logging.StreamHandler:
                self.silenced.append((handler, handler.level))
                handler.setLevel(logging.WARNING)
        self.progress.start()

    def before_train(self, runner: Runner) -> None:
        self._start(runner)
        self._begin("train", runner.max_iters, runner.iter)

    def before_val(self, runner: Runner) -> None:
        self._begin("val", len(runner.val_dataloader))

    def before_test(self, runner: Runner) -> None:
        self._start(runner)
        self._begin("test", len(runner.test_dataloader))

    def _after_iter(self, runner: Runner, batch_idx: int, *_: Any, mode: str = "train", **__: Any) -> None:
        if self.progress is not None:
            done, figures = (runner.iter + 1, _figures(runner)) if mode == "train" else (batch_idx + 1, "")
            self.progress.update(self.tasks[mode], completed=done, figures=figures)

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        self._end("val", runner, metrics)

    def after_test_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        self._end("test", runner, metrics)

    def after_run(self, runner: Runner) -> None:
        self.close()

    def close(self) -> None:
        """Remove the bar and give the terminal back to the logger; also called after an error."""
        if self.progress is not None:
            self.progress.stop()
            self.progress = None
        for handler, level in self.silenced:
            handler.setLevel(level)
        self.silenced.clear()

    def _begin(self, task: str, total: int, completed: int = 0) -> None:
        if self.progress is not None:
            self.tasks[task] = self.progress.add_task(task, total=total, completed=completed, figures="")

    def _end(self, task: str, runner: Runner, metrics: dict[str, float] | None) -> None:
        if self.progress is not None:
            shown = {name: number_of(value) for name, value in (metrics or {}).items()}
            self.progress.remove_task(self.tasks.pop(task))
            figures = "  ".join(f"{name} {number:.3f}" for name, number in shown.items() if number is not None)
            self.progress.print(f"{task} after {counted(runner.iter, 'iteration')}: {figures}")


def _figures(runner: Runner) -> str:
    scalars = runner.message_hub.log_scalars
    loss = f"loss {scalars['train/loss'].mean(WINDOW):.3f}" if "train/loss" in scalars else ""
    rate = f"lr {scalars['train/lr'].current():.2e}" if "train/lr" in scalars else ""
    # Peak of this process: allocated by tensors on the GPU if there is one, else resident, where the system tells.
    peak = torch.cuda.max_memory_allocated() / 2**20 if torch.cuda.is_available() else peak_memory()
    return f"{loss}  {rate}" if peak is None else f"{loss}  {rate}  {peak:.0f} MB"
