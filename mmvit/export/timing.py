"""Time of several forms of a computation, in turns, so that other load of the machine affects all alike."""

from collections.abc import Callable, Mapping
from random import Random
from time import perf_counter
from typing import Any

import torch


def in_turns(
    steps: Mapping[str, Callable[[], object]], repeats: int, device: str = "cpu", warm_up: int = 0
) -> dict[str, list[float]]:
    """Return the seconds of each step in each repeat.

    The order is drawn anew for each repeat, because a step leaves its memory and the processor's clock to the next one.
    """
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    random = Random(0)
    for number in range(warm_up + repeats):
        for name in random.sample(list(steps), len(steps)):
            taken = clock(steps[name], device)
            if number >= warm_up:
                seconds[name].append(taken)
    return seconds


def clock(step: Callable[[], Any], device: str = "cpu") -> float:
    """Return the seconds that a step takes."""
    synchronise = torch.cuda.synchronize if device.startswith("cuda") else lambda: None
    synchronise()
    start = perf_counter()
    step()
    synchronise()
    return perf_counter() - start
