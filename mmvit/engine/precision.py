"""Mixed precision in bfloat16, on CPUs as well.

mmengine's AmpOptimWrapper scales losses for float16, and refuses a CPU. bfloat16 has float32's range: nothing is scaled, and
nothing has to be saved beside the optimiser, so that a run resumes as it does in float32.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from mmengine.optim import OptimWrapper
from torch import nn

from ..registry import OPTIM_WRAPPERS


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
