"""SIGTERM and Ctrl-C, handled between two training iterations instead of within one."""

import logging
import os
import signal
import threading
from functools import partial
from types import FrameType, TracebackType
from typing import Any

from mmengine.logging import print_log
from torch.utils.data import get_worker_info

from ..compat.systems import CHILD_ENDED

SIGNALS = (signal.SIGTERM, signal.SIGINT)
active: set["Interruption"] = set()
held = threading.local()  # the signal mask of a thread that forks


class Interruption:
    """Context that notes the first SIGTERM or SIGINT in `number`, which is 0 before; a second one acts as usual.

    Outside the main thread, where Python allows no handlers, it notes nothing. Forked processes keep the actions from before:
    a pool of theirs could not be terminated otherwise.
    """

    def __init__(self) -> None:
        self.number = 0
        self.before: dict[int, signal._HANDLER] = {}

    def __enter__(self) -> "Interruption":
        if threading.current_thread() is threading.main_thread():
            self.before = {number: signal.signal(number, self._note) for number in SIGNALS}
            active.add(self)
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        active.discard(self)
        self._restore()

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._restore()
        # torchrun and slurm signal data workers, too: torch would take their end for an error in the middle of this iteration.
        if CHILD_ENDED is not None:
            self.before = {CHILD_ENDED: signal.signal(CHILD_ENDED, _pass) or signal.SIG_DFL}
        self.number = number
        print_log(
            f"{signal.Signals(number).name}: saving and stopping after this iteration (a validation that runs is finished "
            "first); a second signal stops at once",
            logger="current",
            level=logging.WARNING,  # a live bar hides lower levels
        )

    def leave(self) -> None:
        """Restore the actions in a forked process, except that its data workers ignore Ctrl-C and end with their process."""
        interrupt = self.before.get(signal.SIGINT)
        self._restore()
        if interrupt is not None:
            signal.signal(signal.SIGINT, partial(_interrupt, interrupt))

    def _restore(self) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)
        self.before = {}


def _pass(number: int, frame: FrameType | None) -> None:
    """Ignore a signal; without a handler, Python would complain about one that is still pending."""


def _interrupt(before: Any, number: int, frame: FrameType | None) -> None:
    """Act on Ctrl-C in a forked process: the terminal sends it to data workers as well."""
    if get_worker_info() is None and callable(before):
        before(number, frame)


def _hold() -> None:
    """Hold signals back while a process forks: Python forgets those that reach the new one before it has set its actions."""
    held.mask = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS if active else ())


def _release() -> None:
    signal.pthread_sigmask(signal.SIG_SETMASK, held.mask)


def _leave() -> None:
    for context in active:
        context.leave()
    active.clear()
    _release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_hold, after_in_parent=_release, after_in_child=_leave)
