"""Deformable convolution, version 1 (`deform_conv_*`) and 2 (`modulated_deform_conv_*`), through torchvision's kernels.

Semantics: mmcv's csrc/pytorch/deform_conv.cpp, modulated_deform_conv.cpp and cpu/*.cpp of the same names. Input is
(B, C, H, W), weight (O, C / group, kH, kW), output (B, O, h, w), offset (B, G * kH * kW * 2, h, w) with rows before
columns, mask (B, G * kH * kW, h, w), where G is `deformable_group`. `columns` and `ones` are mmcv's scratch memory and are not
used, nor is `im2col_step`, its number of samples at a time. mmcv passes sizes as keywords.

mmcv and torchvision differ in two things, which are adapted here:
- Version 2 of mmcv never looks at the shape of offset and mask. It reads the memory of each sample from its start as if
  it had the output's size. DyHead relies on this: it applies one level's offsets to the next, smaller level.
- A tap exactly one pixel above or left of the map, where untrained offsets of zero put it, has no gradient in mmcv.
"""

from collections.abc import Mapping

import torch
import torchvision  # noqa: F401  registers torch.ops.torchvision
from torch import Tensor

from .kernel import kernel, wide

# mmcv's keywords for the rows and columns of kernel, stride, padding and dilation, in version 1 and in version 2.
FIRST = (("kH", "kW"), ("dH", "dW"), ("padH", "padW"), ("dilationH", "dilationW"))
SECOND = (("kernel_h", "kernel_w"), ("stride_h", "stride_w"), ("pad_h", "pad_w"), ("dilation_h", "dilation_w"))


class _Geometry:
    """Sizes of one call. Pairs are (height, width).

    Args:
        input: the maps.
        sizes: mmcv's keywords.
        names: those of them that are pairs: `FIRST` or `SECOND`.
    """

    def __init__(self, input: Tensor, sizes: Mapping[str, int], names: tuple[tuple[str, str], ...]) -> None:
        self.map_size = tuple(input.shape[2:])
        pairs = [(sizes[down], sizes[across]) for down, across in names]
        self.kernel_size, self.stride, self.padding, self.dilation = pairs
        self.groups, self.offset_groups = sizes["group"], sizes["deformable_group"]
        self.taps = self.offset_groups * self.kernel_size[0] * self.kernel_size[1]
        self.output_size = tuple(
            (size + 2 * pad - (spread * (taps - 1) + 1)) // step + 1
            for size, taps, step, pad, spread in zip(self.map_size, *pairs, strict=True)
        )
        if min(self.output_size) < 1:
            raise RuntimeError(f"a map of {self.map_size} is too small for a kernel of {self.kernel_size}: no output is left")

    def arguments(self, input: Tensor, weight: Tensor, offset: Tensor, mask: Tensor | None) -> tuple:
        """Return what torchvision's kernels take; `offset` as `read_offset` returns it."""
        maps, weight = wide(input), wide(weight)
        taps = maps.new_zeros(len(maps), 1) if mask is None else self.read("mask", mask, self.taps)
        sizes = (*self.stride, *self.padding, *self.dilation, self.groups, self.offset_groups, mask is not None)
        return (maps, weight, offset, taps, maps.new_zeros(len(weight)), *sizes)  # without a bias

    def read_offset(self, offset: Tensor) -> Tensor:
        return self.read("offset", offset, 2 * self.taps)

    def read(self, name: str, tensor: Tensor, channels: int) -> Tensor:
        """Return the memory of each sample of `tensor`, read from its start, as (B, channels, *output_size)."""
        needed = channels * self.output_size[0] * self.output_size[1]
        memory = wide(tensor).flatten(1)
        if memory.shape[1] < needed:
            raise RuntimeError(
                f"{name} of shape {tuple(tensor.shape)} is too small: an output of {self.output_size} needs "
                f"{channels} channels of that size"
            )
        return memory[:, :needed].reshape(-1, channels, *self.output_size)

    def off_the_edge(self, offset: Tensor) -> Tensor:
        """Return `offset` with taps at exactly -1 moved one pixel farther out, where torchvision has no gradient either."""
        taps = offset.unflatten(1, (self.offset_groups, *self.kernel_size, 2))
        rows = self._undisturbed(0, offset)[:, None, :, None]
        columns = self._undisturbed(1, offset)[None, :, None, :]
        moved = [
            torch.where(start + shift == -1, shift - 1, shift)
            for start, shift in zip((rows, columns), taps.unbind(4), strict=True)
        ]
        return torch.stack(moved, 4).flatten(1, 4)

    def _undisturbed(self, axis: int, like: Tensor) -> Tensor:
        """Return (taps, outputs) of one axis: where each tap of the kernel lies for each output while its offset is zero."""
        taps = torch.arange(self.kernel_size[axis], device=like.device, dtype=like.dtype) * self.dilation[axis]
        outputs = torch.arange(self.output_size[axis], device=like.device, dtype=like.dtype) * self.stride[axis]
        return taps[:, None] + (outputs - self.padding[axis])


