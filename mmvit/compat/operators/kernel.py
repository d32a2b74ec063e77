"""Parts that all operators of this package share: calling convention, precision, bilinear sampling.

mmcv's compiled functions do not take part in autograd or autocast, and write into buffers of the caller. `kernel` makes a torch
function behave like that. Bilinear sampling follows mmcv's csrc/common/cuda/common_cuda_helper.hpp.
"""

import functools
import struct
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..versions import has_autocast

# Most elements of a temporary tensor, where an operator can work in slices: 64 MiB of float32.
SLICE_ELEMENTS = 1 << 24


def kernel(function: Callable) -> Callable:
    """Run `function` outside of autograd and autocast, as compiled code runs. The first argument is a tensor."""

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        first = args[0] if args else next(iter(kwargs.values()))
        kind = first.device.type  # the meta device has no autocast
        plain = torch.autocast(kind, enabled=False) if has_autocast(kind) else nullcontext()
        with torch.no_grad(), plain:
            return function(*args, **kwargs)

    return call


def kernel_of_values(function: Callable) -> Callable:
    """Do the same as `kernel`, but skip the function on the meta device, whose tensors have no values."""
    call = kernel(function)

    @functools.wraps(function)
    def call_with_values(*args: Any, **kwargs: Any) -> Any:
        first = args[0] if args else next(iter(kwargs.values()))
        return None if first.is_meta else call(*args, **kwargs)

    return call_with_values


def wide(tensor: Tensor) -> Tensor:
    """Return `tensor` in the type to compute in: float32 for 16-bit types, which some kernels of torchvision lack."""
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor


def single(number: float) -> float:
    """Return `number` rounded to float32: mmcv's functions take their real parameters as C floats."""
    return struct.unpack("f", struct.pack("f", number))[0]


def pixel_rows(maps: Tensor) -> Tensor:
    """Return (B, C, H, W) as (B * H * W, C): samples are read fast if the channels of a pixel lie together."""
    return maps.flatten(2).transpose(1, 2).reshape(-1, maps.shape[1])


def first_rows(rois: Tensor, height: int, width: int) -> Tensor:
    """Return (N, 1, 1, 1): where in `pixel_rows` of maps the image of each RoI begins."""
    return (rois[:, 0].long() * (height * width))[:, None, None, None]


def fetch(rows: Tensor, places: Tensor) -> Tensor:
    """Return (..., C): the rows at `places` (...)."""
    return rows.index_select(0, places.flatten()).view(*places.shape, rows.shape[1])


class Corners(NamedTuple):
    """Four pixels around each sample point, as rows and columns, and the weights of the bottom and right ones.

    The map of a point, `width` pixels wide, begins at the flat index `first`.
    """

    first: Tensor
    width: int
    inside: Tensor
    top: Tensor
    bottom: Tensor
    left: Tensor
    right: Tensor
    down: Tensor
    across: Tensor

    def places(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return flat indices: top left, top right, bottom left, bottom right."""
        top, bottom = self.first + self.top * self.width, self.first + self.bottom * self.width
        return top + self.left, top + self.right, bottom + self.left, bottom + self.right

    def weights(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return weights in the order of `places`; zero for points outside."""
        down, up = torch.where(self.inside, self.down, 0), torch.where(self.inside, 1 - self.down, 0)
        across, back = self.across, 1 - self.across
        return up * back, up * across, down * back, down * across


def interpolate(rows: Tensor, around: Corners) -> Tensor:
    """Return (..., C): the values at the points, from `pixel_rows`."""
    top_left, top_right, bottom_left, bottom_right = (
        weight[..., None] * fetch(rows, place) for weight, place in zip(around.weights(), around.places(), strict=True)
    )
    return top_left + top_right + bottom_left + bottom_right


def mean_samples(rows: Tensor, around: Corners) -> Tensor:
    """Return the means (n, C, bins down, bins across) of the samples (n, bins down, bins across, samples)."""
    values = interpolate(rows, around)
    return (values.sum(3) / max(values.shape[3], 1)).movedim(3, 1)


def add_samples(rows: Tensor, around: Corners, grad: Tensor) -> None:
    """Add gradients (..., C) of samples to the rows of their pixels: the adjoint of `interpolate`."""
    for weight, place in zip(around.weights(), around.places(), strict=True):
        rows.index_add_(0, place.flatten(), (grad * weight[..., None]).flatten(0, -2))


def corners(y: Tensor, x: Tensor, first: Tensor, height: int, width: int) -> Corners:
    """Return the pixels that RoI operators interpolate between at (y, x), in pixels with centres at whole numbers.

    A point up to one pixel outside counts as on the border; farther out it has no value. NaN counts as outside.
    """
    inside = (y >= -1) & (y <= height) & (x >= -1) & (x <= width)
    top, bottom, down = _between(torch.where(inside, y, 0), height)
    left, right, across = _between(torch.where(inside, x, 0), width)
    return Corners(first, width, inside, top, bottom, left, right, down, across)


def _between(position: Tensor, size: int) -> tuple[Tensor, Tensor, Tensor]:
    position = position.clamp(min=0)
    low = position.long().clamp(max=size - 1)
    high = (low + 1).clamp(max=size - 1)
    return low, high, torch.where(low == size - 1, 0, position - low)
