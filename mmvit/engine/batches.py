"""Batches of training data as a function of (seed, rank, iteration), which makes a resumed run exact.

mmengine's samplers already give an order that depends on the seed and the epoch only. Two things are added: the loader can
begin at any batch of that order without loading the ones before. And the streams of Python, NumPy and torch are seeded anew for
each training step and each sample, from (seed, rank, iteration) and the sample's place in its batch: it matters neither which
worker loads a sample nor what that worker did before, and no generator has to be saved.
"""

import random
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from mmengine.dist import get_world_size
from torch.utils.data import DataLoader, Dataset

from ..errors import InputError
from .models import largest


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


class Draw(NamedTuple):
    """Sample of a batch: its index in the dataset (`sample`), and the random streams that it is loaded with."""

    sample: int
    position: Position


def load_batch(dataset: Dataset, batch: Sequence[Draw | int]) -> list[Any]:
    """Return the samples of a batch; its entries are plain indices where another loader reads the same dataset."""
    samples = []
    for entry in batch:
        if isinstance(entry, Draw):
            begin_streams(entry.position)
        samples.append(dataset[entry.sample if isinstance(entry, Draw) else entry])
    return samples


class Plan:
    """Batches of a batch sampler as lists of `Draw`, from any iteration on."""

    def __init__(self, batches: Any) -> None:
        self.batches = batches
        self.seed = self.rank = 0  # of the run; see `Position`
        self.epoch = self.first = 0  # that the sampler is at, and the iteration of its first batch
        self.start = 0  # iteration of the first batch to load; those before are only counted
        self.endless = False  # whether further epochs follow
        self.sampler: Any = getattr(batches, "sampler", None)

    def __len__(self) -> int:
        return len(self.batches)

    def __getattr__(self, name: str) -> Any:
        if name == "batches":  # missing in a copy that pickle is about to fill
            raise AttributeError(name)
        return getattr(self.batches, name)  # batch_size, drop_last, ...

    def __iter__(self) -> Iterator[list[Draw]]:
        """Yield the batches. Raise InputError in an epoch without a batch."""
        epoch, iteration = self.epoch, self.first
        while True:
            began = iteration
            if hasattr(self.sampler, "set_epoch"):
                self.sampler.set_epoch(epoch)
            begin_streams(Position(self.seed, self.rank, iteration))  # torch's own samplers draw from the global generator
            for indices in self.batches:
                if iteration >= self.start:
                    yield [Draw(index, Position(self.seed, self.rank, iteration, at)) for at, index in enumerate(indices, 1)]
                iteration += 1
            if iteration == began:
                raise _nothing()
            if not self.endless:
                return
            epoch += 1


class PlannedLoader(DataLoader):
    """Training loader whose batches follow a `Plan`. It begins to load when the first batch is requested."""

    batch_sampler: Plan

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        yield from super().__iter__()

    def begin(self, seed: int, rank: int) -> None:
        """Set the seed of the order and of all samples."""
        plan = self.batch_sampler
        plan.seed, plan.rank = seed, rank
        if hasattr(plan.sampler, "seed"):
            plan.sampler.seed = seed

    def epoch(self, epoch: int, first: int, start: int, endless: bool = False) -> Iterator[Any]:
        """Return the batches of an epoch, or if `endless`, of that one and all that follow.

        Args:
            epoch: its number, which the order depends on.
            first: iteration of its first batch.
            start: iteration to begin at.
        """
        plan = self.batch_sampler
        plan.epoch, plan.first, plan.start, plan.endless = epoch, first, start, endless
        return iter(self)


def planned(loader: DataLoader) -> PlannedLoader:
    """Return the same loader, following a plan. The dataset stays the same object, so that hooks may change it as usual.

    Raises:
        InputError: a loader without batches of indices, or without samples.
    """
    if loader.batch_sampler is None:
        raise InputError(
            "train_dataloader: mmvit's loops need a dataset with indices and a batch_size, got an iterable dataset or "
            "batch_size=None; take train_cfg.type='mmengine.IterBasedTrainLoop', whose resume is not exact"
        )
    dataset: Any = loader.dataset
    if len(dataset) == 0:
        raise _nothing()  # some samplers would search its first index forever
    dataset.__getitems__ = partial(load_batch, dataset)
    names = ("num_workers", "collate_fn", "pin_memory", "timeout", "worker_init_fn", "multiprocessing_context")
    options = {name: getattr(loader, name) for name in (*names, "prefetch_factor", "persistent_workers", "pin_memory_device")}
    return PlannedLoader(dataset, batch_sampler=Plan(loader.batch_sampler), **options)


def require_even(loader: PlannedLoader) -> None:
    """Check that all processes get as many batches in an epoch: those with more would wait for the others.

    Raises:
        InputError: they may get different numbers.
    """
    plan = loader.batch_sampler
    by_shape = "AspectRatio" in type(plan.batches).__name__ and plan.drop_last and get_world_size() > 1
    if by_shape or largest(len(plan)) != -largest(-len(plan)):
        raise InputError(
            "train_dataloader: the processes get different numbers of batches in an epoch. Expected a sampler with "
            "round_up=True and, in several processes, a batch sampler by shape with drop_last=False"
        )


def _nothing() -> InputError:
    return InputError(
        "train_dataloader gives no batch: its dataset is empty, nothing of it is left after filter_cfg, or it is smaller than "
        "a batch with drop_last; python -m mmvit doctor CONFIG --data shows what it contains"
    )
