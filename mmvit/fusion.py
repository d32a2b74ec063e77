"""Batch norms folded into their neighbours, for inference.

A batch norm in eval mode scales and shifts each channel. The convolution before it, or a 1 x 1 convolution after it, does that
too, by other weights. The result is the same to rounding.
"""

from copy import deepcopy
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.fusion import fuse_conv_bn_eval

Module = TypeVar("Module", bound=nn.Module)


def fuse(model: Module) -> Module:
    """A copy of a backbone, or of a detector or segmenter with one of ours, for inference only.

    Batch norms inside VAN's blocks and behind the convolutions of stems are folded. Modules that know how have a method
    `fused`, which returns what stands for them. The names of parameters change: load weights before.
    """
    copy = deepcopy(model).eval()
    with torch.no_grad():
        _fuse_children(copy)
    return copy.requires_grad_(False)


def _fuse_children(module: nn.Module) -> None:
    for name, child in module.named_children():
        fused = getattr(child, "fused", None)
        if callable(fused):
            setattr(module, name, fused())
        else:
            _fuse_children(child)
    if isinstance(module, nn.Sequential):
        for index in range(1, len(module)):
            convolution, norm = module[index - 1], module[index]
            if isinstance(convolution, nn.Conv2d) and isinstance(norm, _BatchNorm):
                module[index - 1] = fuse_conv_bn_eval(convolution, norm)
                module[index] = nn.Identity()


def scale_and_shift(norm: _BatchNorm) -> tuple[Tensor, Tensor]:
    """What a batch norm in eval mode does to each channel: x * scale + shift, both (C,)."""
    mean, variance = norm.get_buffer("running_mean"), norm.get_buffer("running_var")
    scale = norm.weight / (variance + norm.eps).sqrt()
    return scale, norm.bias - mean * scale


def after_norm(norm: _BatchNorm, convolution: nn.Conv2d) -> nn.Conv2d:
    """A 1 x 1 convolution that does what this one does behind the batch norm."""
    scale, shift = scale_and_shift(norm)
    fused = deepcopy(convolution)
    fused.weight.mul_(scale[:, None, None])
    fused.get_parameter("bias").add_(convolution.weight.flatten(1) @ shift)
    return fused


def before_scale(convolution: nn.Conv2d, scale: Tensor, shift: Tensor | float = 0.0) -> nn.Conv2d:
    """A convolution that does what this one does, shifted and then scaled in each channel."""
    fused = deepcopy(convolution)
    fused.weight.mul_(scale[:, None, None, None])
    fused.get_parameter("bias").add_(shift).mul_(scale)
    return fused
