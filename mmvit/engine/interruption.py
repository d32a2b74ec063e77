"""SIGTERM and Ctrl-C, handled between two training iterations instead of within one."""

import logging
import os
import signal
import threading
from types import FrameType, TracebackType

import torch
from mmengine.dist import all_reduce, is_distributed
from mmengine.logging import print_log

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Interruption:
    """Context that notes the first SIGTERM or SIGINT; a second one acts as usual.

    Outside the main thread, where Python allows no handlers, it notes nothing.
    """

    def __init__(self) -> None:
        self.number = 0
        self.process = os.getpid()
        self.before: dict[int, signal._HANDLER] = {}

    def __enter__(self) -> "Interruption":
        if threading.current_thread() is threading.main_thread():
            self.before = {number: signal.signal(number, self._note) for number in SIGNALS}
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._restore()

    def agreed(self) -> int:
        """Return the signal that any process of the training received, or 0. All processes must call it."""
        if not is_distributed():
            return self.number
        number = torch.tensor(self.number)
        all_reduce(number, "max")
        return int(number)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self.process:
            return  # a data worker: the terminal sends it Ctrl-C, too, and it ends with its process
        self._restore()
        # torchrun and slurm signal data workers, too: torch would take their end for an error in the middle of this iteration.
        self.before = {signal.SIGCHLD: signal.signal(signal.SIGCHLD, _pass) or signal.SIG_DFL}
        self.number = number
        print_log(
            f"{signal.Signals(number).name}: saving and stopping after this iteration (a validation that runs is finished "
            "first); a second signal stops at once",
            logger="current",
            level=logging.WARNING,  # a live bar hides lower levels
        )

    def _restore(self) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)
        self.before = {}


def _pass(number: int, frame: FrameType | None) -> None:
    """Ignore a signal; without a handler, Python would complain about one that is still pending."""
