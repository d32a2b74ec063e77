"""Cost of a network, counted on the meta device: nothing is computed, so any size is quick."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from .compat.versions import flop_counter


@dataclass(frozen=True)
class Complexity:
    """Number of trained parameters, and multiply-adds for one image, which these papers call FLOPs."""

    parameters: int
    multiply_adds: int


def complexity(model: nn.Module, height: int, width: int, channels: int = 3) -> Complexity:
    """Return the cost of `model`, which lies on the meta device, for an image of `height` x `width` pixels.

    Matrix products, attention and convolutions are counted; norms, activations and sums are not, as is usual.
    """
    return counted(model, lambda: model(torch.empty(1, channels, height, width, device="meta")))


def counted(model: nn.Module, forward: Callable[[], object]) -> Complexity:
    """Return the cost of a model in what `forward` computes with it."""
    model.eval()
    with torch.no_grad(), flop_counter(model) as counter:
        forward()
    return Complexity(sum(parameter.numel() for parameter in model.parameters()), counter.get_total_flops() // 2)
