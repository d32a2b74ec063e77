"""Random numbers as a function of where a training stands, and of nothing that happened before.

The streams of Python, NumPy and torch are begun anew for each training step and for each sample, from (seed, rank, iteration)
and the sample's place in its batch. A resumed run then draws what the uninterrupted one draws, with any number of data workers,
and no generator has to be saved.
"""

import random
from typing import NamedTuple

import numpy as np
import torch


class Position(NamedTuple):
    """Where in a run random numbers are drawn: by the training step, place 0, or by the sample at `place - 1` of its batch."""

    seed: int
    rank: int
    iteration: int
    place: int = 0


def begin_streams(position: Position) -> None:
    """Seeds the global generators of Python, NumPy and torch, the GPUs' included."""
    words = np.random.SeedSequence(position).generate_state(4)
    random.seed(int(words[0]))
    np.random.seed(words[1])
    torch.manual_seed(int(words[2]) << 32 | int(words[3]))
