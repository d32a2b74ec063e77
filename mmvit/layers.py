"""Parts that at least two families use.

Layouts: tokens are (B, N, C), row-major over their grid (h, w); maps are (B, C, h, w).
"""

from collections.abc import Callable, Iterable, Mapping
from math import gcd, sqrt
from typing import Any, cast

import torch
import torch.nn.functional as F
from timm.layers import LayerNorm2d, trunc_normal_
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from .errors import InputError

Grid = tuple[int, int]
LEAST_QUERIES = 768  # of a call: with fewer, torch's attention works in smaller blocks


def eager_on_cpu(tensor: Tensor) -> bool:
    """Whether what is done with the tensor runs at once and on a CPU: no part of a compiled, exported or traced program."""
    return tensor.device.type == "cpu" and not torch.compiler.is_compiling() and not torch.jit.is_tracing()


def to_map(tokens: Tensor, grid: Grid) -> Tensor:
    """(B, h*w, C) tokens as a (B, C, h, w) map, a channels-last view.

    In this order: a view that splits the last axis gives a batch of one a stride by which torch takes it for channels-first.
    """
    return tokens.unflatten(1, grid).permute(0, 3, 1, 2)


def to_tokens(feature_map: Tensor) -> Tensor:
    """(B, C, h, w) map as (B, h*w, C) tokens, a view of a channels-last map."""
    return feature_map.permute(0, 2, 3, 1).flatten(1, 2)


def split_heads(tokens: Tensor, heads: int) -> Tensor:
    """(B, N, C) tokens as (B, heads, N, C / heads)."""
    return tokens.unflatten(2, (heads, -1)).transpose(1, 2)


def merge_heads(tokens: Tensor) -> Tensor:
    """(B, heads, N, d) back to (B, N, heads * d)."""
    return tokens.transpose(1, 2).flatten(2)


def to_windows(tokens: Tensor, grid: Grid, size: int) -> Tensor:
    """(B, h*w, C) tokens as (B * windows, size * size, C), windows as in ViTDet (arXiv 2203.16527), filled up with 0."""
    height, width = grid
    padded = F.pad(tokens.unflatten(1, grid), (0, 0, 0, -width % size, 0, -height % size))
    rows = padded.unflatten(2, (-1, size)).unflatten(1, (-1, size))  # (B, rows, size, columns, size, C)
    return rows.transpose(2, 3).flatten(3, 4).flatten(0, 2)


