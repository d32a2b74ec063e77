"""Deformable convolution, version 1 (`deform_conv_*`) and 2 (`modulated_deform_conv_*`), through torchvision's kernels.

Semantics: mmcv's csrc/pytorch/deform_conv.cpp, modulated_deform_conv.cpp and cpu/*.cpp of the same names. Input is
(B, C, H, W), weight (O, C / group, kH, kW), output (B, O, h, w), offset (B, G * kH * kW * 2, h, w) with rows before
columns, mask (B, G * kH * kW, h, w), where G is `deformable_group`. `columns` and `ones` are mmcv's scratch memory and are not
used.

mmcv and torchvision differ in two things, which are adapted here:
- Version 2 of mmcv never looks at the shape of offset and mask. It reads the memory of each sample from its start as if
  it had the output's size. DyHead relies on this: it applies one level's offsets to the next, smaller level.
- A tap exactly one pixel above or left of the map, where untrained offsets of zero put it, has no gradient in mmcv.
"""
# ruff: noqa: N803  mmcv passes these names as keywords.

import torch
import torchvision  # noqa: F401  registers torch.ops.torchvision
from torch import Tensor

from .kernel import kernel, wide


class _Geometry:
    """Sizes of one call. Pairs are (height, width)."""

    def __init__(
        self,
        input: Tensor,
        kernel_size: tuple[int, int],
        stride: tuple[int, int],
        padding: tuple[int, int],
        dilation: tuple[int, int],
        groups: int,
        offset_groups: int,
    ) -> None:
        self.map_size = tuple(input.shape[2:])
        self.kernel_size, self.stride, self.padding, self.dilation = kernel_size, stride, padding, dilation
        self.groups, self.offset_groups = groups, offset_groups
        self.taps = offset_groups * kernel_size[0] * kernel_size[1]
        self.output_size = tuple(
            (size + 2 * pad - (spread * (taps - 1) + 1)) // step + 1
            for size, pad, spread, taps, step in zip(self.map_size, padding, dilation, kernel_size, stride, strict=True)
        )
        if min(self.output_size) < 1:
            raise RuntimeError(f"a map of {self.map_size} is too small for a kernel of {kernel_size}: no output is left")

    def arguments(self, use_mask: bool) -> tuple:
        return (*self.stride, *self.padding, *self.dilation, self.groups, self.offset_groups, use_mask)

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
    maps = wide(input)
    offset = geometry.read("offset", offset, 2 * geometry.taps)
    mask = maps.new_zeros(maps.shape[0], 1) if mask is None else geometry.read("mask", mask, geometry.taps)
    weight = wide(weight)
    no_bias = maps.new_zeros(weight.shape[0])
    return torch.ops.torchvision.deform_conv2d(maps, weight, offset, mask, no_bias, *geometry.arguments(mask.dim() == 4))


