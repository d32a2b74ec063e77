"""T2T-ViT written out as in its paper; see `written_out`."""

from collections.abc import Sequence
from contextlib import nullcontext
from math import sqrt
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from mmvit.backbones import T2TViT
from mmvit.compat.versions import has_autocast

from .written_parts import Grid, heads_of, map_of, resized, self_attention, softmax_attention, tap, tokens_of, two_layers

FIRST_SPLIT, LATER_SPLIT = dict(kernel_size=7, stride=4, padding=2), dict(kernel_size=3, stride=2, padding=1)  # soft splits


def soft_split(feature_map: Tensor, split: dict[str, int]) -> Tensor:
    """Return overlapping patches as tokens (B, N, C * k * k)."""
    return F.unfold(feature_map, **split).transpose(1, 2)


def performer(module: Any, tokens: Tensor) -> Tensor:
    """Apply attention by positive random features, in float32 under autocast, then an MLP."""
    key, query, value = module.kqv(module.norm1(tokens)).chunk(3, dim=2)
    device = tokens.device.type
    with torch.autocast(device, enabled=False) if has_autocast(device) else nullcontext():
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
