"""Tokens of T2T-ViT (arXiv 2101.11986): from an image to tokens at stride 16, with class token and positions. See `t2t`."""

from collections.abc import Callable
from contextlib import nullcontext
from math import sqrt
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import InputError
from ..layers.attention import AttentionBase
from ..layers.bands import is_plain
from ..layers.mlp import Mlp
from ..layers.parts import Grid, resize_table, to_map, to_tokens

STRIDE = 16
TOKEN_DIM = 64
FEATURES = TOKEN_DIM // 2  # random features of the performer
DROPOUT = 0.1  # in the performer


class Split(NamedTuple):
    kernel: int
    stride: int
    padding: int


FIRST, LATER = Split(kernel=7, stride=4, padding=2), Split(kernel=3, stride=2, padding=1)


def soft_split(feature_map: Tensor, split: Split) -> Tensor:
    """Return overlapping patches (B, N, C * k * k), channel-major, of a (B, C, h, w) map."""
    return F.unfold(feature_map, split.kernel, padding=split.padding, stride=split.stride).transpose(1, 2)


class Performer(nn.Module):
    """Attention of cost linear in N by positive random features (Choromanski et al., arXiv 2009.14794), then an MLP."""

    w: Tensor

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(inputs)
        self.kqv = nn.Linear(inputs, 3 * TOKEN_DIM)
        self.register_buffer("w", torch.zeros(FEATURES, TOKEN_DIM))
        self.proj = nn.Linear(TOKEN_DIM, TOKEN_DIM)
        self.dropout = nn.Dropout(DROPOUT)
        self.norm2 = nn.LayerNorm(TOKEN_DIM)
        self.mlp = nn.Sequential(
            nn.Linear(TOKEN_DIM, TOKEN_DIM), nn.GELU(), nn.Linear(TOKEN_DIM, TOKEN_DIM), nn.Dropout(DROPOUT)
        )

    def features(self, tokens: Tensor) -> Tensor:
        """Return positive features (B, N, 32) of (B, N, 64) tokens, whose products approximate the softmax kernel."""
        norms = tokens.square().sum(dim=2, keepdim=True) / 2
        return torch.exp(tokens @ self.w.to(tokens.dtype).T - norms) / sqrt(FEATURES)

    def attend(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Return attention's output and the values, both (B, N, 64)."""
        key, query, value = self.kqv(tokens).chunk(3, dim=2)
        with nullcontext() if tokens.is_meta else torch.autocast(tokens.device.type, enabled=False):
            exact = torch.promote_types(value.dtype, torch.float32)
            key, query = self.features(key.to(exact)), self.features(query.to(exact))
            weights = query @ key.sum(dim=1).unsqueeze(2)  # (B, N, 1)
            mixed = query @ (key.transpose(1, 2) @ value.to(exact)) / (weights + 1e-8)
        return mixed.to(value.dtype), value

    def forward(self, feature_map: Tensor, split: Split) -> Tensor:
        """Return (B, N, 64) tokens, one for each patch of a (B, C, h, w) map."""
        mixed, value = self.attend(self.norm1(soft_split(feature_map, split)))
        tokens = value + self.dropout(self.proj(mixed))
        return tokens + self.mlp(self.norm2(tokens))


class TokenAttention(AttentionBase):
    """Single-head attention from wide patches to 64 channels; the values are its shortcut."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.scale = inputs**-0.5
        self.qkv = nn.Linear(inputs, 3 * TOKEN_DIM, bias=False)
        self.proj = nn.Linear(TOKEN_DIM, TOKEN_DIM)

    def forward(self, tokens: Tensor, grid: Grid) -> Tensor:
        query, key, value = self.qkv(tokens).chunk(3, dim=2)  # (B, N, 64)
        return value + self.proj(self.attend(query, key, value, grid, heads=1, scale=self.scale))


class TokenTransformer(nn.Module):
    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(inputs)
        self.attn = TokenAttention(inputs)
        self.norm2 = nn.LayerNorm(TOKEN_DIM)
        self.mlp = Mlp(TOKEN_DIM, TOKEN_DIM)

    def forward(self, feature_map: Tensor, split: Split) -> Tensor:
        """Return (B, N, 64) tokens, one for each patch of a (B, C, h, w) map."""
        height, width = feature_map.shape[-2:]
        grid = (height // split.stride, width // split.stride)
        tokens = self.attn(self.norm1(soft_split(feature_map, split)), grid)
        return tokens + self.mlp(self.norm2(tokens))


class TokensToToken(nn.Module):
    """Soft splits with attention between them: image to tokens at stride 16."""

    def __init__(self, in_channels: int, dim: int, attention: type[Performer | TokenTransformer]) -> None:
        super().__init__()
        self.attention1 = attention(in_channels * FIRST.kernel**2)
        self.attention2 = attention(TOKEN_DIM * LATER.kernel**2)
        self.project = nn.Linear(TOKEN_DIM * LATER.kernel**2, dim)

    def forward(self, images: Tensor, run_block: Callable[..., Tensor]) -> tuple[Tensor, Grid, list[Tensor]]:
        """Return tokens (B, N, dim), their grid, and the token maps (B, 64, h, w) of strides 4 and 8."""
        height, width = images.shape[-2:]
        fine = to_map(run_block(self.attention1, images, FIRST), (height // 4, width // 4))
        coarse = to_map(run_block(self.attention2, fine, LATER), (height // 8, width // 8))
        return self.split_and_project(coarse), (height // STRIDE, width // STRIDE), [fine, coarse]

    def split_and_project(self, feature_map: Tensor) -> Tensor:
        """Return (B, N, dim) tokens of a (B, 64, h, w) map: a soft split and a linear layer, together a convolution."""
        if not is_plain(self.project, nn.Linear):
            return self.project(soft_split(feature_map, LATER))
        kernels = self.project.weight.unflatten(1, (TOKEN_DIM, LATER.kernel, LATER.kernel))
        return to_tokens(F.conv2d(feature_map, kernels, self.project.bias, LATER.stride, LATER.padding))


class ConvolutionTokens(nn.Module):
    """Three convolutions instead of the tokens-to-token module: the authors' comparison."""

    def __init__(self, in_channels: int, dim: int) -> None:
        super().__init__()
        self.soft_split0 = nn.Conv2d(in_channels, TOKEN_DIM, *FIRST)
        self.soft_split1 = nn.Conv2d(TOKEN_DIM, TOKEN_DIM, *LATER)
        self.project = nn.Conv2d(TOKEN_DIM, dim, *LATER)

    def forward(self, images: Tensor, run_block: Callable[..., Tensor]) -> tuple[Tensor, Grid, list[Tensor]]:
        fine = run_block(self.soft_split0, images)
        coarse = run_block(self.soft_split1, fine)
        patches = self.project(coarse)
        return to_tokens(patches), tuple(patches.shape[-2:]), [fine, coarse]


def token_module(kind: str, in_channels: int, dim: int) -> nn.Module:
    """Return the module that makes tokens of `dim` channels from images.

    Raises:
        InputError: a kind other than performer, transformer or convolution.
    """
    if kind == "convolution":
        return ConvolutionTokens(in_channels, dim)
    attentions: dict[str, type[Performer | TokenTransformer]] = dict(performer=Performer, transformer=TokenTransformer)
    if kind not in attentions:
        raise InputError(f"T2TViT: tokens={kind!r}; expected performer, transformer or convolution")
    return TokensToToken(in_channels, dim, attentions[kind])


class ClassAndPosition(nn.Module):
    """Class token in front of the tokens, and a fixed position table whose first row is the class token's."""

    pos_embed: Tensor

    def __init__(self, dim: int, trained_grid: Grid) -> None:
        super().__init__()
        self.trained_grid = trained_grid
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.register_buffer("pos_embed", torch.zeros(1, 1 + trained_grid[0] * trained_grid[1], dim))

    def forward(self, tokens: Tensor, grid: Grid) -> Tensor:
        """Return (B, 1 + N, C) tokens of (B, N, C) tokens."""
        table = resize_table(self.pos_embed[:, 1:], self.trained_grid, grid, mode="bicubic")
        first = (self.cls_token + self.pos_embed[:, :1]).expand(tokens.shape[0], -1, -1)
        return torch.cat([first, tokens + table], dim=1)


def sinusoids(rows: int, dim: int) -> Tensor:
    """Return the fixed position table (1, rows, dim) of Vaswani et al., arXiv 1706.03762, section 3.5."""
    columns = torch.arange(dim, dtype=torch.float64)
    angles = torch.arange(rows, dtype=torch.float64)[:, None] / 10000 ** (2 * (columns // 2) / dim)
    return torch.where(columns % 2 == 0, angles.sin(), angles.cos()).unsqueeze(0)
