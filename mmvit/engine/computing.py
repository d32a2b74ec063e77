"""How a run computes: in bfloat16, with compiled parts, with deterministic operators.

mmengine's AmpOptimWrapper scales losses for float16 and does not run on a CPU. bfloat16 has the range of float32: losses need
no scaling, there is no scaler's state to save, and a run resumes as in float32.

Only backbone and neck are compiled: heads assign targets and sort boxes, which breaks a graph into many small ones. Sizes are
dynamic from the first image on, so that one compilation serves all sizes except for a few special cases (docs/performance.md).

`randomness=dict(deterministic=True)` makes torch alone raise RuntimeError on a GPU. It names what it has no deterministic form
of under `torch.use_deterministic_algorithms`. Of what our configs run, these are adaptive pooling (UperNet's), bicubic position
tables (VOLO's) and RoIAlign, for which this package has forms of its own, and the histograms of mmsegmentation's IoU. cuBLAS is
deterministic with a workspace of a fixed size only (NVIDIA's cuBLAS documentation, "Results Reproducibility").
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.optim import OptimWrapper
from mmengine.runner import Runner
from torch import nn

from ..compat.versions import COMPILING, require
from ..registry import HOOKS, OPTIM_WRAPPERS
from .models import unwrapped

PARTS = ("backbone", "neck")


@OPTIM_WRAPPERS.register_module()
class BFloat16OptimWrapper(OptimWrapper):
    """mmengine's OptimWrapper, with all of its options, whose forward passes run under autocast to bfloat16.

    Weights, gradients and the optimiser stay in float32.
    """

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        device = next(model.parameters()).device.type
        with super().optim_context(model), torch.autocast(device, torch.bfloat16):
            yield


@HOOKS.register_module()
class CompileHook(Hook):
    """Compiles the model's backbone and neck in place, before the first image. Names in checkpoints do not change.

    Args:
        options: of torch.compile, such as `backend`.
    """

    def __init__(self, **options: Any) -> None:
        self.options = options

    def before_train(self, runner: Runner) -> None:
        compile_parts(unwrapped(runner.model), **self.options)

    before_test = before_train


def compile_parts(model: nn.Module, **options: Any) -> None:
    """Compile a detector's or segmenter's parts that are not compiled yet. Raise InputError if this version of torch cannot."""
    require(COMPILING)
    for name in PARTS:
        part = getattr(model, name, None)
        if isinstance(part, nn.Module) and part._compiled_call_impl is None:
            part.compile(dynamic=True, **options)


@contextmanager
def whole_counts() -> Iterator[None]:
    """Let an evaluation count on a GPU: torch does not know that sums of whole numbers up to 2**24 are equal in any order."""
    strict = torch.are_deterministic_algorithms_enabled() and not torch.is_deterministic_algorithms_warn_only_enabled()
    if strict:
        torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        yield
    finally:
        if strict:
            torch.use_deterministic_algorithms(True)
