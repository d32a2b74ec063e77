"""Wide layers, a band of the image at a time.

The hidden layer of an MLP is four to eight times as wide as its input: 131 MB in the first stage of PVT small at 800 x 1280
pixels, written and read several times in each of its blocks. On a CPU that costs more than the arithmetic, above all as the
kernel clears the pages of each large tensor anew. Here an MLP runs over one band of rows after the other, so that what is wide
stays in the cache, and in the backward pass it is computed again instead of being kept (Chen et al., "Training Deep Nets with
Sublinear Memory Cost", arXiv 1604.06174).

On other devices, and in compiled and exported programs, it runs over the whole image as ever.
"""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.func import functional_call

from .layers import Grid, eager_on_cpu

BAND = 1 << 21  # hidden values of a band: 8 MB
WHOLE = 4 * BAND  # up to so many, malloc keeps the memory for the next layer; beyond, the kernel clears it every time
HALO = 1  # rows above and below that a 3 x 3 convolution looks at


class Band(NamedTuple):
    """Tokens that a band reads and those that it computes; where their rows lie among the former's, and the former's grid."""

    read: slice
    write: slice
    rows: slice
    grid: Grid | None


@contextmanager
def whole_images() -> Iterator[None]:
    """No bands: for whoever counts multiply-adds, of which overlapping bands do some twice."""
    global WHOLE
    limit, WHOLE = WHOLE, sys.maxsize
    try:
        yield
    finally:
        WHOLE = limit


def mlp_in_bands(layers: Sequence[nn.Module], tokens: Tensor, grid: Grid | None = None) -> Tensor:
    """The last of the `layers`, an MLP, after the others, which are norms.

    Args:
        layers: all of each token by itself. An MLP with a grid may look at 3 x 3 neighbourhoods, and takes the rows of the
            grid that it has to compute as well. None of them draws random numbers or mixes images.
        tokens: (B, N, C), row-major over the grid.
    """
    if not eager_on_cpu(tokens):
        return run(layers, tokens, grid)
    rows, width = grid or (tokens.shape[1], 1)
    halo = 0 if grid is None else HALO
    mlp: Any = layers[-1]
    row = tokens.shape[0] * width * mlp.fc1.weight.shape[0]  # hidden values
    height = max(BAND // row, 8 * halo, 1)
    if rows * row <= WHOLE or height >= rows:
        return run(layers, tokens, grid)
    bands = [band(start, min(start + height, rows), rows, width, halo) for start in range(0, rows, height)]
    parameters = [parameter for layer in layers for parameter in layer.parameters()]
    return InBands.apply(layers, bands, tokens, *parameters)


def run(layers: Sequence[Callable[..., Tensor]], tokens: Tensor, grid: Grid | None, *rows: slice) -> Tensor:
    *norms, mlp = layers
    for norm in norms:
        tokens = norm(tokens)
    return mlp(tokens) if grid is None else mlp(tokens, grid, *rows)


def band(start: int, stop: int, rows: int, width: int, halo: int) -> Band:
    """The band of the rows `start` to `stop` of a grid of `rows` x `width` tokens."""
    first, last = max(start - halo, 0), min(stop + halo, rows)
    return Band(
        read=slice(first * width, last * width),
        write=slice(start * width, stop * width),
        rows=slice(start - first, stop - first),
        grid=(last - first, width) if halo else None,
    )


def called_with(layer: nn.Module, parameters: dict[str, Tensor], *arguments: Any) -> Tensor:
    return functional_call(layer, parameters, arguments)


class InBands(torch.autograd.Function):
    """Layers over the bands of (B, N, C) tokens, again in the backward pass. `parameters` are those of the layers."""

    @staticmethod
    def forward(ctx: Any, layers: Sequence[nn.Module], bands: list[Band], tokens: Tensor, *parameters: Tensor) -> Tensor:
        ctx.layers, ctx.bands = layers, bands
        ctx.autocast = dict(enabled=torch.is_autocast_enabled("cpu"), dtype=torch.get_autocast_dtype("cpu"))
        ctx.save_for_backward(tokens, *parameters)
        return torch.cat([run(layers, tokens[:, part.read], part.grid, part.rows) for part in bands], dim=1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        tokens, *parameters = ctx.saved_tensors
        # Hooks on the parameters are for the sums that are returned, not for each band's part: others stand in for them here.
        stand_ins = [
            {name: parameter.detach().requires_grad_(parameter.requires_grad) for name, parameter in layer.named_parameters()}
            for layer in ctx.layers
        ]
        layers = [partial(called_with, *pair) for pair in zip(ctx.layers, stand_ins, strict=True)]
        learning = [parameter for own in stand_ins for parameter in own.values() if parameter.requires_grad]
        sums = [torch.zeros_like(tensor) for tensor in (tokens, *learning)]
        for part in ctx.bands:
            read = tokens[:, part.read].detach().requires_grad_()
            with torch.enable_grad(), torch.autocast("cpu", **ctx.autocast):
                computed = run(layers, read, part.grid, part.rows)
            found = torch.autograd.grad(computed, [read, *learning], gradient[:, part.write])
            sums[0][:, part.read] += found[0]
            for total, addend in zip(sums[1:], found[1:], strict=True):
                total += addend
        of_parameters = iter(sums[1:])
        return None, None, sums[0], *(next(of_parameters) if parameter.requires_grad else None for parameter in parameters)
