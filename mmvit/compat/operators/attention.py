"""Attention: `ms_deform_attn_*` of the Deformable DETR family and Mask2Former, `psamask_*` of PSANet.

Semantics: mmcv's csrc/common/cuda/ms_deform_attn_cuda_kernel.cuh and csrc/pytorch/cpu/psamask.cpp. mmcv passes the sizes of
masks as keywords.
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
def psamask_forward(input: Tensor, output: Tensor, *, psa_type: int, **sizes: int) -> None:
    """Fill `output` (B, H * W, H, W): the masks (B, h_mask * w_mask, H, W) centred on their pixels, cut to the map.

    `psa_type` 0 collects: channels are pixels attended to. 1 distributes: channels are pixels that attend.
    """
    rows, columns = (torch.arange(size, device=input.device) for size in input.shape[2:])
    masks = input.unflatten(1, (sizes["h_mask"], sizes["w_mask"]))
    # (B, H, W of the pixel attended to, H, W of the mask's own pixel)
    picked = _picked(masks, rows[:, None] - rows + sizes["half_h_mask"], columns[:, None] - columns + sizes["half_w_mask"])
    pairs = picked.flatten(3).flatten(1, 2)
    output.copy_((pairs if psa_type == 0 else pairs.transpose(1, 2)).reshape_as(output))


@kernel
def psamask_backward(grad_output: Tensor, grad_input: Tensor, *, psa_type: int, **sizes: int) -> None:
    """Fill `grad_input` (B, h_mask * w_mask, H, W) from `grad_output` (B, H * W, H, W)."""
    map_size = grad_output.shape[2:]
    rows, columns = (torch.arange(size, device=grad_output.device) for size in map_size)
    down, across = (torch.arange(sizes[name], device=grad_output.device)[:, None] for name in ("h_mask", "w_mask"))
    pairs = grad_output.flatten(2)
    pairs = (pairs if psa_type == 0 else pairs.transpose(1, 2)).unflatten(1, map_size).unflatten(3, map_size)
    picked = _picked(pairs, down + rows - sizes["half_h_mask"], across + columns - sizes["half_w_mask"])
    grad_input.copy_(picked.reshape_as(grad_input))


def _picked(table: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Return (B, r, c, H, W): of a table (B, R, C, H, W) the values at [rows, columns] of each own pixel; 0 beyond its ends.

    `rows` is (r, H), `columns` (c, W).
    """
    own_row, own_column = (torch.arange(size, device=table.device) for size in table.shape[3:])
    row_inside, column_inside = ((at >= 0) & (at < size) for at, size in zip((rows, columns), table.shape[1:3], strict=True))
    rows, columns = rows.clamp(0, table.shape[1] - 1), columns.clamp(0, table.shape[2] - 1)
    values = table[:, rows[:, None, :, None], columns[None, :, None, :], own_row[:, None], own_column]
    return torch.where(row_inside[:, None, :, None] & column_inside[None, :, None, :], values, 0)
