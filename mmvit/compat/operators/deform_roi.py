"""Deformable RoI pooling: `deform_roi_pool_forward`, `deform_roi_pool_backward`.

Semantics: mmcv's csrc/common/cuda/deform_roi_pool_cuda_kernel.cuh. This is aligned RoI align by the mean, with every bin moved
by `offset` (N, 2, bins down, bins across; x then y), in fractions of the RoI's size times `gamma`. An empty `offset` moves
nothing.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from .kernel import Corners, add_samples, corners, fetch, first_rows, kernel_of_values, mean_samples, pixel_rows, single, wide
from .roi import sample_grids


def _samples(
    maps: Tensor, rois: Tensor, offset: Tensor, size: tuple[int, int], scale: float, ratio: int, gamma: float
) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor, Corners]]:
    """Yield RoIs (n,), rows and columns of their samples (n, bins down, bins across, samples), heights and widths (n, 2).

    Last come the pixels around the samples.
    """
    extents = (rois[:, [4, 3]] - rois[:, [2, 1]]) * single(scale)
    height, width = maps.shape[2:]
    for chosen, y, x in sample_grids(rois, size, scale, ratio, True, maps.shape[1]):
        extent = extents[chosen]
        if offset.numel() > 0:
            x = x + gamma * extent[:, 1, None, None, None] * offset[chosen, 0, :, :, None]
            y = y + gamma * extent[:, 0, None, None, None] * offset[chosen, 1, :, :, None]
        yield chosen, y, x, extent, corners(y, x, first_rows(rois[chosen], height, width), height, width)


@kernel_of_values
def deform_roi_pool_forward(
    input: Tensor,
    rois: Tensor,
    offset: Tensor,
    output: Tensor,
    pooled_height: int,
    pooled_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    gamma: float,
) -> None:
    """Fill `output` (N, C, pooled_height, pooled_width)."""
    maps, boxes, offset = wide(input), wide(rois).to(wide(input)), wide(offset)
    size, pixels = (pooled_height, pooled_width), pixel_rows(maps)
    for chosen, _, _, _, around in _samples(maps, boxes, offset, size, spatial_scale, sampling_ratio, gamma):
        output[chosen] = mean_samples(pixels, around).to(output)


@kernel_of_values
def deform_roi_pool_backward(
    grad_output: Tensor,
    input: Tensor,
    rois: Tensor,
    offset: Tensor,
    grad_input: Tensor,
    grad_offset: Tensor,
    pooled_height: int,
    pooled_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    gamma: float,
) -> None:
    """Add to `grad_input` (B, C, H, W) and fill `grad_offset`, shaped like `offset`."""
    maps, boxes, offset = wide(input), wide(rois).to(wide(input)), wide(offset)
    channels, height, width = maps.shape[1:]
    size, pixels = (pooled_height, pooled_width), pixel_rows(maps)
    added = torch.zeros_like(pixels)
    for chosen, y, x, extent, around in _samples(maps, boxes, offset, size, spatial_scale, sampling_ratio, gamma):
        if y.shape[3] == 0:
            continue
        grad = wide(grad_output)[chosen].movedim(1, 3)[:, :, :, None] / y.shape[3]
        add_samples(added, around, grad)
        if offset.numel() > 0:
            by_y, by_x = _slopes([fetch(pixels, place) for place in around.places()], y, x, around)
            to_x = (grad * by_x).sum((3, 4)) * (gamma * extent[:, 1, None, None])
            to_y = (grad * by_y).sum((3, 4)) * (gamma * extent[:, 0, None, None])
            grad_offset[chosen] = torch.stack([to_x, to_y], 1).to(grad_offset)
    grad_input.add_(added.view(len(maps), height, width, channels).permute(0, 3, 1, 2))


def _slopes(pixels: list[Tensor], y: Tensor, x: Tensor, around: Corners) -> tuple[Tensor, Tensor]:
    """Return the derivatives of the samples by y and by x.

    mmcv extrapolates from the first two pixels up to a pixel outside of the map.
    """
    top_left, top_right, bottom_left, bottom_right = pixels
    above, below = (y - around.top)[..., None], (around.bottom - y)[..., None]
    before, after = (x - around.left)[..., None], (around.right - x)[..., None]
    by_x = above * (bottom_right - bottom_left) + below * (top_right - top_left)
    by_y = before * (bottom_right - top_right) + after * (bottom_left - top_left)
    inside = around.inside[..., None]
    return torch.where(inside, by_y, 0), torch.where(inside, by_x, 0)
