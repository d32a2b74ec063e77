"""Outlook attention's window algebra: nine weights for each of the nine values of a 3 x 3 window. See `volo`.

The textbook form unfolds the values into nine copies a window, multiplies, and folds the products back into a map. Here the
windows are gathered once, in the order that the product needs; the products are summed first over rows, then over columns;
neither is kept. Gathering and summing are each other's adjoint, so the backward pass consists of the same two. Nothing is
written in place: exported programs would copy the whole map for every slice.

On a GPU, `MMVIT_TRITON=1` in the environment selects the kernels of `volo_triton` instead.
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..layers.forms import TRITON, is_exporting

KERNEL = 3  # side of a window
WINDOW = KERNEL * KERNEL
STRIDE = 2  # windows are centred on every second token of every second row


def gather(values: Tensor) -> Tensor:
    """Return (B, h, w, heads, d) values as windows (B, h', w', heads, 9, d) with zeros outside; h' = ceil(h / 2)."""
    height, width = values.shape[1:3]
    padded = F.pad(values, (0, 0, 0, 0, 1, width % 2, 1, height % 2))
    windows = padded.unfold(1, KERNEL, STRIDE).unfold(2, KERNEL, STRIDE)  # (B, h', w', heads, d, 3, 3), a view
    return windows.permute(0, 1, 2, 3, 5, 6, 4).flatten(4, 5)


def scatter(windows: Tensor, height: int, width: int) -> Tensor:
    """Return (B, h', w', heads, 9, d) windows summed into a (B, h, w, heads, d) map: the adjoint of `gather`."""
    taps = windows.unflatten(4, (KERNEL, KERNEL)).transpose(4, 5)  # (B, h', w', heads, column, row, d)
    return overlap(overlap(taps, 1), 2)[:, :height, :width]


def overlap(taps: Tensor, axis: int) -> Tensor:
    """Return windows along `axis` summed into twice as many lines; the axis before the last, of the three taps, goes.

    Window k reads the lines 2k - 1, 2k and 2k + 1: even lines lie in one window, odd lines in this one and the next.
    """
    before, centre, after = taps.unbind(-2)
    following = before.narrow(axis, 1, before.shape[axis] - 1)
    odd = after + F.pad(following, [0, 0] * (following.dim() - 1 - axis) + [0, 1])
    return torch.stack([centre, odd], axis + 1).flatten(axis, axis + 1)


def mix(weights: Tensor, values: Tensor) -> Tensor:
    """Return windows mixed by their weights, with overlapping windows summed.

    Row i of a window's (9, 9) weights says how its nine values mix at place i.

    Args:
        weights: (B, h', w', heads, 9, 9).
        values: (B, h, w, heads, d), the shape of the result.
    """
    return scatter(weights @ gather(values), *values.shape[1:3])


def outer(left: Tensor, right: Tensor) -> Tensor:
    """Return the (B, h', w', heads, 9, 9) products of each window's nine vectors in two maps (B, h, w, heads, d)."""
    return gather(left) @ gather(right).transpose(-1, -2)


def outlook(weights: Tensor, values: Tensor) -> Tensor:
    """Return `mix`, with a backward pass that keeps weights and values only, or with Triton's kernels."""
    if is_exporting():
        return mix(weights, values)
    return Outlook.apply(weights, values)


class Outlook(torch.autograd.Function):
    """Differentiable `mix` of weights and values."""

    @staticmethod
    def forward(ctx: Any, weights: Tensor, values: Tensor) -> Tensor:
        ctx.save_for_backward(weights, values)
        mix, _ = kernels(values)
        return mix(weights, values)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        weights, values = ctx.saved_tensors
        mix, outer = kernels(values)
        return outer(gradient, values), mix(weights.transpose(-1, -2), gradient)


def kernels(values: Tensor) -> tuple[Callable[..., Tensor], Callable[..., Tensor]]:
    """Return the functions that compute `mix` and `outer` on the device of the values."""
    if TRITON.runs_on(values):
        from . import volo_triton  # Triton does not come with every torch

        return volo_triton.mix, volo_triton.outer
    return mix, outer
