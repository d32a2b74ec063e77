"""Hook inside a measured training or evaluation: it waits for its turn after each block, and reports its times.

`python -m benchmarks.turns SCRIPT ARGUMENTS...` runs a script; the socket to the measuring process is in the environment.
"""

import os
import runpy
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from importlib import import_module
from multiprocessing.connection import Client, Connection
from time import perf_counter
from typing import Any

from mmengine.hooks import Hook
from mmengine.optim import OptimWrapper
from mmengine.registry import HOOKS
from mmengine.runner import Runner

SOCKET, KEY = "MMVIT_TURNS", b"turns"
SAVED = "whole.pth"
REST = "data, loop and rest"


class Times:
    """Seconds by part, each without the parts within it."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.open: list[list[Any]] = [[REST, perf_counter()]]

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        self._note()
        self.open.append([name, perf_counter()])
        try:
            yield
        finally:
            self._note()
            self.open.pop()

    def _note(self) -> None:
        now = perf_counter()
        name, since = self.open[-1]
        self.seconds[name] = self.seconds.get(name, 0.0) + now - since
        for entry in self.open[-2:]:
            entry[1] = now

    def wrap(self, owner: Any, name: str, part: str) -> None:
        """Time the calls of a method as a part."""
        function = getattr(owner, name)

        @wraps(function)
        def timed(*arguments: Any, **options: Any) -> Any:
            with self.part(part):
                return function(*arguments, **options)

        setattr(owner, name, timed)

    def taken(self) -> dict[str, float]:
        """Return the seconds since the last call."""
        self._note()
        taken, self.seconds = self.seconds, {}
        return taken

    def forget(self) -> None:
        """Leave out the time until now since the last note."""
        self.open[-1][1] = perf_counter()


@HOOKS.register_module(force=True)  # this file is the main module, and imported by the config
class TurnHook(Hook):
    """Splits a run into blocks.

    Args:
        block: iterations of one.
    """

    priority = "LOWEST"

    def __init__(self, block: int) -> None:
        self.block = block
        self.times = Times()
        self.connection: Connection = Client(os.environ[SOCKET], authkey=KEY)
        self.left = 0

    def before_run(self, runner: Runner) -> None:
        """Install the clocks before other hooks replace methods that are timed."""
        times, model = self.times, runner.model
        for hook in runner.hooks:
            if hook is not self:
                for moment in ("before_train_iter", "after_train_iter", "before_test_iter", "after_test_iter"):
                    times.wrap(hook, moment, f"hook {type(hook).__name__}")
                for method in ("_update_params", "_check_gradients"):  # what FiniteLossHook puts in their places
                    if hasattr(hook, method):
                        times.wrap(hook, method, f"hook {type(hook).__name__}")
        times.wrap(model.data_preprocessor, "forward", "preprocessing")
        times.wrap(model, "extract_feat", "backbone and neck, forward")
        times.wrap(model, "_run_forward", "heads and losses, forward")
        if isinstance(runner.optim_wrapper, OptimWrapper):  # in a training
            times.wrap(runner.optim_wrapper, "backward", "backward")
            times.wrap(runner.optim_wrapper, "step", "optimiser")
        loops = sys.modules.get("mmvit.engine.loops")
        if loops is not None:
            times.wrap(loops, "begin_streams", "exact loop: random streams")
            times.wrap(loops, "largest", "exact loop: signals")

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        self._before(runner)

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        self._after(runner, lambda: runner.save_checkpoint(runner.work_dir, SAVED, save_optimizer=False))

    def before_test_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        self._before(runner)

    def after_test_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        self._after(runner, lambda: None)

    def _before(self, runner: Runner) -> None:
        if not self.left:  # only before the first iteration of all
            self.connection.send(dict(first=True))
            self._wait(lambda: None)

    def _after(self, runner: Runner, last: Callable[[], object]) -> None:
        self.left -= 1
        if not self.left:
            self.connection.send(self.times.taken())
            self._wait(last)

    def _wait(self, last: Callable[[], object]) -> None:
        if not self.connection.recv():
            last()
            self.connection.send(None)
            self.connection.close()
            sys.stdout.flush()
            os._exit(0)  # data workers end with their parent
        self.left = self.block
        self.times.forget()


if __name__ == "__main__":
    import_module("mmvit")  # mmcv-lite alone cannot be imported by mmdet: both sides use its stand-in
    script, *words = sys.argv[1:]
    sys.argv = [script, *words]
    sys.path[0] = os.path.dirname(script)
    runpy.run_path(script, run_name="__main__")
