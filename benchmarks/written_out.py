"""Each family written out as in its paper: what its authors' repositories compute with, and the reference of the fast forms.

Softmax attention by two matrix products with the N x N matrix between them (Vaswani et al., arXiv 1706.03762, equation 1),
outlook attention by unfold, matrix product, fold (arXiv 2106.13112, algorithm 1), performers by einsum (arXiv 2009.14794,
section 2), convolutions on contiguous maps. Only leaf modules (linear layers, convolutions, norms, dropouts) of the backbone
are called; of blocks and stages only their parameters' names are used, so that nothing here depends on how mmvit computes.

Shared with the backbone is what the authors do not have: padding and cropping, position tables for any image size, and the
taps of VOLO and T2T-ViT.
"""

from collections.abc import Callable
from copy import deepcopy
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmvit.backbones import PVT, VAN, VOLO, PVTv2, ShuntedTransformer, T2TViT
from mmvit.pyramid import Pyramid

from .written_parts import (
    Grid,
    heads_of,
    map_of,
    patches_to_tokens,
    resized,
    run_stages,
    self_attention,
    softmax_attention,
    tap,
    tokens_of,
    two_layers,
)
from .written_t2t import WrittenT2T

POOLED = 7  # side of the map that PVT v2's linear attention takes keys and values from
OUTLOOK = dict(kernel_size=3, padding=1, stride=2)  # VOLO's windows


def written_out(model: Pyramid) -> Pyramid:
    """Return a copy of `model` with the same tensors that computes as the paper writes it, without activation checkpointing.

    Raises:
        TypeError: a backbone of no known family.
    """
    for family, form in FORMS.items():
        if isinstance(model, family):
            copy = deepcopy(model)
            copy.__class__ = form
            copy.with_cp = False
            return copy
    raise TypeError(f"{type(model).__name__} has no written-out form; there are {', '.join(kind.__name__ for kind in FORMS)}")


# PVT and PVT v2


def reducing_attention(attention: Any, tokens: Tensor, grid: Grid, reduce: Callable[[Tensor], Tensor]) -> Tensor:
    """Attend to the tokens of a smaller map, which `reduce` makes of the map."""
    query = heads_of(attention.q(tokens), attention.heads)
    if hasattr(attention, "sr"):
        tokens = attention.norm(tokens_of(reduce(map_of(tokens, grid))))
        if getattr(attention, "linear", False):
            tokens = F.gelu(tokens)
    key, value = (heads_of(part, attention.heads) for part in attention.kv(tokens).chunk(2, dim=2))
    return attention.proj(softmax_attention(query, key, value))


def pvt_stage(stage: Any, feature_map: Tensor) -> tuple[Tensor, Grid]:
    tokens, grid = patches_to_tokens(stage.patch_embed, stage.patch_embed.proj, feature_map)
    tokens = tokens + resized(stage.pos_embed, stage.trained_grid, grid, "bilinear")
    for block in stage.blocks:
        attended = reducing_attention(block.attn, block.norm1(tokens), grid, getattr(block.attn, "sr", nn.Identity()))
        tokens = tokens + block.drop_path(attended)
        tokens = tokens + block.drop_path(two_layers(block.mlp, block.norm2(tokens)))
    return tokens, grid


class WrittenPVT(PVT):
    def forward_maps(self, images: Tensor) -> list[Tensor]:
        return run_stages(self, images, pvt_stage)


def pooled(attention: Any, feature_map: Tensor) -> Tensor:
    return attention.sr(F.adaptive_avg_pool2d(feature_map, POOLED) if attention.linear else feature_map)


def convolutional_mlp(mlp: Any, tokens: Tensor, grid: Grid) -> Tensor:
    hidden = mlp.fc1(tokens)
    hidden = map_of(F.relu(hidden) if mlp.linear else hidden, grid)
    return mlp.fc2(F.gelu(tokens_of(mlp.dwconv(hidden))))


def pvt_v2_stage(stage: Any, feature_map: Tensor) -> tuple[Tensor, Grid]:
    tokens, grid = patches_to_tokens(stage.patch_embed, stage.patch_embed.proj, feature_map)
    for block in stage.blocks:
        attended = reducing_attention(block.attn, block.norm1(tokens), grid, partial(pooled, block.attn))
        tokens = tokens + block.drop_path(attended)
        tokens = tokens + block.drop_path(convolutional_mlp(block.mlp, block.norm2(tokens), grid))
    return stage.norm(tokens), grid


class WrittenPVTv2(PVTv2):
    def forward_maps(self, images: Tensor) -> list[Tensor]:
        return run_stages(self, images, pvt_v2_stage)


# Shunted Transformer


def shunted_attention(attention: Any, tokens: Tensor, grid: Grid) -> Tensor:
    query = heads_of(attention.q(tokens), attention.heads)
    if not hasattr(attention, "sr1"):
        key, value = attention.kv(tokens).chunk(2, dim=2)
        local = tokens_of(attention.local_conv(map_of(value, grid)))
        key, value = heads_of(key, attention.heads), heads_of(value, attention.heads)
        return attention.proj(softmax_attention(query, key, value) + local)
    feature_map = map_of(tokens, grid)
    coarse_query, fine_query = query.chunk(2, dim=1)
    coarse = shunted_half(attention, "1", coarse_query, feature_map)
    return attention.proj(torch.cat([coarse, shunted_half(attention, "2", fine_query, feature_map)], dim=2))


