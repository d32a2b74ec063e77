"""What all operators of this package share: how they are called, in which precision they compute, how they sample.

mmcv's compiled functions see no autograd and no autocast, and write into buffers of the caller. `kernel` gives a torch
function the same manners. Bilinear sampling follows mmcv's csrc/common/cuda/common_cuda_helper.hpp.
"""

import functools
import struct
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

# Elements of a temporary tensor at most, where an operator can work in slices: 64 MiB of float32.
SLICE_ELEMENTS = 1 << 24


def kernel(function: Callable) -> Callable:
    """Run `function` outside autograd and autocast, as compiled code runs. The first argument is a tensor."""

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        first = args[0] if args else next(iter(kwargs.values()))
        with torch.no_grad(), torch.autocast(first.device.type, enabled=False):
            return function(*args, **kwargs)

    return call


def wide(tensor: Tensor) -> Tensor:
    """`tensor` in the type to compute in: float32 for the 16-bit types, which not every kernel of torchvision knows."""
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor


def single(number: float) -> float:
    """`number` rounded to float32: mmcv's functions take their real parameters as C floats."""
    return struct.unpack("f", struct.pack("f", number))[0]


def pixel_rows(maps: Tensor) -> Tensor:
    """(B, C, H, W) as (B * H * W, C): the channels of a pixel together, which is how samples are fetched fast."""
    return maps.flatten(2).transpose(1, 2).reshape(-1, maps.shape[1])


def fetch(rows: Tensor, places: Tensor) -> Tensor:
    """(..., C): the rows at `places` (...)."""
    return rows.index_select(0, places.flatten()).view(*places.shape, rows.shape[1])


class Corners(NamedTuple):
    """The four pixels around each sample point, as rows and columns, and how much the bottom and right ones weigh."""

    inside: Tensor
    top: Tensor
    bottom: Tensor
    left: Tensor
    right: Tensor
    down: Tensor
    across: Tensor

    def pixels(self, width: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Flat indices: top left, top right, bottom left, bottom right."""
        top, bottom = self.top * width, self.bottom * width
        return top + self.left, top + self.right, bottom + self.left, bottom + self.right

    def weights(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """In the order of `pixels`; zero for points outside."""
        down, up = torch.where(self.inside, self.down, 0), torch.where(self.inside, 1 - self.down, 0)
        across, back = self.across, 1 - self.across
        return up * back, up * across, down * back, down * across


def interpolate(rows: Tensor, places: Sequence[Tensor], around: Corners) -> Tensor:
    """(..., C): the values at the points, from the rows at `places`, four tensors (...) in the order of `Corners.pixels`."""
    top_left, top_right, bottom_left, bottom_right = (
        weight[..., None] * fetch(rows, place) for weight, place in zip(around.weights(), places, strict=True)
    )
    return top_left + top_right + bottom_left + bottom_right


def corners(y: Tensor, x: Tensor, height: int, width: int) -> Corners:
    """The pixels that RoI operators interpolate between at (y, x), in pixel units with pixel centres at whole numbers.

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
