"""Losses and gradients that are not finite: detected before they reach the weights, traced to the module that causes them."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.optim import OptimWrapperDict
from mmengine.runner import Runner
from torch import Tensor, nn

from ..compat.versions import total_norm
from ..errors import InputError
from ..registry import HOOKS
from .batches import Position, begin_streams
from .checkpoints import advice, first_nonfinite
from .models import largest, unwrapped


@HOOKS.register_module()
class FiniteLossHook(Hook):
    """Hook that skips a training step whose loss is NaN or infinite on any process, and stops the run after several in a row.

    Such a step changes no weight. Where gradients are accumulated, the other batches of the update count, unless its last one
    is skipped. The run stops at once if going on could not help: a weight or a statistic of a batch norm is no longer finite,
    or gradients are not although the loss is. Under mixed precision, gradients that are not finite are left to the scaler,
    which skips such a step.

    Args:
        patience: number of steps in a row that may be skipped; the run stops at the next.
    """

    def __init__(self, patience: int = 3) -> None:
        self.patience = patience
        self.left_out = 0
        self.batch: Any = None

    def before_train(self, runner: Runner) -> None:
        self.runner = runner
        several = isinstance(runner.optim_wrapper, OptimWrapperDict)
        self.wrappers: list[Any] = list(runner.optim_wrapper.values()) if several else [runner.optim_wrapper]
        self.updates = [wrapper.update_params for wrapper in self.wrappers]
        for wrapper in self.wrappers:
            wrapper.update_params = partial(self._update_params, wrapper, wrapper.update_params)
        self.handles = [wrapper.optimizer.register_step_pre_hook(self._check_gradients) for wrapper in self.wrappers]

    def after_train(self, runner: Runner) -> None:
        for wrapper, update, handle in zip(self.wrappers, self.updates, self.handles, strict=True):
            wrapper.update_params = update
            handle.remove()

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        self.batch = data_batch

    def _update_params(self, wrapper: Any, update: Callable, loss: Tensor, *arguments: Any, **options: Any) -> None:
        if not largest(not torch.isfinite(loss.detach()).all()):  # on no process
            self.left_out = 0
            update(loss, *arguments, **options)
            return
        self.left_out += 1
        what = f"iteration {self.runner.iter + 1}: the loss is {loss.item():g}"
        model = unwrapped(self.runner.model)
        if name := first_nonfinite(model.state_dict(), dict(model.named_buffers())):
            raise InputError(f"{what}, and {name} holds values that are not finite. {advice(self.runner.work_dir)}")
        source = self._source(wrapper)
        if self.left_out > self.patience:
            raise InputError(f"{what}, for {self.left_out} steps in a row. {source}. {advice(self.runner.work_dir)}")
        self.runner.logger.warning(f"{what}; this step is skipped ({self.left_out} of {self.patience} in a row). {source}")
        wrapper._inner_count += 1  # where gradients are accumulated, the other steps stay where they were
        if wrapper.should_update():
            wrapper.zero_grad()  # processes would have exchanged those before in the backward pass that is left out

    def _check_gradients(self, optimizer: torch.optim.Optimizer, *_: Any) -> None:
        if getattr(optimizer, "found_inf", None) is not None:
            return  # fused: the scaler has counted what is not finite, and the kernel unscales and skips by it
        gradients = [entry.grad for group in optimizer.param_groups for entry in group["params"] if entry.grad is not None]
        if torch.isfinite(total_norm(gradients)):
            return
        model = unwrapped(self.runner.model)
        parameters = {name: entry.grad for name, entry in model.named_parameters() if entry.grad is not None}
        name = first_nonfinite(parameters)
        if name is None:
            return  # finite gradients with infinite squares: clipping handles them
        raise InputError(
            f"iteration {self.runner.iter + 1}: the gradient of {name} is not finite, although the loss is. "
            f"{advice(self.runner.work_dir)}"
        )

    def _source(self, wrapper: Any) -> str:
        """Name the first module whose output is not finite, for the current batch."""
        begin_streams(Position(getattr(self.runner.train_loop, "seed", self.runner.seed), get_rank(), self.runner.iter))
        model: Any = unwrapped(self.runner.model)
        with torch.no_grad(), wrapper.optim_context(model), watched(model) as found:
            try:
                losses = model._run_forward(model.data_preprocessor(self.batch, True), mode="loss")
            except Exception as error:
                return f"The forward pass fails when it is repeated: {type(error).__name__}: {error}"
        if found:
            return f"The first values that are not finite come from {found[0]}"
        bad = [name for name, value in losses.items() if not all_finite(value)]
        if bad:
            return f"All modules return finite values; {', '.join(bad)}, computed from them, is not finite"
        return "On this process, the same batch gives a finite loss when it is repeated"


@contextmanager
def watched(model: nn.Module) -> Iterator[list[str]]:
    """Yield a list that receives the name of the first module whose output is not finite, as the model runs."""
    found: list[str] = []

    def look(name: str, module: nn.Module, inputs: Any, output: Any) -> None:
        if not found and not all_finite(output):
            given = "" if all_finite(inputs) else ", whose input is not finite either"
            found.append(f"{name} ({type(module).__name__}){given}")

    handles = [module.register_forward_hook(partial(look, name or "the model")) for name, module in model.named_modules()]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


def all_finite(values: Any) -> bool:
    """Return whether all floating-point tensors in nested lists, tuples and dicts are finite."""
    if isinstance(values, Tensor):
        return not values.is_floating_point() or bool(torch.isfinite(values).all())
    if isinstance(values, dict):
        values = list(values.values())
    return not isinstance(values, list | tuple) or all(map(all_finite, values))
