"""Parts that all operators of this package share: calling convention, precision, bilinear sampling.

mmcv's compiled functions do not take part in autograd or autocast, and write into buffers of the caller. `kernel` makes a torch
function behave like that. Bilinear sampling follows mmcv's csrc/common/cuda/common_cuda_helper.hpp.
"""

import functools
import struct
from collections.abc import Callable, Sequence
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


def fetch(rows: Tensor, places: Tensor) -> Tensor:
    """Return (..., C): the rows at `places` (...)."""
    return rows.index_select(0, places.flatten()).view(*places.shape, rows.shape[1])


class Corners(NamedTuple):
    """Four pixels around each sample point, as rows and columns, and the weights of the bottom and right ones."""

    inside: Tensor
    top: Tensor
    bottom: Tensor
    left: Tensor
    right: Tensor
    down: Tensor
    across: Tensor

    def pixels(self, width: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return flat indices: top left, top right, bottom left, bottom right."""
        top, bottom = self.top * width, self.bottom * width
        return top + self.left, top + self.right, bottom + self.left, bottom + self.right

    def weights(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return weights in the order of `pixels`; zero for points outside."""
        down, up = torch.where(self.inside, self.down, 0), torch.where(self.inside, 1 - self.down, 0)
        across, back = self.across, 1 - self.across
        return up * back, up * across, down * back, down * across


def interpolate(rows: Tensor, places: Sequence[Tensor], around: Corners) -> Tensor:
    """Return (..., C): the values at the points, from the rows at `places`: four tensors (...) ordered as `Corners.pixels`."""
    top_left, top_right, bottom_left, bottom_right = (
        weight[..., None] * fetch(rows, place) for weight, place in zip(around.weights(), places, strict=True)
    )
    return top_left + top_right + bottom_left + bottom_right


def sample_places(batch: Tensor, around: Corners, height: int, width: int) -> list[Tensor]:
    """Return the rows of `pixel_rows` around each sample of RoIs (n,): four tensors (n, bins down, bins across, samples).

    `batch` (n,) is the index of each RoI's image.
    """
    first = (batch * (height * width))[:, None, None, None]
    return [first + pixel for pixel in around.pixels(width)]


def add_samples(rows: Tensor, places: Sequence[Tensor], around: Corners, grad: Tensor) -> None:
    """Add gradients (..., C) of samples to the rows at `places`: the adjoint of `interpolate`."""
    for weight, place in zip(around.weights(), places, strict=True):
        rows.index_add_(0, place.flatten(), (grad * weight[..., None]).flatten(0, -2))


def corners(y: Tensor, x: Tensor, height: int, width: int) -> Corners:
    """Return the pixels that RoI operators interpolate between at (y, x), in pixels with centres at whole numbers.

    A point up to one pixel outside counts as on the border; farther out it has no value. NaN counts as outside.
    """
    inside = (y >= -1) & (y <= height) & (x >= -1) & (x <= width)
    top, bottom, down = _between(torch.where(inside, y, 0), height)
    left, right, across = _between(torch.where(inside, x, 0), width)
    return Corners(inside, top, bottom, left, right, down, across)


def _between(position: Tensor, size: int) -> tuple[Tensor, Tensor, Tensor]:
    position = position.clamp(min=0)
    low = position.long().clamp(max=size - 1)
    high = (low + 1).clamp(max=size - 1)
    return low, high, torch.where(low == size - 1, 0, position - low)
