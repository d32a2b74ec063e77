"""mmengine's training loops, resumed bit for bit.

Differences from mmengine's:
- Random numbers are a function of (seed, rank, iteration): see `batches`. mmengine's checkpoints contain the
  seed; the number of processes must stay the same.
- A resumed run continues at the exact batch, even in the middle of an epoch, and loads none of the batches before it.
- A validation that was killed is repeated.
- Files of the run are complete or do not exist, no matter which hook writes them.
- SIGTERM and Ctrl-C save and exit, with status 128 + the signal's number.
"""

import sys
from collections.abc import Callable, Iterator
from typing import Any

import torch
from mmengine.dist import barrier, get_rank, get_world_size
from mmengine.runner import BaseLoop, Runner
from mmengine.runner import EpochBasedTrainLoop as EpochBased
from mmengine.runner import IterBasedTrainLoop as IterBased
from torch import nn
from torch.utils.data import DataLoader

from ..layers.forms import forms_in_training
from ..layers.pooling import replace_pooling
from ..registry import LOOPS
from . import storage
from .batches import PlannedLoader, Position, begin_streams, planned, require_even
from .checkpoints import save_interrupted
from .computing import whole_counts
from .interruption import Interruption
from .models import largest, of_first

# Keys in the message hub:
VALIDATED = "iter_validated"  # iteration after which the last validation began; the log would show a key that begins with "val"
EPOCH_BEGAN = "epoch_began"  # an epoch and the iteration of its first batch
BATCHES = "batches"  # see `Exact.batches`
FORMS = "forms"  # what `forms_in_training` returned


class Exact(BaseLoop):
    """Additions of both loops to mmengine's."""

    runner: Runner
    dataloader: PlannedLoader
    interruption: Interruption
    seed: int
    steps: int = 0  # iterations that this process has done
    run_iter: Callable[..., None]
    _iter: int

    def __init__(self, runner: Runner, dataloader: DataLoader | dict, **settings: Any) -> None:
        if isinstance(dataloader, dict):
            different = runner._randomness_cfg.get("diff_rank_seed", False)
            loader = runner.build_dataloader(dataloader, seed=runner.seed, diff_rank_seed=different)
        else:
            loader = dataloader
        super().__init__(runner, planned(loader), **settings)
        storage.install()

    def begin(self) -> None:
        """Set the seed, possibly from a checkpoint: rank 0's on all ranks, because `diff_rank_seed` gives each another one."""
        self.seed = of_first(self.runner.seed)
        self.dataloader.begin(self.seed, get_rank())
        self.runner.message_hub.update_info(BATCHES, self.batches())
        self.runner.message_hub.update_info(FORMS, forms_in_training(next(self.runner.model.parameters()).device.type))
        if torch.are_deterministic_algorithms_enabled():
            replace_pooling(self.runner.model)

    def batches(self) -> dict[str, int]:
        """Return the sizes that determine how many images an iteration stands for."""
        return {
            "train_dataloader.batch_size": self.dataloader.batch_sampler.batch_size,
            "number of processes": get_world_size(),
        }

    def train_iteration(self, *arguments: Any) -> None:
        """Call mmengine's `run_iter` with the random streams of this iteration; then save and exit if a signal arrived."""
        begin_streams(Position(self.seed, get_rank(), self._iter))
        self.run_iter(*arguments)
        self.steps += 1
        number = largest(self.interruption.number)  # of the signals that the processes received
        if number and self.runner.optim_wrapper.should_update():  # otherwise accumulated gradients would be lost
            save_interrupted(self.runner)
            barrier()  # a launcher that sees one process end would kill the one that saves
            sys.exit(128 + number)

    def fetched(self, batches: Iterator[Any]) -> Iterator[Any]:
        """Yield the batches. If one is lost because a signal also ended the data workers, save and exit."""
        while True:
            try:
                batch = next(batches)
            except StopIteration:
                return
            except RuntimeError:
                if not self.interruption.number:
                    raise
                save_interrupted(self.runner)
                sys.exit(128 + self.interruption.number)
            yield batch

    def validate_if(self, due: bool) -> None:
        """Validate if it is due and was not done after this iteration.

        The message hub notes the validation before it begins, because a validation with the best result so far writes a
        checkpoint, which must contain the note.
        """
        hub = self.runner.message_hub
        done = hub.runtime_info.get(VALIDATED) == self._iter
        if due and not done and self._iter and self.runner.val_loop is not None:
            hub.update_info(VALIDATED, self._iter)
            begin_streams(Position(self.seed, get_rank(), self._iter))
            with whole_counts():
                self.runner.val_loop.run()


@LOOPS.register_module()
class EpochBasedTrainLoop(Exact, EpochBased):
    """mmengine's loop over epochs, with its options: `max_epochs`, `val_begin`, `val_interval`, `dynamic_intervals`."""

    def run(self) -> nn.Module:
        """Train from the beginning or from the resumed checkpoint, and return the model."""
        self.runner.call_hook("before_train")
        self.begin()
        require_even(self.dataloader)
        with Interruption() as self.interruption:
            self._validate_if_due()
            while self._epoch < self._max_epochs and not self.stop_training:
                self.run_epoch()
                self._validate_if_due()
        self.runner.call_hook("after_train")
        return self.runner.model

    def run_epoch(self) -> None:
        self.runner.call_hook("before_train_epoch")
        self.runner.model.train()
        first = self._first_iteration()
        batches = self.dataloader.epoch(self._epoch, first, start=self._iter)
        for number, batch in enumerate(self.fetched(batches), self._iter - first):
            self.train_iteration(number, batch)
        self.runner.call_hook("after_train_epoch")
        self._epoch += 1

    def _first_iteration(self) -> int:
        """Return the iteration at which this epoch began: now, unless the checkpoint is from its middle."""
        epoch, first = self.runner.message_hub.runtime_info.get(EPOCH_BEGAN, (None, 0))
        if epoch != self._epoch:
            first = self._iter
            self.runner.message_hub.update_info(EPOCH_BEGAN, [self._epoch, first])
        return first

    def _validate_if_due(self) -> None:
        self._decide_current_val_interval()
        ended = self.runner.message_hub.runtime_info.get(EPOCH_BEGAN, [None])[0] != self._epoch
        at = self._epoch % self.val_interval == 0 or self._epoch == self._max_epochs
        self.validate_if(ended and self._epoch >= self.val_begin and at)


@LOOPS.register_module()
class IterBasedTrainLoop(Exact, IterBased):
    """mmengine's loop over iterations, with its options: `max_iters`, `val_begin`, `val_interval`, `dynamic_intervals`."""

    def run(self) -> nn.Module:
        """Train from the beginning or from the resumed checkpoint, and return the model."""
        self.runner.call_hook("before_train")
        self.begin()
        self.runner.call_hook("before_train_epoch")  # the whole training is one epoch to mmengine's hooks
        self.dataloader_iterator = self.fetched(self.dataloader.epoch(0, first=0, start=self._iter, endless=True))
        with Interruption() as self.interruption:
            self._validate_if_due()
            while self._iter < self._max_iters and not self.stop_training:
                self.runner.model.train()
                self.train_iteration(next(self.dataloader_iterator))
                self._validate_if_due()
        self.runner.call_hook("after_train_epoch")
        self.runner.call_hook("after_train")
        return self.runner.model

    def _validate_if_due(self) -> None:
        self._decide_current_val_interval()
        at = self._iter % self.val_interval == 0 or self._iter == self._max_iters
        self.validate_if(self._iter >= self.val_begin and at)
