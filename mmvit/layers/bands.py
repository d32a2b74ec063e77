"""Wide layers, a band of the image at a time.

The hidden layer of an MLP is four to eight times as wide as its input: 131 MB in the first stage of PVT small at 800 x 1280
pixels, written and read several times in each of its blocks. On a CPU that costs more than the arithmetic, above all as the
kernel clears the pages of each large tensor anew. Here an MLP runs over one band of rows after the other, so that what is wide
stays in the cache, and in the backward pass it is computed again instead of being kept (Chen et al., "Training Deep Nets with
Sublinear Memory Cost", arXiv 1604.06174); all but the last layer, whose gradients do not need what it computes.

On other devices, and in compiled and exported programs, it runs over the whole image as ever.
"""

import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeGuard

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.func import functional_call

from .parts import Grid, MlpBase, eager_on_cpu

BAND = 1 << 21  # hidden values of a band: 8 MB
WHOLE = 4 * BAND  # up to so many, malloc keeps the memory for the next layer; beyond, the kernel clears it every time
HALO = 1  # rows above and below that a 3 x 3 convolution looks at


class Band(NamedTuple):
    """Tokens that a band reads and those that it computes; the former's grid, and where the latter lie in it."""

    read: slice
    write: slice
    where: tuple[Grid, slice] | tuple[()]


@contextmanager
def whole_images() -> Iterator[None]:
    """No bands: for whoever counts multiply-adds, of which overlapping bands do some twice."""
    global WHOLE
    limit, WHOLE = WHOLE, sys.maxsize
    try:
        yield
    finally:
        WHOLE = limit


def mlp_in_bands(norms: Sequence[nn.Module], mlp: MlpBase, tokens: Tensor, grid: Grid | None = None) -> Tensor:
    """The `mlp` after the `norms`.

    Args:
        norms: of each token by itself. Nor does an MLP without a grid look at others; one with a grid may look at 3 x 3
            neighbourhoods, and takes the grid and a slice of the tokens whose values are wanted. None of them draws random
            numbers or mixes images.
        tokens: (B, N, C), row-major over the grid.
    """
    bands = bands_of(mlp, tokens, grid)
    if bands:
        layers = ToHidden(norms, mlp)
        return InBands.apply(layers, bands, tokens, *layers.parameters())
    where = () if grid is None else (grid,)
    return mlp(in_turn(norms, tokens), *where)


def bands_of(mlp: MlpBase, tokens: Tensor, grid: Grid | None) -> list[Band]:
    """No band where the whole image is as good."""
    if not eager_on_cpu(tokens) or not isinstance(mlp, MlpBase) or is_hooked(mlp) or is_hooked(mlp.fc2):
        return []
    if not is_plain(mlp.fc2):
        return []
    rows, width = grid or (tokens.shape[1], 1)
    halo = 0 if grid is None else HALO
    row = tokens.shape[0] * width * mlp.fc2.weight.shape[1]  # hidden values
    height = max(BAND // row, 8 * halo, 1)
    if rows * row <= WHOLE or height >= rows:
        return []
    return [band(start, min(start + height, rows), rows, width, halo) for start in range(0, rows, height)]


def is_hooked(module: nn.Module) -> bool:
    """Whether hooks may change what it takes or gives: the backward pass does not call the MLP and its last layer."""
    return bool(module._forward_hooks or module._forward_pre_hooks)


def is_plain(layer: nn.Module) -> TypeGuard[nn.Linear | nn.Conv2d]:
    """Whether it is a linear layer, or a 1 x 1 convolution, and not what somebody put in its place or made of its weight."""
    return type(layer) in (nn.Linear, nn.Conv2d) and "weight" in dict(layer.named_parameters())


def band(start: int, stop: int, rows: int, width: int, halo: int) -> Band:
    """The band of the rows `start` to `stop` of a grid of `rows` x `width` tokens."""
    first, last = max(start - halo, 0), min(stop + halo, rows)
    inner = slice((start - first) * width, (stop - first) * width)
    return Band(
        read=slice(first * width, last * width),
        write=slice(start * width, stop * width),
        where=((last - first, width), inner) if halo else (),
    )


def in_turn(norms: Iterable[nn.Module], tokens: Tensor) -> Tensor:
    for norm in norms:
        tokens = norm(tokens)
    return tokens


class ToHidden(nn.Module):
    """Norms, and an MLP up to its hidden values."""

    def __init__(self, norms: Sequence[nn.Module], mlp: MlpBase) -> None:
        super().__init__()
        self.norms = nn.ModuleList(norms)
        self.mlp = mlp

    def forward(self, tokens: Tensor, *where: Any) -> Tensor:
        return self.mlp.hidden(in_turn(self.norms, tokens), *where)


class InBands(torch.autograd.Function):
    """Layers over the bands of (B, N, C) tokens, again in the backward pass. `parameters` are those of the layers."""

    @staticmethod
    def forward(ctx: Any, layers: ToHidden, bands: list[Band], tokens: Tensor, *parameters: Tensor) -> Tensor:
        ctx.layers, ctx.bands = layers, bands
        ctx.autocast = dict(enabled=torch.is_autocast_enabled("cpu"), dtype=torch.get_autocast_dtype("cpu"))
        ctx.save_for_backward(tokens, *parameters)
        return torch.cat([layers.mlp(in_turn(layers.norms, tokens[:, part.read]), *part.where) for part in bands], dim=1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        tokens, *parameters = ctx.saved_tensors
        names = [name for name, _ in ctx.layers.named_parameters()]
        # Hooks on the parameters are for the sums that are returned, not for each band's part: others stand in for them here.
        stand_ins = {
            name: parameter.detach().requires_grad_(parameter.requires_grad)
            for name, parameter in zip(names, parameters, strict=True)
        }
        sums = {name: torch.zeros_like(parameter) for name, parameter in stand_ins.items() if parameter.requires_grad}
        of_tokens = torch.zeros_like(tokens)
        last, last_bias = "mlp.fc2.weight", "mlp.fc2.bias"
        weight = stand_ins[last].detach().flatten(1)  # (C, hidden), of a 1 x 1 convolution too
        before = [name for name in sums if name not in (last, last_bias)]
        for part in ctx.bands:
            read = tokens[:, part.read].detach().requires_grad_()
            upstream = gradient[:, part.write]
            with torch.autocast("cpu", **ctx.autocast):
                with torch.enable_grad():
                    hidden = functional_call(ctx.layers, stand_ins, (read, *part.where))
                of_hidden = upstream @ weight
                if last in sums:
                    of_weight = upstream.flatten(0, 1).T @ hidden.detach().flatten(0, 1)
                    sums[last] += of_weight.view_as(sums[last])
            if last_bias in sums:
                sums[last_bias] += upstream.sum(dim=(0, 1))
            found = torch.autograd.grad(hidden, [read, *(stand_ins[name] for name in before)], of_hidden.to(hidden.dtype))
            of_tokens[:, part.read] += found[0]
            for name, addend in zip(before, found[1:], strict=True):
                sums[name] += addend
        return None, None, of_tokens, *(sums.get(name) for name in names)
