"""Parts that at least two families use.

Layouts: tokens are (B, N, C), row-major over their grid (h, w); maps are (B, C, h, w).
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from math import sqrt
from typing import Any, cast

import torch
import torch.nn.functional as F
from timm.layers import LayerNorm2d, trunc_normal_
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from ..errors import InputError
from .forms import is_compiled_inference, is_compiling

Grid = tuple[int, int]


def to_map(tokens: Tensor, grid: Grid) -> Tensor:
    """Return (B, h*w, C) tokens as a (B, C, h, w) map, a channels-last view.

    The order matters: after a view that splits the last axis, torch takes a batch of one for channels-first. Inductor sets the
    stride of such a batch to 0 in any view, with the same effect, unless the strides are given.
    """
    if is_compiled_inference():
        (batch, number, channels), width = tokens.shape, grid[1]
        strides = (number * channels, 1, width * channels, channels)
        return tokens.contiguous().as_strided((batch, channels, number // width, width), strides)
    return tokens.unflatten(1, grid).permute(0, 3, 1, 2)


def to_tokens(feature_map: Tensor) -> Tensor:
    """Return a (B, C, h, w) map as (B, h*w, C) tokens, a view if the map is channels-last."""
    return feature_map.permute(0, 2, 3, 1).flatten(1, 2)


def trained_grid(size: int | Sequence[int], stride: int) -> Grid:
    """Return the grid of tokens at a stride of the images that a position table belongs to.

    Args:
        size: their side in pixels, or their height and width.

    Raises:
        InputError: the size is something else, or less than one token.
    """
    sides = [size, size] if isinstance(size, int) else [*size]
    if len(sides) != 2 or min(sides) < stride:
        raise InputError(f"pretrain_img_size={size!r}: expected a side of at least {stride} pixels, or a height and a width")
    return sides[0] // stride, sides[1] // stride


def resize_table(table: Tensor, old: Grid, new: Grid, mode: str) -> Tensor:
    """Return a position table (1, old_h * old_w, C) interpolated to (1, new_h * new_w, C), or itself if the grids agree."""
    if all(isinstance(side, int) for side in new) and old == new:  # a program for any size has other grids to come
        return table
    if mode == "bicubic" and table.is_cuda and torch.are_deterministic_algorithms_enabled():
        return to_tokens(interpolated(to_map(table, old), new, mode))  # torch has no deterministic gradient of its own form
    resized = F.interpolate(to_map(table, old), size=new, mode=mode, align_corners=False)
    return to_tokens(resized)


def interpolated(feature_map: Tensor, size: Grid, mode: str) -> Tensor:
    """Return what `F.interpolate` does, as two matrix products, whose gradients are deterministic on a GPU, too."""
    rows, columns = (_weights(old, new, mode, feature_map) for old, new in zip(feature_map.shape[-2:], size, strict=True))
    return rows @ feature_map @ columns.T


def _weights(old: int, new: int, mode: str, like: Tensor) -> Tensor:
    """Return the (new, old) matrix by which one side is interpolated: what becomes of the identity."""
    unit = torch.eye(old, device=like.device, dtype=like.dtype)
    return F.interpolate(unit[None, None], size=(new, old), mode=mode, align_corners=False)[0, 0]


def drop_path_rates(rate: float, depths: tuple[int, ...]) -> list[list[float]]:
    """Return rates of stochastic depth (arXiv 1603.09382), rising from 0 to `rate` over all blocks, one list a stage.

    Raises:
        InputError: the rate is no probability below 1.
    """
    if not 0 <= rate < 1:
        raise InputError(f"drop_path_rate={rate!r}: expected a probability from 0 to below 1")
    last = max(sum(depths) - 1, 1)
    rates = iter([rate * block / last for block in range(sum(depths))])
    return [[next(rates) for _ in range(depth)] for depth in depths]


def convolutional_stem(in_channels: int, dim: int, repeats: int, norm: Callable[[int], nn.Module]) -> list[nn.Module]:
    """Return the layers of a stem from image to stride 2: one 7 x 7 convolution of stride 2, then `repeats` of 3 x 3.

    The convolutions have no bias. A norm and ReLU follow each.
    """
    parts: list[nn.Module] = []
    for index in range(1 + repeats):
        inputs, kernel, stride = (dim, 3, 1) if index else (in_channels, 7, 2)
        convolution = nn.Conv2d(inputs, dim, kernel, stride=stride, padding=kernel // 2, bias=False)
        parts += [convolution, norm(dim), nn.ReLU(inplace=True)]
    return parts


class Tap(nn.Module):
    """Output of a block as a level of the pyramid: a norm, then rescaling from stride `old` to stride `new`.

    The rescaling is that of BEiT (arXiv 2106.08254, appendix) and ViTDet (arXiv 2203.16527, section 3): transposed
    convolutions up, max-pooling down.

    Raises:
        InputError: a `new` stride other than a quarter, half, once or twice the old.
    """

    def __init__(self, dim: int, old: int, new: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        if new == old:
            self.rescale: nn.Module = nn.Identity()
        elif 2 * new == old:
            self.rescale = nn.ConvTranspose2d(dim, dim, kernel_size=2, stride=2)
        elif 4 * new == old:
            self.rescale = nn.Sequential(
                nn.ConvTranspose2d(dim, dim, kernel_size=2, stride=2),
                LayerNorm2d(dim, eps=1e-5),
                nn.GELU(),
                nn.ConvTranspose2d(dim, dim, kernel_size=2, stride=2),
            )
        elif new == 2 * old:
            self.rescale = nn.MaxPool2d(kernel_size=2, stride=2)
        else:
            raise InputError(f"strides: a map of stride {old} cannot be brought to {new}; expected {old // 4} to {2 * old}")

    def forward(self, tokens: Tensor, grid: Grid) -> Tensor:
        """Return the (B, C, h * old / new, w * old / new) map of (B, h*w, C) tokens."""
        return self.rescale(to_map(self.norm(tokens), grid))


class Taps(nn.ModuleDict):
    """Taps of those `levels` that a pyramid returns. The other arguments have one entry for each of the four levels."""

    def __init__(self, levels: Iterable[int], channels: tuple[int, ...], old: tuple[int, ...], new: tuple[int, ...]) -> None:
        super().__init__({str(level): Tap(channels[level], old[level], new[level]) for level in levels})

    def at(self, level: int) -> Tap:
        return cast(Tap, self[str(level)])


def check_strides(strides: Iterable[int] | None, bare: tuple[int, ...]) -> tuple[int, ...]:
    """Return the strides of the four levels of a tapped network whose taps lie at the strides `bare`; None means `bare`.

    Raises:
        InputError: the number of strides is not four.
    """
    levels = bare if strides is None else tuple(strides)
    if len(levels) != len(bare):
        raise InputError(f"strides={levels}: expected one for each of the {len(bare)} levels, or None for {bare}")
    return levels


def init_transformer(module: nn.Module) -> None:
    """Initialise linear layers from a truncated normal (std 0.02) with zero bias, and norms to the identity."""
    if isinstance(module, nn.Linear):
        trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.LayerNorm):
        nn.init.ones_(module.weight)
        nn.init.zeros_(module.bias)


def init_convolution(module: nn.Module) -> None:
    """Initialise convolutions from a normal with variance 2 / fan-out (He et al., arXiv 1502.01852) and with zero bias.

    Transposed convolutions keep the variance of their input: their windows do not overlap, and no ReLU follows them.
    """
    if isinstance(module, nn.ConvTranspose2d):
        nn.init.normal_(module.weight, std=sqrt(1 / module.in_channels))
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    if isinstance(module, nn.Conv2d):
        fan_out = module.kernel_size[0] * module.kernel_size[1] * module.out_channels // module.groups
        nn.init.normal_(module.weight, std=sqrt(2 / fan_out))
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def checkpointed(block: nn.Module, *inputs: Any) -> Tensor:
    """Return `block(*inputs)`, whose activations the backward pass computes again, without counting the batch twice."""
    if is_compiling():  # a program changes the statistics once
        return checkpoint(block, *inputs, use_reentrant=False)
    return checkpoint(block, *inputs, use_reentrant=False, context_fn=lambda: (nullcontext(), _statistics_kept(block)))


@contextmanager
def _statistics_kept(block: nn.Module) -> Iterator[None]:
    """Let batch norms normalise as in training, and keep their running statistics."""
    norms = [cast("_BatchNorm", module) for module in block.modules() if tracks_statistics(module)]
    before = [(norm, norm.momentum, norm.num_batches_tracked) for norm in norms]
    for norm, _, count in before:
        norm.momentum, norm.num_batches_tracked = 0.0, cast("Tensor", count).clone()
    try:
        yield
    finally:
        for norm, momentum, count in before:
            norm.momentum, norm.num_batches_tracked = momentum, count


def tracks_statistics(module: nn.Module) -> bool:
    """Return whether a module is a batch norm with running statistics: torch's, or mmcv's, which has no class in common."""
    return getattr(module, "num_batches_tracked", None) is not None


BATCH_NORMS = {"BN": nn.BatchNorm2d, "SyncBN": nn.SyncBatchNorm}
ALIASES = {kind.__name__: name for name, kind in BATCH_NORMS.items()}  # pure-Python configs have the classes


def batch_norm(norm_cfg: Mapping[str, Any] | None) -> Callable[[int], _BatchNorm]:
    """Return a maker of batch norms from a config such as `dict(type='SyncBN', requires_grad=False, eps=1e-5)`.

    The maker takes the number of channels. None means `dict(type='BN')`.

    Raises:
        InputError: the type is neither BN nor SyncBN.
    """
    options = dict(norm_cfg or {})
    kind = options.pop("type", "BN")
    kind = ALIASES.get(getattr(kind, "__name__", kind), kind)
    if kind not in BATCH_NORMS:
        raise InputError(f"norm_cfg type {kind!r}: expected one of {', '.join(BATCH_NORMS)}")
    learns = options.pop("requires_grad", True)
    return lambda channels: BATCH_NORMS[kind](channels, **options).requires_grad_(learns)
