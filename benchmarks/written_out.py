"""Each family written out as in its paper: what its authors' repositories compute with, and the reference of the fast forms.

Softmax attention by two matrix products with the N x N matrix between them (Vaswani et al., arXiv 1706.03762, equation 1),
outlook attention by unfold, matrix product, fold (arXiv 2106.13112, algorithm 1), performers by einsum (arXiv 2009.14794,
section 2), convolutions on contiguous maps. Only leaf modules (linear layers, convolutions, norms, dropouts) of the backbone
are called; of blocks and stages only their parameters' names are used, so that nothing here depends on how mmvit computes.

Shared with the backbone is what the authors do not have: padding and cropping, position tables for any image size, and the
taps of VOLO and T2T-ViT. The file is long, because all families share its first part, and a reference is read as a whole.
"""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from copy import deepcopy
from functools import partial
from math import sqrt
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmvit.backbones import PVT, VAN, VOLO, PVTv2, ShuntedTransformer, T2TViT
from mmvit.pyramid import Pyramid

Grid = tuple[int, int]
POOLED = 7  # side of the map that PVT v2's linear attention takes keys and values from
OUTLOOK = dict(kernel_size=3, padding=1, stride=2)  # VOLO's windows
FIRST_SPLIT, LATER_SPLIT = dict(kernel_size=7, stride=4, padding=2), dict(kernel_size=3, stride=2, padding=1)  # T2T-ViT's


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


def tap(model: Any, level: int, tokens: Tensor, grid: Grid) -> Tensor:
    """Return the end of a block as a level of the pyramid, which is ours in all forms."""
    ours = model.taps[str(level)]
    return ours.rescale(map_of(ours.norm(tokens), grid))


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


# T2T-ViT


def soft_split(feature_map: Tensor, split: dict[str, int]) -> Tensor:
    """Return overlapping patches as tokens (B, N, C * k * k)."""
    return F.unfold(feature_map, **split).transpose(1, 2)


def performer(module: Any, tokens: Tensor) -> Tensor:
    """Apply attention by positive random features, in float32 under autocast, then an MLP."""
    key, query, value = module.kqv(module.norm1(tokens)).chunk(3, dim=2)
    device = tokens.device.type
    with torch.autocast(device, enabled=False) if torch.amp.is_autocast_available(device) else nullcontext():
        exact = torch.promote_types(value.dtype, torch.float32)
        w = module.w.to(exact)
        key, query = (random_features(part.to(exact), w) for part in (key, query))
        normaliser = torch.einsum("bnm,bm->bn", query, key.sum(dim=1)).unsqueeze(2)
        summary = torch.einsum("bnc,bnm->bcm", value.to(exact), key)
        mixed = torch.einsum("bnm,bcm->bnc", query, summary) / (normaliser + 1e-8)
    tokens = value + module.dropout(module.proj(mixed.to(value.dtype)))
    return tokens + module.mlp(module.norm2(tokens))


def random_features(tokens: Tensor, w: Tensor) -> Tensor:
    """Return exp(w x - |x|^2 / 2) / sqrt(m) of (B, N, C), for the m rows of w."""
    norms = (tokens * tokens).sum(dim=-1, keepdim=True) / 2
    return torch.exp(torch.einsum("bnc,mc->bnm", tokens, w) - norms) / sqrt(w.shape[0])


def token_transformer(module: Any, tokens: Tensor) -> Tensor:
    """Apply attention with one head, values as the shortcut, and the scale of the input's width, as the authors do."""
    attention = module.attn
    query, key, value = attention.qkv(module.norm1(tokens)).chunk(3, dim=2)
    mixed = softmax_attention(query[:, None], key[:, None], value[:, None], scale=tokens.shape[2] ** -0.5)
    tokens = value + attention.proj(mixed)
    return tokens + two_layers(module.mlp, module.norm2(tokens))


