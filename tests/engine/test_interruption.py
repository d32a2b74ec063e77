"""Signals during a training, and processes that it forks."""

import multiprocessing
import os
import signal
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection

import pytest

from mmvit.engine.interruption import Interruption

pytestmark = [
    pytest.mark.stack,
    pytest.mark.once,
    pytest.mark.skipif(not hasattr(os, "fork"), reason="a system without fork"),
]


def answer(end: Connection) -> None:
    """Say how a forked process treats SIGTERM, then wait."""
    end.send(signal.getsignal(signal.SIGTERM) == signal.SIG_DFL)
    time.sleep(600)


@pytest.fixture
def foreground() -> Iterator[None]:
    """Ctrl-C as in the foreground: a shell lets what it starts with `&` ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("foreground")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_forked_processes_end_at_a_signal(number: int) -> None:
    """VOCMetric evaluates in a pool: its processes ignored SIGTERM, and `Pool.terminate` waited for ever."""
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()
    with Interruption() as interruption:
        process = context.Process(target=answer, args=(theirs,))
        process.start()
        try:
            assert ours.recv()
            assert process.pid is not None
            os.kill(process.pid, number)
            process.join(timeout=30)
            assert not process.is_alive()
            assert process.exitcode != 0
        finally:
            process.kill()
            process.join()
        assert interruption.number == 0, "the training goes on"


def test_pools_are_terminated_as_they_start() -> None:
    """Python forgets signals that reach a process between the fork and its first action."""
    with Interruption():
        for _ in range(5):
            with multiprocessing.get_context("fork").Pool(4) as pool:
                assert pool.starmap(max, [(1, 2)] * 4) == [2] * 4
