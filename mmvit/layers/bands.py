"""MLPs in bands of rows, so that the hidden layer stays in the cache.

The hidden layer is four to eight times as wide as the input: 131 MB in stage 1 of PVT small at 800 x 1280 pixels. On a CPU,
writing and reading it costs more than the arithmetic, above all because the kernel clears the pages of each large tensor. In
training, a band is not kept but computed again in the backward pass (Chen et al., "Training Deep Nets with Sublinear Memory
Cost", arXiv 1604.06174). Where `forms` says so, an MLP processes the whole image at once: on GPUs and in programs always.
"""

from collections.abc import Iterator
from functools import partial
from typing import Any, TypeGuard, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.modules import module as torch_module
from torch.utils.checkpoint import checkpoint

from .forms import Form
from .parts import Grid

BAND = 1 << 21  # hidden values of a band: 8 MB
WHOLE = 2 * BAND  # fewer hidden values than this are computed at once (timings in docs/performance.md)
HALO = 1  # rows above and below that a 3 x 3 convolution reads
Kind = TypeVar("Kind", bound=nn.Module)
HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def in_bands(form: Form, mlp: Any, tokens: Tensor, grid: Grid | None) -> Tensor:
    """Return `mlp.run(tokens)`, or `mlp.run(tokens, grid)`, computed in bands where that is faster.

    Args:
        form: the kind of bands.
        mlp: an `MlpBase`, whose hidden layer has `mlp.width`. It runs whole if any part of it has hooks, which would see each
            band. `mlp.run` computes each token by itself or, given a grid, from its 3 x 3 neighbourhood. For a band it takes
            the tokens of some rows, their grid, and a slice of these tokens: those whose values are wanted.
        tokens: (B, N, C), row-major over the grid.
    """
    rows, columns = grid or (tokens.shape[1], 1)
    row = tokens.shape[0] * columns * mlp.width  # hidden values
    if rows * row < WHOLE or not form.runs_on(tokens) or is_hooked(mlp):
        return mlp.run(tokens) if grid is None else mlp.run(tokens, grid)
    height = max(BAND // row, 8 * HALO if grid else 1)
    run_band = partial(checkpoint, mlp.run, use_reentrant=False) if torch.is_grad_enabled() else mlp.run
    return torch.cat([run_band(*band) for band in bands_of(tokens, grid, height)], dim=1)


def bands_of(tokens: Tensor, grid: Grid | None, height: int) -> Iterator[tuple[Any, ...]]:
    """Yield the arguments of `run` for each band of `height` rows."""
    if grid is None:
        yield from ((part,) for part in tokens.split(height, dim=1))
        return
    rows, columns = grid
    for start in range(0, rows, height):
        stop = min(start + height, rows)
        first, last = max(start - HALO, 0), min(stop + HALO, rows)
        inner = slice((start - first) * columns, (stop - first) * columns)
        yield tokens[:, first * columns : last * columns], (last - first, columns), inner


def is_hooked(mlp: nn.Module) -> bool:
    """Return whether a part of an MLP has hooks, or all modules have: counters of multiply-adds hook all modules."""
    everywhere = any(getattr(torch_module, f"_global{kind}") for kind in HOOKS)
    return everywhere or any(getattr(part, kind) for part in mlp.modules() for kind in HOOKS)


def is_plain(layer: nn.Module, kind: type[Kind]) -> TypeGuard[Kind]:
    """Return whether a layer may be computed from its weights without being called: no wrapper, as of LoRA, and no hooks."""
    return type(layer) is kind and not is_hooked(layer)
