"""torch.compile for the parts of a model that are one graph: backbone and neck.

Heads assign targets and sort boxes, which breaks a graph into many small ones. Sizes are dynamic from the first image on, so
that one compilation serves all sizes except for a few special cases (see docs/performance.md).
"""

from typing import Any

from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import nn

from ..registry import HOOKS
from .models import unwrapped

PARTS = ("backbone", "neck")


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
    """Compile the parts of a detector or segmenter that are not compiled yet."""
    for name in PARTS:
        part = getattr(model, name, None)
        if isinstance(part, nn.Module) and part._compiled_call_impl is None:
            part.compile(dynamic=True, **options)