def shunted_half(attention: Any, half: str, query: Tensor, feature_map: Tensor) -> Tensor:
    """Attend with half of the heads (B, heads / 2, N, d) to the map as reduced for them."""
    reduce, norm, kv, local = (getattr(attention, name + half) for name in ("sr", "norm", "kv", "local_conv"))
    reduced = reduce(feature_map)
    key, value = kv(F.gelu(norm(tokens_of(reduced)))).chunk(2, dim=2)
    value = value + tokens_of(local(map_of(value, (reduced.shape[2], reduced.shape[3]))))
    return softmax_attention(query, heads_of(key, query.shape[1]), heads_of(value, query.shape[1]))


def detail_specific_mlp(mlp: Any, tokens: Tensor, grid: Grid) -> Tensor:
    hidden = mlp.fc1(tokens)
    return mlp.fc2(F.gelu(hidden + tokens_of(mlp.dwconv(map_of(hidden, grid)))))


def shunted_stage(stage: Any, feature_map: Tensor) -> tuple[Tensor, Grid]:
    embed = stage.patch_embed
    tokens, grid = patches_to_tokens(embed, embed.conv if hasattr(embed, "conv") else embed.proj, feature_map)
    for block in stage.blocks:
        tokens = tokens + block.drop_path(shunted_attention(block.attn, block.norm1(tokens), grid))
        tokens = tokens + block.drop_path(detail_specific_mlp(block.mlp, block.norm2(tokens), grid))
    return stage.norm(tokens), grid


class WrittenShunted(ShuntedTransformer):
    def forward_maps(self, images: Tensor) -> list[Tensor]:
        return run_stages(self, images, shunted_stage)


# VAN


def large_kernel_attention(attention: Any, feature_map: Tensor) -> Tensor:
    gated = F.gelu(attention.proj_1(feature_map))
    unit = attention.spatial_gating_unit
    gated = gated * unit.conv1(unit.conv_spatial(unit.conv0(gated)))
    return attention.proj_2(gated) + feature_map


def van_stage(stage: Any, feature_map: Tensor) -> tuple[Tensor, Grid]:
    feature_map = stage.patch_embed.norm(stage.patch_embed.proj(feature_map))
    for block in stage.blocks:
        attended = large_kernel_attention(block.attn, block.norm1(feature_map))
        feature_map = feature_map + block.drop_path(block.layer_scale_1.unsqueeze(-1).unsqueeze(-1) * attended)
        mlp = block.mlp
        mixed = mlp.fc2(F.gelu(mlp.dwconv(mlp.fc1(block.norm2(feature_map)))))
        feature_map = feature_map + block.drop_path(block.layer_scale_2.unsqueeze(-1).unsqueeze(-1) * mixed)
    norm = stage.norm
    tokens = F.layer_norm(tokens_of(feature_map), norm.weight.shape, norm.weight, norm.bias, norm.eps)
    return tokens, (feature_map.shape[2], feature_map.shape[3])


class WrittenVAN(VAN):
    def forward_maps(self, images: Tensor) -> list[Tensor]:
        return run_stages(self, images.contiguous(), van_stage)


# VOLO


def outlook_attention(attention: Any, tokens: Tensor, grid: Grid) -> Tensor:
    """Run algorithm 1 of the paper: the nine values of each window are copied, mixed by a 9 x 9 matrix and summed back."""
    heads, (batch, _, channels) = attention.heads, tokens.shape
    value = F.unfold(map_of(attention.v(tokens), grid), **OUTLOOK)  # (B, C * 9, L), L windows
    windows, nine = value.shape[2], OUTLOOK["kernel_size"] ** 2
    value = value.reshape(batch, heads, channels // heads, nine, windows).permute(0, 1, 4, 3, 2)
    centres = F.avg_pool2d(map_of(tokens, grid), OUTLOOK["stride"], ceil_mode=True)
    weights = attention.attn(tokens_of(centres)).reshape(batch, windows, heads, nine, nine).permute(0, 2, 1, 3, 4)
    weights = (weights * (channels // heads) ** -0.5).softmax(dim=-1)
    mixed = (weights @ value).permute(0, 1, 4, 3, 2).reshape(batch, channels * nine, windows)
    return attention.proj(tokens_of(F.fold(mixed, output_size=grid, **OUTLOOK)))


class WrittenVOLO(VOLO):
    def forward_maps(self, images: Tensor) -> dict[int, Tensor]:
        patches = self.patch_embed.proj(self.patch_embed.conv(images))
        tokens, grid, maps = tokens_of(patches), (patches.shape[2], patches.shape[3]), {}
        stage: Any
        for level, stage in enumerate(self.stages):
            if level == 1:
                tokens, grid = self.downsampled(stage.downsample, tokens, grid)
            for block in stage.blocks:
                normed = block.norm1(tokens)
                attended = outlook_attention(block.attn, normed, grid) if level == 0 else self_attention(block.attn, normed)
                drop_path = getattr(block, "drop_path", nn.Identity())
                tokens = tokens + drop_path(attended)
                tokens = tokens + drop_path(two_layers(block.mlp, block.norm2(tokens)))
            if level in self.out_indices:
                maps[level] = tap(self, level, tokens, grid)
        return maps

    def downsampled(self, downsample: Any, tokens: Tensor, grid: Grid) -> tuple[Tensor, Grid]:
        feature_map = downsample.proj(map_of(tokens, grid))
        grid = (feature_map.shape[2], feature_map.shape[3])
        return tokens_of(feature_map) + resized(
            downsample.pos_embed.flatten(1, 2), downsample.trained_grid, grid, "bicubic"
        ), grid


FORMS: dict[type[Pyramid], type[Pyramid]] = {
    PVT: WrittenPVT,
    PVTv2: WrittenPVTv2,
    ShuntedTransformer: WrittenShunted,
    VAN: WrittenVAN,
    VOLO: WrittenVOLO,
    T2TViT: WrittenT2T,
}
