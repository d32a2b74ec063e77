"""What the written-out forms of several families share: tokens and maps, softmax attention, MLPs, position tables."""

from collections.abc import Callable
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from mmvit.pyramid import Pyramid

Grid = tuple[int, int]


def tokens_of(feature_map: Tensor) -> Tensor:
    """Return a (B, C, h, w) map as (B, h*w, C) tokens."""
    return feature_map.flatten(2).transpose(1, 2)


def map_of(tokens: Tensor, grid: Grid) -> Tensor:
    """Return (B, h*w, C) tokens as a (B, C, h, w) map."""
    return tokens.transpose(1, 2).reshape(tokens.shape[0], tokens.shape[2], *grid)


def heads_of(tokens: Tensor, heads: int) -> Tensor:
    """Return (B, N, C) tokens as (B, heads, N, C / heads)."""
    batch, number, channels = tokens.shape
    return tokens.reshape(batch, number, heads, channels // heads).transpose(1, 2)


def softmax_attention(query: Tensor, key: Tensor, value: Tensor, scale: float | None = None) -> Tensor:
    """Return softmax(q k^T * scale) v of (B, heads, N, d) as tokens (B, N, heads * d); the scale is d ** -0.5 by default."""
    weights = (query @ key.transpose(-2, -1)) * (scale or query.shape[-1] ** -0.5)
    mixed = weights.softmax(dim=-1) @ value
    return mixed.transpose(1, 2).reshape(query.shape[0], query.shape[2], -1)


def self_attention(attention: Any, tokens: Tensor) -> Tensor:
    """Attend as in VOLO's and T2T-ViT's blocks: q, k, v from one linear layer."""
    query, key, value = (heads_of(part, attention.heads) for part in attention.qkv(tokens).chunk(3, dim=2))
    return attention.proj(softmax_attention(query, key, value))


def two_layers(mlp: Any, tokens: Tensor) -> Tensor:
    return mlp.fc2(F.gelu(mlp.fc1(tokens)))


def resized(table: Tensor, old: Grid, new: Grid, mode: str) -> Tensor:
    """Return a position table (1, old_h * old_w, C) for another grid."""
    return table if old == new else tokens_of(F.interpolate(map_of(table, old), size=new, mode=mode, align_corners=False))


def patches_to_tokens(embed: Any, convolution: nn.Module, feature_map: Tensor) -> tuple[Tensor, Grid]:
    """Apply a convolution, then the norm of the tokens."""
    patches = convolution(feature_map)
    return embed.norm(tokens_of(patches)), (patches.shape[2], patches.shape[3])


def run_stages(model: Pyramid, images: Tensor, run_stage: Callable[[Any, Tensor], tuple[Tensor, Grid]]) -> list[Tensor]:
    """Return the maps of the stages, each contiguous, as the authors pass them on."""
    maps = [images]
    for stage in model.stages:
        tokens, grid = run_stage(stage, maps[-1])
        maps.append(map_of(tokens, grid).contiguous())
    return maps[1:]


def tap(model: Any, level: int, tokens: Tensor, grid: Grid) -> Tensor:
    """Return the end of a block as a level of the pyramid, which is ours in all forms."""
    ours = model.taps[str(level)]
    return ours.rescale(map_of(ours.norm(tokens), grid))
