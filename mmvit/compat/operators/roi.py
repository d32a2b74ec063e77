"""Regions of interest: `roi_align_forward/backward`, `roi_pool_forward/backward`.

Semantics: mmcv's csrc/pytorch/cpu/roi_align.cpp and csrc/common/cuda/roi_pool_cuda_kernel.cuh. Maps are (B, C, H, W),
rois (N, 5): index into the batch, then x1, y1, x2, y2 in pixels of the image, which `spatial_scale` converts to the map's.

Differences from mmcv's CPU code: aligned RoIs of negative size do not raise in `roi_align`, as they do not on its GPU.
With `sampling_ratio` 0 in float64, the mean counts a bin's samples from its exact size; mmcv rounds that to float32.
"""

from collections.abc import Iterator

import torch
import torchvision  # noqa: F401  registers torch.ops.torchvision
from torch import Tensor

from .kernel import (
    SLICE_ELEMENTS,
    Corners,
    corners,
    fetch,
    first_rows,
    interpolate,
    kernel,
    kernel_of_values,
    pixel_rows,
    single,
    wide,
)

# mmcv's CPU version starts its search for the largest sample from this value, so an empty bin yields it.
LOWEST_SAMPLE = -10000.0


@kernel
def roi_align_forward(
    input: Tensor,
    rois: Tensor,
    output: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """Fill `output` (N, C, aligned_height, aligned_width) with the mean (`pool_mode` 1) or maximum (0) of samples.

    `sampling_ratio` is the number of samples along each side of a bin, 0 for about one a pixel. The maximum also fills
    `argmax_y` and `argmax_x`, shaped like `output`, with the position of the sample on the map, -1 if there is none.
    """
    maps, boxes = wide(input).contiguous(), wide(rois).to(wide(input))
    size = (aligned_height, aligned_width)
    if pool_mode == 1:
        pooled = torch.ops.torchvision.roi_align(maps, boxes, single(spatial_scale), *size, sampling_ratio, aligned)
        output.copy_(pooled)
        return
    for chosen, y, x in sample_grids(boxes, size, spatial_scale, sampling_ratio, aligned, maps.shape[1]):
        values, y, x = _largest_samples(maps, boxes[chosen], y, x)
        output[chosen], argmax_y[chosen], argmax_x[chosen] = values.to(output), y.to(argmax_y), x.to(argmax_x)


def sample_grids(
    rois: Tensor, size: tuple[int, int], spatial_scale: float, sampling_ratio: int, aligned: bool, channels: int
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Yield sample positions on the map, for RoIs with equally many samples a bin, as many at a time as fit into memory.

    Yields indices (n,) of RoIs, and rows and columns (n, bins down, bins across, samples).
    """
    shift = 0.5 if aligned else 0.0
    start = rois[:, [2, 1]] * single(spatial_scale) - shift
    extent = rois[:, [4, 3]] * single(spatial_scale) - shift - start
    if not aligned:
        extent = extent.clamp(min=1)
    step = extent / torch.tensor(size, device=rois.device, dtype=rois.dtype)
    # mmcv rounds up in float32 whatever the type.
    samples = torch.full_like(step, sampling_ratio) if sampling_ratio > 0 else step.float().ceil().clamp(min=0)
    for down, across in samples.long().unique(dim=0).tolist():
        members = (samples == samples.new_tensor([down, across])).all(1).nonzero().flatten()
        elements = channels * size[0] * size[1] * max(down * across, 1)
        for chosen in members.split(max(SLICE_ELEMENTS // elements, 1)):
            ys = _positions(start[chosen, 0], step[chosen, 0], size[0], down)[:, :, None, :, None]
            xs = _positions(start[chosen, 1], step[chosen, 1], size[1], across)[:, None, :, None, :]
            y, x = torch.broadcast_tensors(ys, xs)
            yield chosen, y.flatten(3), x.flatten(3)


def _positions(start: Tensor, step: Tensor, bins: int, samples: int) -> Tensor:
    """Return (n, bins, samples) positions, evenly spaced within each bin."""
    start, step = start[:, None, None], step[:, None, None]
    bin_index = torch.arange(bins, device=start.device, dtype=start.dtype)[:, None]
    sample_index = torch.arange(samples, device=start.device, dtype=start.dtype)
    return start + bin_index * step + (sample_index + 0.5) * step / max(samples, 1)


def _largest_samples(maps: Tensor, rois: Tensor, y: Tensor, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the largest sample of each bin and its position, all (n, C, bins down, bins across); the first of equal ones."""
    channels, height, width = maps.shape[1:]
    if y.shape[3] == 0:
        shape = (len(rois), channels, *y.shape[1:3])
        nothing = maps.new_full(shape, -1)
        return maps.new_full(shape, LOWEST_SAMPLE), nothing, nothing
    values = interpolate(pixel_rows(maps), corners(y, x, first_rows(rois, height, width), height, width))
    values = torch.where(values.isnan(), -torch.inf, values)
    largest, index = values.max(3)
    found = largest > LOWEST_SAMPLE
    best_y, best_x = (torch.where(found, at.gather(3, index), -1) for at in (y, x))
    return largest.clamp(min=LOWEST_SAMPLE).movedim(3, 1), best_y.movedim(3, 1), best_x.movedim(3, 1)


@kernel_of_values
def roi_align_backward(
    grad_output: Tensor,
    rois: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    grad_input: Tensor,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """Add to `grad_input` (B, C, H, W) the gradient of the samples' pixels, from `grad_output`, shaped like the output."""
    grad, boxes = wide(grad_output).contiguous(), wide(rois).to(wide(grad_output))
    shape, size = grad_input.shape, (aligned_height, aligned_width)
    if pool_mode != 1:
        y, x = wide(argmax_y).to(grad), wide(argmax_x).to(grad)
        added = torch.zeros_like(grad_input, dtype=grad.dtype).flatten()
        _add_to_planes(added, corners(y, x, _planes(boxes, shape), *shape[2:]), torch.where(y == -1, 0, grad))
        added = added.view(shape)
    elif grad.is_cuda and torch.are_deterministic_algorithms_enabled():
        added = mean_gradient(grad, boxes, shape, size, spatial_scale, sampling_ratio, aligned)
    else:
        backward = torch.ops.torchvision._roi_align_backward
        added = backward(grad, boxes, single(spatial_scale), *size, *shape, sampling_ratio, aligned)
    grad_input.add_(added)


def mean_gradient(
    grad: Tensor,
    rois: Tensor,
    shape: torch.Size,
    size: tuple[int, int],
    spatial_scale: float,
    sampling_ratio: int,
    aligned: bool,
) -> Tensor:
    """Return the gradient (B, C, H, W) of means of samples, in an order of sums that torch can fix; torchvision's has none."""
    added = grad.new_zeros(shape).flatten()
    for chosen, y, x in sample_grids(rois, size, spatial_scale, sampling_ratio, aligned, shape[1]):
        around = corners(y[:, None], x[:, None], _planes(rois[chosen], shape)[..., None], *shape[2:])
        _add_to_planes(added, around, grad[chosen][..., None] / max(y.shape[3], 1))
    return added.view(shape)


def _add_to_planes(flat: Tensor, around: Corners, grad: Tensor) -> None:
    """Add gradients (n, C, bins down, bins across, samples) of samples to their pixels in flattened maps."""
    for weight, place in zip(around.weights(), around.places(), strict=True):
        flat.index_add_(0, place.flatten(), (grad * weight).flatten())


def _planes(rois: Tensor, shape: torch.Size) -> Tensor:
    """Return (N, C, 1, 1): where in the flattened maps the plane of each RoI and channel begins."""
    channels, height, width = shape[1:]
    plane = rois[:, 0].long()[:, None] * channels + torch.arange(channels, device=rois.device)
    return (plane * (height * width))[..., None, None]


@kernel_of_values
def roi_pool_forward(
    input: Tensor, rois: Tensor, output: Tensor, argmax: Tensor, pooled_height: int, pooled_width: int, spatial_scale: float
) -> None:
    """Fill `output` (N, C, pooled_height, pooled_width) with the largest pixel of each bin, `argmax` with its index.

    Bins are whole pixels and may share them; x2, y2 belong to the RoI. An empty bin gives 0 and index -1; a RoI without
    area leaves its rows of both as they are.
    """
    maps, boxes = wide(input), wide(rois).to(wide(input))
    height, width = maps.shape[2:]
    start = boxes[:, [2, 1]] * single(spatial_scale)
    extent = (boxes[:, [4, 3]] + 1) * single(spatial_scale) - start
    top, bottom = _pixel_bins(start[:, 0], extent[:, 0], pooled_height, height)
    left, right = _pixel_bins(start[:, 1], extent[:, 1], pooled_width, width)
    members = (extent > 0).all(1).nonzero().flatten()
    if len(members) == 0:
        return
    down, across = (max(int((high - low)[members].max()), 1) for low, high in ((top, bottom), (left, right)))
    elements = maps.shape[1] * pooled_height * pooled_width * down * across
    pixels = pixel_rows(maps)
    lowest = torch.finfo(torch.float32).min
    for chosen in members.split(max(SLICE_ELEMENTS // elements, 1)):
        y, y_inside = _bin_pixels(top[chosen], bottom[chosen], down, height)
        x, x_inside = _bin_pixels(left[chosen], right[chosen], across, width)
        pixel = (y[:, :, None, :, None] * width + x[:, None, :, None, :]).flatten(3)
        inside = (y_inside[:, :, None, :, None] & x_inside[:, None, :, None, :]).flatten(3)[..., None]
        values = fetch(pixels, first_rows(boxes[chosen], height, width) + pixel)
        values = torch.where(inside & ~values.isnan(), values, -torch.inf)
        largest, index = values.max(3)
        found = largest > lowest
        argmax[chosen] = torch.where(found, pixel.gather(3, index), -1).movedim(3, 1).to(argmax)
        output[chosen] = torch.where(inside.any(3), largest.clamp(min=lowest), 0).movedim(3, 1).to(output)


def _pixel_bins(start: Tensor, extent: Tensor, bins: int, size: int) -> tuple[Tensor, Tensor]:
    """Return the first pixels and the ends (N, bins) of the bins, clipped to the map."""
    edges = torch.arange(bins + 1, device=start.device, dtype=start.dtype) * (extent / bins)[:, None] + start[:, None]
    return edges[:, :-1].floor().clamp(0, size).long(), edges[:, 1:].ceil().clamp(0, size).long()


def _bin_pixels(low: Tensor, high: Tensor, count: int, size: int) -> tuple[Tensor, Tensor]:
    """Return `count` pixels (n, bins, count) from the first of each bin on, and which of them belong to it."""
    pixels = low[..., None] + torch.arange(count, device=low.device)
    return pixels.clamp(max=size - 1), pixels < high[..., None]


@kernel_of_values
def roi_pool_backward(
    grad_output: Tensor,
    rois: Tensor,
    argmax: Tensor,
    grad_input: Tensor,
    pooled_height: int,
    pooled_width: int,
    spatial_scale: float,
) -> None:
    """Add each element of `grad_output` to the pixel of `grad_input` (B, C, H, W) that `argmax` names; -1 names none."""
    plane = _planes(wide(rois), grad_input.shape)
    share = torch.where(argmax == -1, 0, wide(grad_output))
    added = torch.zeros_like(grad_input, dtype=share.dtype).flatten()
    added.index_add_(0, (plane + argmax.clamp(min=0)).flatten(), share.flatten())
    grad_input.add_(added.view_as(grad_input))