def _backward(
    geometry: _Geometry, grad_output: Tensor, input: Tensor, weight: Tensor, offset: Tensor, mask: Tensor | None
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the gradients of input, weight, offset and mask, the last two in the shape that was read."""
    maps, weight = wide(input), wide(weight)
    offset = geometry.off_the_edge(geometry.read("offset", offset, 2 * geometry.taps))
    mask = maps.new_zeros(maps.shape[0], 1) if mask is None else geometry.read("mask", mask, geometry.taps)
    no_bias = maps.new_zeros(weight.shape[0])
    grads = torch.ops.torchvision._deform_conv2d_backward(
        wide(grad_output).contiguous(), maps, weight, offset, mask, no_bias, *geometry.arguments(mask.dim() == 4)
    )
    return grads[:4]


def _plain_geometry(
    input: Tensor,
    offset: Tensor,
    kernel_size: tuple[int, int],
    stride: tuple[int, int],
    padding: tuple[int, int],
    dilation: tuple[int, int],
    groups: int,
    offset_groups: int,
) -> _Geometry:
    """Check for version 1 what version 2 does not check, and return its geometry."""
    geometry = _Geometry(input, kernel_size, stride, padding, dilation, groups, offset_groups)
    expected = (input.shape[0], 2 * geometry.taps, *geometry.output_size)
    if tuple(offset.shape) != expected:
        raise RuntimeError(f"invalid shape of offset: expected {expected}, but got {tuple(offset.shape)}")
    if any(size < taps for size, taps in zip(geometry.map_size, kernel_size, strict=True)):
        raise RuntimeError(f"input image {geometry.map_size} is smaller than kernel {kernel_size}")
    return geometry


@kernel
def deform_conv_forward(
    input: Tensor,
    weight: Tensor,
    offset: Tensor,
    output: Tensor,
    columns: Tensor,
    ones: Tensor,
    kW: int,
    kH: int,
    dW: int,
    dH: int,
    padW: int,
    padH: int,
    dilationW: int,
    dilationH: int,
    group: int,
    deformable_group: int,
    im2col_step: int,
) -> None:
    """Fill `output`. `im2col_step`, mmcv's number of samples at a time, has no effect here."""
    geometry = _plain_geometry(input, offset, (kH, kW), (dH, dW), (padH, padW), (dilationH, dilationW), group, deformable_group)
    output.copy_(_forward(geometry, input, weight, offset, None))


@kernel
def deform_conv_backward_input(
    input: Tensor,
    offset: Tensor,
    gradOutput: Tensor,
    gradInput: Tensor,
    gradOffset: Tensor,
    weight: Tensor,
    columns: Tensor,
    kW: int,
    kH: int,
    dW: int,
    dH: int,
    padW: int,
    padH: int,
    dilationW: int,
    dilationH: int,
    group: int,
    deformable_group: int,
    im2col_step: int,
) -> None:
    """Fill `gradInput` and `gradOffset`."""
    geometry = _plain_geometry(input, offset, (kH, kW), (dH, dW), (padH, padW), (dilationH, dilationW), group, deformable_group)
    grad_input, _, grad_offset, _ = _backward(geometry, gradOutput, input, weight, offset, None)
    gradInput.copy_(grad_input)
    gradOffset.copy_(grad_offset)


@kernel
def deform_conv_backward_parameters(
    input: Tensor,
    offset: Tensor,
    gradOutput: Tensor,
    gradWeight: Tensor,
    columns: Tensor,
    ones: Tensor,
    kW: int,
    kH: int,
    dW: int,
    dH: int,
    padW: int,
    padH: int,
    dilationW: int,
    dilationH: int,
    group: int,
    deformable_group: int,
    scale: float,
    im2col_step: int,
) -> None:
    """Add `scale` times the gradient of the weight to `gradWeight`."""
    geometry = _plain_geometry(input, offset, (kH, kW), (dH, dW), (padH, padW), (dilationH, dilationW), group, deformable_group)
    # The gradient of the weight does not depend on the weight.
    _, grad_weight, _, _ = _backward(geometry, gradOutput, input, torch.zeros_like(gradWeight), offset, None)
    gradWeight.add_(grad_weight, alpha=scale)


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
    kernel_h: int,
    kernel_w: int,
    stride_h: int,
    stride_w: int,
    pad_h: int,
    pad_w: int,
    dilation_h: int,
    dilation_w: int,
    group: int,
    deformable_group: int,
    with_bias: bool,
) -> None:
    """Fill `output`. `bias` (O,) counts only if `with_bias`."""
    geometry = _Geometry(
        input,
        (kernel_h, kernel_w),
        (stride_h, stride_w),
        (pad_h, pad_w),
        (dilation_h, dilation_w),
        group,
        deformable_group,
    )
    result = _forward(geometry, input, weight, offset, mask)
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
    kernel_h: int,
    kernel_w: int,
    stride_h: int,
    stride_w: int,
    pad_h: int,
    pad_w: int,
    dilation_h: int,
    dilation_w: int,
    group: int,
    deformable_group: int,
    with_bias: bool,
) -> None:
    """Fill the five gradients. Beyond the part of offset and mask that was read, they keep the caller's zeros."""
    geometry = _Geometry(
        input,
        (kernel_h, kernel_w),
        (stride_h, stride_w),
        (pad_h, pad_w),
        (dilation_h, dilation_w),
        group,
        deformable_group,
    )
    grads = _backward(geometry, grad_output, input, weight, offset, mask)
    grad_input.copy_(grads[0])
    grad_weight.copy_(grads[1])
    for target, grad in ((grad_offset, grads[2]), (grad_mask, grads[3])):
        rest = target.new_zeros(len(target), target[0].numel() - grad[0].numel())
        target.copy_(torch.cat([grad.flatten(1).to(target), rest], dim=1).view_as(target))
    if with_bias:
        grad_bias.copy_(wide(grad_output).sum((0, 2, 3)))
