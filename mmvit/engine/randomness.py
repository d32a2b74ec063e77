"""Random numbers as a function of the position in a training, independent of everything that happened before.

The streams of Python, NumPy and torch are seeded anew for each training step and for each sample, from (seed, rank, iteration)
and the sample's place in its batch. A resumed run then draws what the uninterrupted one draws, with any number of data
workers, and no generator has to be saved.
"""

import random
from typing import NamedTuple

import numpy as np
import torch


class Position(NamedTuple):
    """Position in a run at which random numbers are drawn.

    Place 0 is the training step, a higher place the sample at `place - 1` of its batch.
    """

    seed: int
    rank: int
    iteration: int
    place: int = 0


def begin_streams(position: Position) -> None:
    """Seed the global generators of Python, NumPy and torch, including those of GPUs."""
    words = np.random.SeedSequence(position).generate_state(4)
    random.seed(int(words[0]))
    np.random.seed(words[1])
    torch.manual_seed(int(words[2]) << 32 | int(words[3]))