def from_windows(windows: Tensor, grid: Grid, size: int) -> Tensor:
    """The (B, h*w, C) tokens that `to_windows` made the windows of."""
    height, width = grid
    rows, columns = -(-height // size), -(-width // size)
    padded = windows.unflatten(1, (size, size)).unflatten(0, (-1, rows, columns)).transpose(2, 3)
    return padded.flatten(3, 4).flatten(1, 2)[:, :height, :width].flatten(1, 2)


def resize_table(table: Tensor, old: Grid, new: Grid, mode: str) -> Tensor:
    """Position table (1, old_h * old_w, C) interpolated to (1, new_h * new_w, C); itself when the grids agree."""
    if old == new:
        return table
    resized = F.interpolate(to_map(table, old), size=new, mode=mode, align_corners=False)
    return to_tokens(resized)


def drop_path_rates(rate: float, depths: tuple[int, ...]) -> list[list[float]]:
    """Stochastic depth (arXiv 1603.09382): rates rising linearly from 0 to `rate` over all blocks, one list a stage."""
    last = max(sum(depths) - 1, 1)
    rates = iter([rate * block / last for block in range(sum(depths))])
    return [[next(rates) for _ in range(depth)] for depth in depths]


def multi_head_attention(query: Tensor, key: Tensor, value: Tensor, *, heads: int, scale: float | None = None) -> Tensor:
    """softmax(q k^T * scale) v for each head (Vaswani et al., arXiv 1706.03762, equation 1) of `heads` * d channels.

    Args:
        query: (B, N, C), as the result.
        key: (B, M, C), as `value`.
        scale: None means d ** -0.5.
    """
    parts = parts_of(query, heads)
    if parts > 1:
        query = query.unflatten(1, (parts, -1)).flatten(0, 1)  # (B * parts, N / parts, C)
        key, value = (tokens.unsqueeze(1).expand(-1, parts, -1, -1).flatten(0, 1) for tokens in (key, value))
    query, key, value = (split_heads(tokens, heads) for tokens in (query, key, value))
    mixed = merge_heads(F.scaled_dot_product_attention(query, key, value, scale=scale))
    return mixed.unflatten(0, (-1, parts)).flatten(1, 2) if parts > 1 else mixed


def parts_of(query: Tensor, heads: int) -> int:
    """How many parts of the queries attend by themselves, so that heads and parts occupy all threads alike.

    On a CPU, torch's backward pass takes a head and an image by one thread.
    """
    if not (torch.is_grad_enabled() and query.requires_grad and eager_on_cpu(query)):
        return 1
    batch, number, _ = query.shape
    threads = torch.get_num_threads()
    parts = threads // gcd(batch * heads, threads)
    return parts if number % parts == 0 and number // parts >= LEAST_QUERIES else 1


class SelfAttention(nn.Module):
    """Multi-head self-attention (Vaswani et al., arXiv 1706.03762) of tokens (B, N, C); no biases in q, k and v."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim, bias=False)
        self.proj = nn.Linear(dim, dim)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.proj(multi_head_attention(*self.qkv(tokens).chunk(3, dim=2), heads=self.heads))


class MlpBase(nn.Module):
    """From tokens (B, N, C) to `hidden` values, of which `fc2` makes tokens again."""

    fc2: nn.Module

    def hidden(self, tokens: Tensor, *where: Any) -> Tensor:
        """(B, n, hidden); `where` says which n of the tokens, for an MLP that looks at its neighbours."""
        raise NotImplementedError

    def forward(self, tokens: Tensor, *where: Any) -> Tensor:
        return self.fc2(self.hidden(tokens, *where))


class Mlp(MlpBase):
    """Two linear layers with GELU between them."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.fc2 = nn.Linear(hidden, dim)

    def hidden(self, tokens: Tensor, *where: Any) -> Tensor:
        return F.gelu(self.fc1(tokens))


def convolutional_stem(in_channels: int, dim: int, repeats: int, norm: Callable[[int], nn.Module]) -> list[nn.Module]:
    """Convolution k7 s2, then `repeats` times k3 s1, each without bias and followed by a norm and ReLU: image to stride 2."""
    parts: list[nn.Module] = []
    for index in range(1 + repeats):
        inputs, kernel, stride = (dim, 3, 1) if index else (in_channels, 7, 2)
        convolution = nn.Conv2d(inputs, dim, kernel, stride=stride, padding=kernel // 2, bias=False)
        parts += [convolution, norm(dim), nn.ReLU(inplace=True)]
    return parts


class Tap(nn.Module):
    """The end of a block as a level of the pyramid: a norm, then from stride `old` to stride `new`.

    Rescaling as in BEiT (arXiv 2106.08254, appendix) and ViTDet (arXiv 2203.16527, section 3): transposed convolutions up,
    max-pooling down.

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
        """(B, h*w, C) tokens to a (B, C, h * old / new, w * old / new) map."""
        return self.rescale(to_map(self.norm(tokens), grid))


class Taps(nn.ModuleDict):
    """The taps of those `levels` that a pyramid returns; the other arguments have one entry for each of the four levels."""

    def __init__(self, levels: Iterable[int], channels: tuple[int, ...], old: tuple[int, ...], new: tuple[int, ...]) -> None:
        super().__init__({str(level): Tap(channels[level], old[level], new[level]) for level in levels})

    def at(self, level: int) -> Tap:
        return cast(Tap, self[str(level)])


def check_strides(strides: Iterable[int] | None, bare: tuple[int, ...]) -> tuple[int, ...]:
    """Strides of the four levels of a tapped network, whose taps lie at the strides `bare`; None means those.

    Raises:
        InputError: another number of strides than four.
    """
    levels = bare if strides is None else tuple(strides)
    if len(levels) != len(bare):
        raise InputError(f"strides={levels}: expected one for each of the {len(bare)} levels, or None for {bare}")
    return levels


def check_window(size: int | None) -> None:
    """Raises ValueError for a side of attention windows that is not a whole number from 1; None stands for no windows."""
    if size is not None and (not isinstance(size, int) or size < 1):
        raise InputError(f"window_size={size!r}: expected a number of tokens from 1, or None for the whole image")


def init_transformer(module: nn.Module) -> None:
    """Linear layers truncated normal (std 0.02) without bias, norms to identity: what all these papers start from."""
    if isinstance(module, nn.Linear):
        trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.LayerNorm):
        nn.init.ones_(module.weight)
        nn.init.zeros_(module.bias)


def init_convolution(module: nn.Module) -> None:
    """Convolutions normal with the variance 2 / fan-out (He et al., arXiv 1502.01852), without bias.

    Transposed ones, whose windows do not overlap and which no ReLU follows, keep the variance of their input.
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


BATCH_NORMS = {"BN": nn.BatchNorm2d, "SyncBN": nn.SyncBatchNorm}


def batch_norm(norm_cfg: Mapping[str, Any] | None) -> Callable[[int], _BatchNorm]:
    """Maker of batch norms over so many channels, from a config such as `dict(type='SyncBN', requires_grad=False, eps=1e-5)`.

    None means `dict(type='BN')`.

    Raises:
        InputError: a type that is none of BN and SyncBN.
    """
    options = dict(norm_cfg or {})
    kind = options.pop("type", "BN")
    if kind not in BATCH_NORMS:
        raise InputError(f"norm_cfg type {kind!r}: expected one of {', '.join(BATCH_NORMS)}")
    learns = options.pop("requires_grad", True)
    return lambda channels: BATCH_NORMS[kind](channels, **options).requires_grad_(learns)
