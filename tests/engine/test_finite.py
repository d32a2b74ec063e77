"""Losses, gradients and weights that are not finite: skipped, named, and never saved."""

import math
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.optim import OptimWrapper, OptimWrapperDict
from mmengine.registry import HOOKS, MODELS
from mmengine.runner import Runner, find_latest_checkpoint
from small_run import BFLOAT16, Classifier, KillHook, kill, runner, train
from torch import Tensor, nn

from mmvit.compat.checkpoints import safe_load
from mmvit.compat.versions import TORCH
from mmvit.engine.checkpoints import first_nonfinite
from mmvit.engine.finite import FiniteLossHook
from mmvit.errors import CheckpointError, InputError

pytestmark = pytest.mark.stack
each_precision = pytest.mark.parametrize("options", [{}, dict(optim_wrapper=BFLOAT16)], ids=["float32", "bfloat16"])


@each_precision
def test_a_loss_that_is_not_finite_is_left_out(tmp_path: Path, capsys: pytest.CaptureFixture, options: dict[str, Any]) -> None:
    """The third loss is infinite: no weight changes, the others are trained on, and the module is named."""
    hooks = [dict(type="mmvit.FiniteLossHook"), dict(type="KillHook", at=3)]
    run = runner(tmp_path, hooks, poison=3, log_level="WARNING", **options)
    kept: list[Tensor] = []
    run.register_hook(Watch(kept))
    kill(run)
    assert [torch.equal(*pair) for pair in pairwise(kept)] == [False, True]
    assert "iteration 3: the loss is inf; this step is skipped (1 of 3 in a row)" in capsys.readouterr().out


@MODELS.register_module()
class Alternating(Classifier):
    """A model whose backbone and head have an optimiser each."""

    def train_step(self, data: Any, optim_wrapper: Any) -> dict:
        for wrapper in optim_wrapper.values():
            losses = self._run_forward(self.data_preprocessor(data, True), mode="loss")
            wrapper.update_params(losses["loss"])
        return losses


