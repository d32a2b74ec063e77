"""Rotated regions of interest: `roi_align_rotated_forward`, `roi_align_rotated_backward`.

Semantics: mmcv's csrc/pytorch/cpu/roi_align_rotated.cpp. Maps are (B, C, H, W), rois (N, 6): index into the batch, then centre,
width and height in pixels of the image, which `spatial_scale` converts to the map's, and the angle in radians,
counter-clockwise unless `clockwise`. The samples are those of RoI align by the mean, rotated about the centre.

Difference from mmcv's CPU code: aligned RoIs of negative size give 0 instead of raising.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from .kernel import Corners, add_samples, corners, first_rows, kernel, mean_samples, pixel_rows, single, wide
from .roi import sample_grids


def _samples(
    rois: Tensor, maps: torch.Size, size: tuple[int, int], scale: float, ratio: int, aligned: bool, clockwise: bool
) -> Iterator[tuple[Tensor, Corners]]:
    """Yield RoIs (n,), and the pixels around their samples (n, bins down, bins across, samples)."""
    _, channels, height, width = maps
    centre = rois[:, 1:3] * single(scale) - (0.5 if aligned else 0.0)
    extent = rois[:, 3:5] * single(scale)
    if not aligned:
        extent = extent.clamp(min=1)
    angle = -rois[:, 5] if clockwise else rois[:, 5]
    around_zero = torch.cat([rois[:, :1], 0.5 - extent / 2, 0.5 + extent / 2], 1)  # `aligned` subtracts the halves again
    for chosen, down, across in sample_grids(around_zero, size, 1.0, ratio, True, channels):
        sine, cosine = (of(angle[chosen])[:, None, None, None] for of in (torch.sin, torch.cos))
        centre_x, centre_y = centre[chosen].T[:, :, None, None, None]
        y, x = down * cosine - across * sine + centre_y, down * sine + across * cosine + centre_x
        yield chosen, corners(y, x, first_rows(rois[chosen], height, width), height, width)


@kernel
def roi_align_rotated_forward(
    input: Tensor,
    rois: Tensor,
    output: Tensor,
    pooled_height: int,
    pooled_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    aligned: bool,
    clockwise: bool,
) -> None:
    """Fill `output` (N, C, pooled_height, pooled_width)."""
    maps, boxes = wide(input), wide(rois).to(wide(input))
    size, pixels = (pooled_height, pooled_width), pixel_rows(maps)
    for chosen, around in _samples(boxes, maps.shape, size, spatial_scale, sampling_ratio, aligned, clockwise):
        output[chosen] = mean_samples(pixels, around).to(output)


@kernel
def roi_align_rotated_backward(
    grad_output: Tensor,
    rois: Tensor,
    grad_input: Tensor,
    pooled_height: int,
    pooled_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    aligned: bool,
    clockwise: bool,
) -> None:
    """Add to `grad_input` (B, C, H, W) what `grad_output`, shaped like the output, sends to the samples' pixels."""
    boxes = wide(rois).to(wide(grad_output))
    batch, channels, height, width = grad_input.shape
    size = (pooled_height, pooled_width)
    added = boxes.new_zeros(batch * height * width, channels)
    for chosen, around in _samples(boxes, grad_input.shape, size, spatial_scale, sampling_ratio, aligned, clockwise):
        grad = wide(grad_output)[chosen].movedim(1, 3)[:, :, :, None] / max(around.inside.shape[3], 1)
        add_samples(added, around, grad)
    grad_input.add_(added.view(batch, height, width, channels).permute(0, 3, 1, 2))
