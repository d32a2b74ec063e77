"""Mixed precision in bfloat16, on CPUs as well.

mmengine's AmpOptimWrapper scales losses for float16 and does not run on a CPU. bfloat16 has the range of float32: losses need
no scaling, there is no scaler's state to save, and a run resumes as in float32.
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