def t2t_attention(attention: Any, tokens: Tensor) -> Tensor:
    """Attend as in a block: plain, squeezed and excited, or with ghosts, where half of q, k and v is a scaled copy."""
    if not hasattr(attention, "cheap_operation_q"):
        mixed = self_attention(attention, tokens)
        return attention.se_layer(mixed) if hasattr(attention, "se_layer") else mixed
    query, key, value = (with_ghosts(attention, name, tokens) for name in ("q", "k", "v"))
    return attention.proj(softmax_attention(query, key, value))


def with_ghosts(attention: Any, name: str, tokens: Tensor) -> Tensor:
    half = getattr(attention, name)(tokens)
    ghosts = scaled(getattr(attention, f"cheap_operation_{name}"), half)
    return heads_of(torch.cat([half, ghosts], dim=2), attention.heads)


def scaled(cheap_operation: Any, tokens: Tensor) -> Tensor:
    """Apply a depthwise convolution of kernel 1 to the tokens."""
    weight = cheap_operation.weight
    return F.conv1d(tokens.transpose(1, 2), weight, groups=weight.shape[0]).transpose(1, 2)


def t2t_mlp(mlp: Any, tokens: Tensor) -> Tensor:
    if not hasattr(mlp, "cheap_operation2"):
        return two_layers(mlp, tokens)
    narrow = F.gelu(mlp.fc1(tokens))
    copies = [F.gelu(scaled(operation, narrow)) for operation in (mlp.cheap_operation2, mlp.cheap_operation3)]
    return mlp.fc2(torch.cat([narrow, *copies], dim=2))


def t2t_block(block: Any, tokens: Tensor) -> Tensor:
    """Apply a block; in the dense design one whose output is appended to its input, or a transition."""
    if hasattr(block, "linear"):
        return F.gelu(block.linear(tokens))
    mixed = tokens + block.drop_path(t2t_attention(block.attn, block.norm1(tokens)))
    mixed = mixed + block.drop_path(t2t_mlp(block.mlp, block.norm2(mixed)))
    return torch.cat([tokens, block.dense_linear(mixed)], dim=2) if hasattr(block, "dense_linear") else mixed


class WrittenT2T(T2TViT):
    def forward_maps(self, images: Tensor) -> dict[int, Tensor]:
        tokens, grid, token_maps = self.tokens_of_image(self.tokens_to_token, images)
        table = resized(self.embedding.pos_embed[:, 1:], self.embedding.trained_grid, grid, "bicubic")
        tokens = torch.cat([self.embedding.cls_token.expand(tokens.shape[0], -1, -1), tokens], dim=1)
        tokens = tokens + torch.cat([self.embedding.pos_embed[:, :1], table], dim=1)
        maps = {}
        for entry, block in enumerate(self.blocks, start=1):
            tokens = t2t_block(block, tokens)
            for level in self.out_indices:
                if entry == self.ends[level]:
                    maps[level] = tap(self, level, tokens[:, 1:], grid)
        for name, lateral in self.laterals.items():
            maps[int(name)] = maps[int(name)] + lateral(token_maps[int(name)])
        return maps

    def tokens_of_image(self, module: Any, images: Tensor) -> tuple[Tensor, Grid, Sequence[Tensor]]:
        """Return tokens at stride 16, their grid, and the maps of strides 4 and 8."""
        height, width = images.shape[2:]
        grid = (height // 16, width // 16)
        if hasattr(module, "soft_split0"):
            fine = module.soft_split0(images)
            coarse = module.soft_split1(fine)
            return tokens_of(module.project(coarse)), grid, (fine, coarse)
        attend = performer if hasattr(module.attention1, "kqv") else token_transformer
        fine = map_of(attend(module.attention1, soft_split(images, FIRST_SPLIT)), (height // 4, width // 4))
        coarse = map_of(attend(module.attention2, soft_split(fine, LATER_SPLIT)), (height // 8, width // 8))
        return module.project(soft_split(coarse, LATER_SPLIT)), grid, (fine, coarse)


FORMS: dict[type[Pyramid], type[Pyramid]] = {
    PVT: WrittenPVT,
    PVTv2: WrittenPVTv2,
    ShuntedTransformer: WrittenShunted,
    VAN: WrittenVAN,
    VOLO: WrittenVOLO,
    T2TViT: WrittenT2T,
}
