"""Attention: `ms_deform_attn_*` of the Deformable DETR family and Mask2Former, `psamask_*` of PSANet.

Semantics: mmcv's csrc/common/cuda/ms_deform_attn_cuda_kernel.cuh and csrc/pytorch/cpu/psamask.cpp.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from .kernel import kernel, wide


@kernel
def ms_deform_attn_forward(
    value: Tensor,
    value_spatial_shapes: Tensor,
    value_level_start_index: Tensor,
    sampling_locations: Tensor,
    attention_weights: Tensor,
    im2col_step: int,
) -> Tensor:
    """Return weighted samples (B, Q, heads * D) of the values (B, K, heads, D), in which all levels follow each other.

    Locations (B, Q, heads, L, P, 2) are (x, y) as fractions of each map's size, weights (B, Q, heads, L, P), the shapes of
    the levels (L, 2) height and width.

    Any batch size works. mmcv demands that `im2col_step` divides it, which follows from its algorithm, not from the operator.
    """
    output = _attend(
        wide(value), value_spatial_shapes, value_level_start_index, wide(sampling_locations), wide(attention_weights)
    )
    return output.to(value.dtype)


@kernel
def ms_deform_attn_backward(
    value: Tensor,
    value_spatial_shapes: Tensor,
    value_level_start_index: Tensor,
    sampling_locations: Tensor,
    attention_weights: Tensor,
    grad_output: Tensor,
    grad_value: Tensor,
    grad_sampling_loc: Tensor,
    grad_attn_weight: Tensor,
    im2col_step: int,
) -> None:
    """Fill the last three tensors, each shaped like the tensor whose gradient it is."""
    inputs = [wide(tensor).detach().requires_grad_() for tensor in (value, sampling_locations, attention_weights)]
    with torch.enable_grad():
        output = _attend(inputs[0], value_spatial_shapes, value_level_start_index, *inputs[1:])
    grads = torch.autograd.grad(output, inputs, wide(grad_output).view_as(output))
    for target, grad in zip((grad_value, grad_sampling_loc, grad_attn_weight), grads, strict=True):
        target.copy_(grad)


def _attend(value: Tensor, shapes: Tensor, starts: Tensor, locations: Tensor, weights: Tensor) -> Tensor:
    batch, queries, heads, _, points = weights.shape
    output = value.new_zeros(batch * heads, value.shape[3], queries)
    if output.numel() == 0 or points == 0:
        return _heads_last(output, batch) + 0 * (value.sum() + locations.sum() + weights.sum())
    for level, ((height, width), start) in enumerate(zip(shapes.tolist(), starts.tolist(), strict=True)):
        maps = value[:, start : start + height * width].permute(0, 2, 3, 1).reshape(batch * heads, -1, height, width)
        where = locations[:, :, :, level].transpose(1, 2).flatten(0, 1)
        weight = weights[:, :, :, level].transpose(1, 2).flatten(0, 1)
        # Outside, and exactly one pixel outside, mmcv has neither value nor gradient; grid_sample has a gradient at -1.
        size = where.new_tensor([width, height])
        pixel = where.detach() * size - 0.5
        inside = ((pixel > -1) & (pixel < size)).all(-1, keepdim=True)
        grid = torch.where(inside, 2 * where - 1, -10)
        samples = F.grid_sample(maps, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
        output = output + (samples * weight[:, None]).sum(-1)
    return _heads_last(output, batch)


def _heads_last(output: Tensor, batch: int) -> Tensor:
    """Return (B * heads, D, Q) as (B, Q, heads * D)."""
    channels, queries = output.shape[1:]
    heads = output.shape[0] // batch if batch else 1
    return output.view(batch, heads * channels, queries).transpose(1, 2).contiguous()


@kernel
def psamask_forward(
    input: Tensor,
    output: Tensor,
    psa_type: int,
    num_: int,
    h_feature: int,
    w_feature: int,
    h_mask: int,
    w_mask: int,
    half_h_mask: int,
    half_w_mask: int,
) -> None:
    """Fill `output` (B, H * W, H, W): the masks (B, h_mask * w_mask, H, W) centred on their pixels, cut to the map.

    `psa_type` 0 collects: channels are pixels attended to. 1 distributes: channels are pixels that attend.
    """
    rows, row_inside = _relative(h_feature, h_mask, half_h_mask, input.device)
    columns, column_inside = _relative(w_feature, w_mask, half_w_mask, input.device)
    own_row = torch.arange(h_feature, device=input.device)[:, None]
    own_column = torch.arange(w_feature, device=input.device)
    masks = input.reshape(num_, h_mask, w_mask, h_feature, w_feature)
    picked = masks[:, rows[:, None, :, None], columns[None, :, None, :], own_row, own_column]
    inside = row_inside[:, None, :, None] & column_inside[None, :, None, :]
    # (B, H, W of the pixel attended to, H, W of the mask's own pixel)
    pairs = torch.where(inside, picked, 0).view(num_, h_feature * w_feature, h_feature * w_feature)
    output.copy_((pairs if psa_type == 0 else pairs.transpose(1, 2)).reshape_as(output))


def _relative(size: int, mask: int, half: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return (size, size) tensors for [other, own]: the place of pixel `other` in the mask of `own`, and whether it has one."""
    position = torch.arange(size, device=device)
    index = position[:, None] - position + half
    return index.clamp(0, mask - 1), (index >= 0) & (index < mask)


@kernel
def psamask_backward(
    grad_output: Tensor,
    grad_input: Tensor,
    psa_type: int,
    num_: int,
    h_feature: int,
    w_feature: int,
    h_mask: int,
    w_mask: int,
    half_h_mask: int,
    half_w_mask: int,
) -> None:
    """Fill `grad_input` (B, h_mask * w_mask, H, W) from `grad_output` (B, H * W, H, W)."""
    pairs = grad_output.reshape(num_, h_feature * w_feature, h_feature * w_feature)
    pairs = pairs if psa_type == 0 else pairs.transpose(1, 2)
    pairs = pairs.reshape(num_, h_feature, w_feature, h_feature, w_feature)
    rows, row_inside = _absolute(h_feature, h_mask, half_h_mask, grad_output.device)
    columns, column_inside = _absolute(w_feature, w_mask, half_w_mask, grad_output.device)
    own_row = torch.arange(h_feature, device=grad_output.device)[:, None]
    own_column = torch.arange(w_feature, device=grad_output.device)
    picked = pairs[:, rows[:, None, :, None], columns[None, :, None, :], own_row, own_column]
    inside = row_inside[:, None, :, None] & column_inside[None, :, None, :]
    grad_input.copy_(torch.where(inside, picked, 0).reshape_as(grad_input))


def _absolute(size: int, mask: int, half: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return (mask, size) tensors for [place in the mask, own]: which pixel that place covers, and whether it is on the map."""
    index = torch.arange(mask, device=device)[:, None] + torch.arange(size, device=device) - half
    return index.clamp(0, size - 1), (index >= 0) & (index < size)
