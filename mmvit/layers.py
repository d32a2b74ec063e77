"""Parts that at least two families use.

Layouts: tokens are (B, N, C), row-major over their grid (h, w); maps are (B, C, h, w).
"""

from collections.abc import Callable, Mapping
from math import sqrt
from typing import Any

import torch.nn.functional as F
from timm.layers import trunc_normal_
from torch import Tensor, nn

Grid = tuple[int, int]


def to_map(tokens: Tensor, grid: Grid) -> Tensor:
    """(B, h*w, C) tokens as a (B, C, h, w) map."""
    return tokens.transpose(1, 2).unflatten(2, grid)


def to_tokens(feature_map: Tensor) -> Tensor:
    """(B, C, h, w) map as (B, h*w, C) tokens."""
    return feature_map.flatten(2).transpose(1, 2)


def split_heads(tokens: Tensor, heads: int) -> Tensor:
    """(B, N, C) tokens as (B, heads, N, C / heads)."""
    return tokens.unflatten(2, (heads, -1)).transpose(1, 2)


def merge_heads(tokens: Tensor) -> Tensor:
    """(B, heads, N, d) back to (B, N, heads * d)."""
    return tokens.transpose(1, 2).flatten(2)


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
    """Convolutions normal with the variance 2 / fan-out (He et al., arXiv 1502.01852), without bias."""
    if isinstance(module, nn.Conv2d):
        fan_out = module.kernel_size[0] * module.kernel_size[1] * module.out_channels // module.groups
        nn.init.normal_(module.weight, std=sqrt(2 / fan_out))
        if module.bias is not None:
            nn.init.zeros_(module.bias)


BATCH_NORMS = {"BN": nn.BatchNorm2d, "SyncBN": nn.SyncBatchNorm}


def batch_norm(norm_cfg: Mapping[str, Any] | None) -> Callable[[int], nn.Module]:
    """Maker of batch norms over so many channels, from a config such as `dict(type='SyncBN', requires_grad=False, eps=1e-5)`.

    None means `dict(type='BN')`.

    Raises:
        ValueError: a type that is none of BN and SyncBN.
    """
    options = dict(norm_cfg or {})
    kind = options.pop("type", "BN")
    if kind not in BATCH_NORMS:
        raise ValueError(f"norm_cfg type {kind!r}: expected one of {', '.join(BATCH_NORMS)}")
    learns = options.pop("requires_grad", True)
    return lambda channels: BATCH_NORMS[kind](channels, **options).requires_grad_(learns)
