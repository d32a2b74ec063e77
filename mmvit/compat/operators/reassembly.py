"""Content-aware upsampling, `carafe_*` and `carafe_naive_*`, and the two halves of a masked convolution,
`masked_im2col_forward` and `masked_col2im_forward`.

Semantics: mmcv's csrc/common/cuda/carafe_naive_cuda_kernel.cuh, carafe_cuda_kernel.cuh, masked_conv2d_cuda_kernel.cuh.
The two forms of CARAFE compute the same. mmcv's faster one needs scratch memory, of which only `rfeatures` is used here: the
backward function does not receive the features, so the forward function stores them there.
"""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from .kernel import kernel, wide


@kernel
def carafe_naive_forward(
    features: Tensor, masks: Tensor, output: Tensor, kernel_size: int, group_size: int, scale_factor: int
) -> None:
    """Fill `output` (B, C, sH, sW): each pixel is a weighted sum of the kernel_size² features (B, C, H, W) at its source.

    `masks` (B, group_size * kernel_size², sH, sW) holds the weights, one set for each group of channels.
    """
    batch, channels, height, width = features.shape
    size = (batch, group_size, channels // group_size, height, scale_factor, width, scale_factor)
    total = wide(features).new_zeros(size)
    for feature, mask, _ in _taps(features, masks, kernel_size, group_size, scale_factor):
        total += feature * mask
    output.copy_(total.reshape_as(output))


@kernel
def carafe_naive_backward(
    top_grad: Tensor,
    features: Tensor,
    masks: Tensor,
    bottom_grad: Tensor,
    mask_grad: Tensor,
    kernel_size: int,
    group_size: int,
    scale_factor: int,
) -> None:
    """Fill `bottom_grad` (B, C, H, W) and `mask_grad`, shaped like `masks`."""
    batch, channels, height, width = features.shape
    grad = wide(top_grad).reshape(batch, group_size, channels // group_size, height, scale_factor, width, scale_factor)
    reach = (kernel_size - 1) // 2
    padded = grad.new_zeros(batch, channels, height + 2 * reach, width + 2 * reach)
    to_masks = []
    for feature, mask, (row, column) in _taps(features, masks, kernel_size, group_size, scale_factor):
        window = padded[:, :, row : row + height, column : column + width]
        window += (grad * mask).sum((4, 6)).flatten(1, 2)
        to_masks.append((grad * feature).sum(2))
    bottom_grad.copy_(padded[:, :, reach : reach + height, reach : reach + width])
    mask_grad.copy_(torch.stack(to_masks, 2).reshape_as(mask_grad))


def _taps(
    features: Tensor, masks: Tensor, kernel_size: int, groups: int, scale: int
) -> Iterator[tuple[Tensor, Tensor, tuple[int, int]]]:
    """Yield for each place in the kernel: features (B, G, C / G, H, 1, W, 1), masks (B, G, 1, H, s, W, s), row and column."""
    batch, channels, height, width = features.shape
    reach = (kernel_size - 1) // 2
    padded = F.pad(wide(features), (reach, reach, reach, reach))
    masks = wide(masks).reshape(batch, groups, kernel_size**2, 1, height, scale, width, scale)
    for place in range(kernel_size**2):
        row, column = divmod(place, kernel_size)
        window = padded[:, :, row : row + height, column : column + width]
        yield window.reshape(batch, groups, channels // groups, height, 1, width, 1), masks[:, :, place], (row, column)


@kernel
def carafe_forward(
    features: Tensor,
    masks: Tensor,
    rfeatures: Tensor,
    routput: Tensor,
    rmasks: Tensor,
    output: Tensor,
    kernel_size: int,
    group_size: int,
    scale_factor: int,
) -> None:
    """Do the same as `carafe_naive_forward`, and store the features in `rfeatures` for `carafe_backward`."""
    rfeatures.copy_(features)
    carafe_naive_forward(features, masks, output, kernel_size, group_size, scale_factor)


@kernel
def carafe_backward(
    top_grad: Tensor,
    rfeatures: Tensor,
    masks: Tensor,
    rtop_grad: Tensor,
    rbottom_grad_hs: Tensor,
    rbottom_grad: Tensor,
    rmask_grad: Tensor,
    bottom_grad: Tensor,
    mask_grad: Tensor,
    kernel_size: int,
    group_size: int,
    scale_factor: int,
) -> None:
    """Do the same as `carafe_naive_backward`, with the features that `carafe_forward` stored in `rfeatures`."""
    carafe_naive_backward(top_grad, rfeatures, masks, bottom_grad, mask_grad, kernel_size, group_size, scale_factor)


@kernel
def masked_im2col_forward(
    im: Tensor, mask_h_idx: Tensor, mask_w_idx: Tensor, col: Tensor, kernel_h: int, kernel_w: int, pad_h: int, pad_w: int
) -> None:
    """Fill `col` (C * kernel_h * kernel_w, M) with the windows of `im` (1, C, H, W) for M pixels, zero outside."""
    padded = F.pad(im[0], (pad_w, pad_w, pad_h, pad_h))
    rows = mask_h_idx + torch.arange(kernel_h, device=im.device)[:, None, None]
    columns = mask_w_idx + torch.arange(kernel_w, device=im.device)[:, None]
    col.copy_(padded[:, rows, columns].reshape_as(col))


@kernel
def masked_col2im_forward(
    col: Tensor, mask_h_idx: Tensor, mask_w_idx: Tensor, im: Tensor, height: int, width: int, channels: int
) -> None:
    """Write the columns `col` (C, M) to their pixels of `im` (1, C, height, width); the others stay as they are."""
    im[0][:, mask_h_idx, mask_w_idx] = col.to(im.dtype)