def _forward(geometry: _Geometry, input: Tensor, weight: Tensor, offset: Tensor, mask: Tensor | None) -> Tensor:
    return torch.ops.torchvision.deform_conv2d(*geometry.arguments(input, weight, geometry.read_offset(offset), mask))


def _backward(
    geometry: _Geometry, grad_output: Tensor, input: Tensor, weight: Tensor, offset: Tensor, mask: Tensor | None
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the gradients of input, weight, offset and mask, the last two in the shape that was read."""
    arguments = geometry.arguments(input, weight, geometry.off_the_edge(geometry.read_offset(offset)), mask)
    return torch.ops.torchvision._deform_conv2d_backward(wide(grad_output).contiguous(), *arguments)[:4]


def _first(input: Tensor, offset: Tensor, sizes: Mapping[str, int]) -> _Geometry:
    """Check for version 1 what version 2 does not check, and return its geometry."""
    geometry = _Geometry(input, sizes, FIRST)
    expected = (input.shape[0], 2 * geometry.taps, *geometry.output_size)
    if tuple(offset.shape) != expected:
        raise RuntimeError(f"invalid shape of offset: expected {expected}, but got {tuple(offset.shape)}")
    if any(size < taps for size, taps in zip(geometry.map_size, geometry.kernel_size, strict=True)):
        raise RuntimeError(f"input image {geometry.map_size} is smaller than kernel {geometry.kernel_size}")
    return geometry


@kernel
def deform_conv_forward(
    input: Tensor, weight: Tensor, offset: Tensor, output: Tensor, columns: Tensor, ones: Tensor, **sizes: int
) -> None:
    """Fill `output`."""
    output.copy_(_forward(_first(input, offset, sizes), input, weight, offset, None))


@kernel
def deform_conv_backward_input(
    input: Tensor,
    offset: Tensor,
    grad_output: Tensor,
    grad_input: Tensor,
    grad_offset: Tensor,
    weight: Tensor,
    columns: Tensor,
    **sizes: int,
) -> None:
    """Fill `grad_input` and `grad_offset`."""
    to_input, _, to_offset, _ = _backward(_first(input, offset, sizes), grad_output, input, weight, offset, None)
    grad_input.copy_(to_input)
    grad_offset.copy_(to_offset)


@kernel
def deform_conv_backward_parameters(
    input: Tensor,
    offset: Tensor,
    grad_output: Tensor,
    grad_weight: Tensor,
    columns: Tensor,
    ones: Tensor,
    *,
    scale: float,
    **sizes: int,
) -> None:
    """Add `scale` times the gradient of the weight to `grad_weight`."""
    # The gradient of the weight does not depend on the weight.
    any_weight = torch.zeros_like(grad_weight)
    _, to_weight, _, _ = _backward(_first(input, offset, sizes), grad_output, input, any_weight, offset, None)
    grad_weight.add_(to_weight, alpha=scale)


@kernel
def modulated_deform_conv_forward(
    input: Tensor,
    weight: Tensor,
    bias: Tensor,
    ones: Tensor,
    offset: Tensor,
    mask: Tensor,
    output: Tensor,
    columns: Tensor,
    *,
    with_bias: bool,
    **sizes: int,
) -> None:
    """Fill `output`. `bias` (O,) counts only if `with_bias`."""
    result = _forward(_Geometry(input, sizes, SECOND), input, weight, offset, mask)
    output.copy_(result + bias[:, None, None] if with_bias else result)


@kernel
def modulated_deform_conv_backward(
    input: Tensor,
    weight: Tensor,
    bias: Tensor,
    ones: Tensor,
    offset: Tensor,
    mask: Tensor,
    columns: Tensor,
    grad_input: Tensor,
    grad_weight: Tensor,
    grad_bias: Tensor,
    grad_offset: Tensor,
    grad_mask: Tensor,
    grad_output: Tensor,
    *,
    with_bias: bool,
    **sizes: int,
) -> None:
    """Fill the five gradients. Beyond the part of offset and mask that was read, they keep the caller's zeros."""
    grads = _backward(_Geometry(input, sizes, SECOND), grad_output, input, weight, offset, mask)
    grad_input.copy_(grads[0])
    grad_weight.copy_(grads[1])
    for target, grad in ((grad_offset, grads[2]), (grad_mask, grads[3])):
        rest = target.new_zeros(len(target), target[0].numel() - grad[0].numel())
        target.copy_(torch.cat([grad.flatten(1).to(target), rest], dim=1).view_as(target))
    if with_bias:
        grad_bias.copy_(wide(grad_output).sum((0, 2, 3)))