def test_several_optimisers_are_guarded(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """The third loss, after which the backbone would change in the second iteration, is infinite."""
    model = Alternating(poison=3)
    parts = dict(backbone=model.backbone, head=model.head)
    wrappers = {name: OptimWrapper(torch.optim.AdamW(part.parameters(), lr=1e-2)) for name, part in parts.items()}
    hooks = [dict(type="mmvit.FiniteLossHook"), dict(type="KillHook", at=3)]
    options = dict(optim_wrapper=OptimWrapperDict(**wrappers), param_scheduler=None, log_level="WARNING")
    kept: dict[str, list[Tensor]] = dict(backbone=[], head=[])
    run = runner(tmp_path, hooks, model=model, **options)
    for name, part in parts.items():
        run.register_hook(Watch(kept[name], next(part.parameters())))
    kill(run)
    assert {name: [torch.equal(*pair) for pair in pairwise(values)] for name, values in kept.items()} == dict(
        backbone=[True, False], head=[False, False]
    )
    assert "iteration 2: the loss is inf; this step is skipped (1 of 3 in a row)" in capsys.readouterr().out


@pytest.mark.parametrize(("poison", "updates"), [(2, [4, 8, 12]), (4, [8, 12]), (12, [4, 8])])
def test_accumulated_gradients_are_applied_where_they_were(tmp_path: Path, poison: int, updates: list[int]) -> None:
    """Weights change after the same iterations, so that checkpoints between them lose nothing; the last update is not lost."""
    wrapper = dict(optimizer=dict(type="AdamW", lr=1e-2), accumulative_counts=4)
    run = runner(tmp_path, [dict(type="mmvit.FiniteLossHook")], poison=poison, optim_wrapper=wrapper)
    kept = [run.model.head[1].weight.detach().clone()]
    run.register_hook(Watch(kept))
    run.train()
    assert [number for number, pair in enumerate(pairwise(kept), 1) if not torch.equal(*pair)] == updates
    assert run.model.head[1].weight.grad is None


class Watch(Hook):
    def __init__(self, kept: list[Tensor], weight: Tensor | None = None) -> None:
        self.kept, self.weight = kept, weight

    def after_train_iter(self, runner: Runner, *_: Any, **__: Any) -> None:
        weight = runner.model.head[1].weight if self.weight is None else self.weight
        self.kept.append(weight.detach().clone())


def test_losses_that_stay_infinite_stop_the_run(tmp_path: Path) -> None:
    run = runner(tmp_path, [dict(type="mmvit.FiniteLossHook", patience=2), dict(type="BreakHook", at=3)])
    with pytest.raises(InputError, match=r"iteration 5: the loss is nan, for 3 steps in a row") as raised:
        train(run)
    said = str(raised.value)
    assert "The first values that are not finite come from head.1 (Linear)." in said
    assert f"The last good checkpoint is {tmp_path}/iter_4.pth" in said
    assert first_nonfinite(safe_load(find_latest_checkpoint(str(tmp_path)))["state_dict"]) is None


@HOOKS.register_module()
class BreakHook(KillHook):
    """Makes a module's output NaN from an iteration on."""

    def __init__(self, at: int) -> None:
        super().__init__(at, "before_train_iter")

    def count(self, runner: Runner, **_: Any) -> None:
        self.left -= 1
        if not self.left:
            runner.model.head[1].register_forward_hook(lambda module, inputs, output: output * math.nan)


def test_weights_that_are_not_finite_are_not_saved(tmp_path: Path) -> None:
    """Without the hook that guards the loss, the checkpoint hook still refuses, and the last good one stays."""
    with pytest.raises(CheckpointError, match=r"not saved: \S+ has values that are not finite after iteration 3") as raised:
        train(runner(tmp_path, poison=3))
    assert f"The last good checkpoint is {tmp_path}/iter_2.pth" in str(raised.value)
    assert first_nonfinite(safe_load(tmp_path / "iter_2.pth")["state_dict"]) is None


@each_precision
def test_a_gradient_that_is_not_finite_is_named(tmp_path: Path, options: dict[str, Any]) -> None:
    """The root of 0 is 0, its derivative infinite."""
    run = runner(tmp_path, [dict(type="mmvit.FiniteLossHook")], **options)
    run.model.head[1].bias.register_hook(lambda gradient: gradient / 0)
    with pytest.raises(InputError, match=r"iteration 1: the gradient of head.1.bias is not finite, although the loss is"):
        train(run)


def test_masks_of_attention_may_be_infinite(tmp_path: Path) -> None:
    run = runner(tmp_path, [dict(type="KillHook", at=1)])
    run.model.register_buffer("mask", torch.full((2,), -math.inf))
    kill(run)
    assert (tmp_path / "iter_1.pth").is_file()


def test_a_fused_optimiser_leaves_overflows_to_the_scaler(tmp_path: Path) -> None:
    """It steps with the scaled gradients, and its kernel skips the step: the scaler counts, and the run goes on."""
    scaler_class = getattr(torch.amp, "GradScaler", None)
    if scaler_class is None or TORCH < (2, 4):
        pytest.skip("fused optimisers on a CPU: torch 2.4")
    weight = torch.ones(3, requires_grad=True)
    optimizer = torch.optim.AdamW([weight], 1e-3, fused=True)
    hook = FiniteLossHook()
    hook.runner = SimpleNamespace(model=nn.Module(), iter=0, work_dir=tmp_path)
    hook.runner.model.weight = nn.Parameter(weight)
    optimizer.register_step_pre_hook(hook._check_gradients)
    scaler = scaler_class("cpu")
    scaler.scale((weight * 1e34).sum()).backward()
    assert not weight.grad.isfinite().any()
    hook.runner.model.weight.grad = weight.grad
    scaler.step(optimizer)
    assert torch.equal(weight, torch.ones(3))
    with pytest.raises(InputError, match="the gradient of weight is not finite"):
        optimizer.step()
