"""Depthwise convolutions of channels-last maps on a CPU, where oneDNN is slow for large ones.

A dilated convolution of stride 1 consists of one convolution without dilation for each phase: rows and columns that are
congruent modulo the dilation see only each other. The gradient of the map is the convolution with the flipped kernel. The
gradient of the kernel is a sum over bands of rows that fit into the cache. All of it is torch's own convolution, on parts of
the map. As operators of torch's, both stay whole in compiled programs.
"""

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import conv_flop_count

from ..compat.versions import autocast_dtype, flop_formula, operator
from ..layers.bands import is_plain
from ..layers.forms import PHASES

BAND = 16  # rows
Phase = tuple[slice, slice, slice, slice]


def depthwise(convolution: nn.Conv2d, feature_map: Tensor) -> Tensor:
    """Return `convolution(feature_map)` for stride 1, one odd kernel a channel, and padding that keeps the size."""
    is_ours = PHASES.runs_on(feature_map) and feature_map.is_contiguous(memory_format=torch.channels_last)
    if not is_ours or not is_plain(convolution, nn.Conv2d):
        return convolution(feature_map)
    kernels, bias = convolution.weight, convolution.bias
    if (dtype := autocast_dtype("cpu")) is not None:
        feature_map, kernels = feature_map.to(dtype), kernels.to(dtype)
        bias = None if bias is None else bias.to(dtype)
    return convolve(feature_map, kernels, bias, convolution.dilation[0])


@operator("mmvit::depthwise")
def convolve(feature_map: Tensor, kernels: Tensor, bias: Tensor | None, dilation: int) -> Tensor:
    """Return the convolution of a (B, C, h, w) map by (C, 1, k, k) kernels with a (C,) bias, channels-last."""
    channels, padding = kernels.shape[0], kernels.shape[2] // 2
    feature_map = feature_map.contiguous(memory_format=torch.channels_last)
    if dilation == 1:
        return F.conv2d(feature_map, kernels, bias, padding=padding, groups=channels)
    mixed = torch.empty_like(feature_map)
    for phase in phases(feature_map, dilation):
        part = feature_map[phase].contiguous(memory_format=torch.channels_last)
        mixed[phase] = F.conv2d(part, kernels, bias, padding=padding, groups=channels)
    return mixed


@operator("mmvit::depthwise_kernels")
def gradient_of_kernels(gradient: Tensor, feature_map: Tensor, kernels: Tensor, dilation: int) -> Tensor:
    """Return the gradient of `kernels`, given that of `convolve`; its sums have at least float32's precision."""
    total = torch.zeros_like(kernels, dtype=torch.promote_types(kernels.dtype, torch.float32))
    for phase in phases(feature_map, dilation):
        part, upstream = (tensor[phase].contiguous(memory_format=torch.channels_last) for tensor in (feature_map, gradient))
        rows, halo = part.shape[2], kernels.shape[2] // 2
        for start in range(0, rows, BAND):
            stop = min(start + BAND, rows)
            above, below = min(start, halo), min(rows - stop, halo)  # rows that are there
            band = F.pad(part[:, :, start - above : stop + below], (0, 0, halo - above, halo - below))
            total += kernel_gradient(upstream[:, :, start:stop], band, kernels, halo)
    return total.to(kernels.dtype)


def phases(feature_map: Tensor, dilation: int) -> Iterator[Phase]:
    height, width = feature_map.shape[2:]
    whole = slice(None)
    for top in range(min(dilation, height)):
        for left in range(min(dilation, width)):
            yield whole, whole, slice(top, None, dilation), slice(left, None, dilation)


def kernel_gradient(gradient: Tensor, feature_map: Tensor, kernels: Tensor, padding: int) -> Tensor:
    """Return the gradient of the kernels of a convolution that pads columns only."""
    channels, one = kernels.shape[0], [1, 1]
    wanted = [False, True, False]
    return torch.ops.aten.convolution_backward(
        gradient, feature_map, kernels, [channels], one, [0, padding], one, False, [0, 0], channels, wanted
    )[1]


@convolve.register_fake
def _(feature_map: Tensor, kernels: Tensor, bias: Tensor | None, dilation: int) -> Tensor:
    return torch.empty_like(feature_map, memory_format=torch.channels_last)


@gradient_of_kernels.register_fake
def _(gradient: Tensor, feature_map: Tensor, kernels: Tensor, dilation: int) -> Tensor:
    return torch.empty_like(kernels)


def keep(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    feature_map, kernels, _, ctx.dilation = inputs
    ctx.save_for_backward(feature_map, kernels)


def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
    feature_map, kernels = ctx.saved_tensors
    of_map, of_kernels, of_bias = ctx.needs_input_grad[:3]
    return (
        convolve(gradient, kernels.flip(2, 3), None, ctx.dilation) if of_map else None,
        gradient_of_kernels(gradient, feature_map, kernels, ctx.dilation) if of_kernels else None,
        gradient.sum(dim=(0, 2, 3)) if of_bias else None,
        None,
    )


convolve.register_autograd(backward, setup_context=keep)


@flop_formula("mmvit::depthwise")
def flops(feature_map: Any, kernels: Any, *others: Any, out_shape: Any, **options: Any) -> int:
    return conv_flop_count(feature_map, kernels, out_shape)
