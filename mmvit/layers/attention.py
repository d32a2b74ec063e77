"""Attention as several families use it: heads, windows, and a limit on the number of keys.

Layouts: tokens are (B, N, C), row-major over their grid (h, w).
"""

from itertools import count

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import InputError
from .forms import ATTENTION_IN_BLOCKS
from .parts import Grid, to_map, to_tokens

SCORES = 1 << 20  # values, 2 MB in bfloat16


def split_heads(tokens: Tensor, heads: int) -> Tensor:
    """Return (B, N, C) tokens as (B, heads, N, C / heads)."""
    return tokens.unflatten(2, (heads, -1)).transpose(1, 2)


def merge_heads(tokens: Tensor) -> Tensor:
    """Return (B, heads, N, d) tokens as (B, N, heads * d): the inverse of `split_heads`."""
    return tokens.transpose(1, 2).flatten(2)


def to_windows(tokens: Tensor, grid: Grid, size: int) -> Tensor:
    """Return (B, h*w, C) tokens as zero-padded windows (B * windows, size * size, C), as in ViTDet (arXiv 2203.16527)."""
    height, width = grid
    rows, columns = (height + size - 1) // size, (width + size - 1) // size
    padded = F.pad(tokens.unflatten(1, grid), (0, 0, 0, columns * size - width, 0, rows * size - height))
    windows = padded.unflatten(2, (-1, size)).unflatten(1, (-1, size))  # (B, rows, size, columns, size, C)
    return windows.transpose(2, 3).flatten(3, 4).flatten(0, 2)


def from_windows(windows: Tensor, grid: Grid, size: int) -> Tensor:
    """Return windows as (B, h*w, C) tokens without the padding: the inverse of `to_windows`."""
    height, width = grid
    rows, columns = (height + size - 1) // size, (width + size - 1) // size
    padded = windows.unflatten(1, (size, size)).unflatten(0, (-1, rows, columns)).transpose(2, 3)
    return padded.flatten(3, 4).flatten(1, 2)[:, :height, :width].flatten(1, 2)


def multi_head_attention(query: Tensor, key: Tensor, value: Tensor, *, heads: int, scale: float | None = None) -> Tensor:
    """Return softmax(q k^T * scale) v for each head of d channels (Vaswani et al., arXiv 1706.03762, equation 1).

    Args:
        query: (B, N, heads * d), the shape of the result.
        key: (B, M, heads * d), the shape of `value`.
        scale: None means d ** -0.5.
    """
    query, key, value = (split_heads(tokens, heads) for tokens in (query, key, value))
    in_blocks = query.dtype is torch.bfloat16 and ATTENTION_IN_BLOCKS.runs_on(query)
    attend = attention_in_blocks if in_blocks else F.scaled_dot_product_attention
    return merge_heads(attend(query, key, value, scale=scale))


def attention_in_blocks(query: Tensor, key: Tensor, value: Tensor, scale: float | None = None) -> Tensor:
    """Return attention (B, heads, N, d) as written in the paper, in blocks whose scores stay in the cache.

    Scores and weights are rounded to bfloat16, as in the authors' code under autocast. For inference on processors with
    instructions for bfloat16 and without AMX, where torch's kernel computes its products in float32.
    """
    batch, heads, number, dim = query.shape
    query, key, value = (part.flatten(0, 1) for part in (query * (dim**-0.5 if scale is None else scale), key, value))
    together = max(SCORES // (number * key.shape[1]), 1)  # heads of a block
    rows = max(SCORES // key.shape[1], 1)  # queries of a block
    mixed = torch.empty_like(query)
    for start in range(0, batch * heads, together):
        some = slice(start, start + together)
        for first in range(0, number, rows):
            part = slice(first, first + rows)
            weights = (query[some, part] @ key[some].transpose(1, 2)).softmax(dim=2)
            mixed[some, part] = weights.to(value.dtype) @ value[some]
    return mixed.unflatten(0, (batch, heads))


def averaged(tokens: Tensor, grid: Grid, most: int) -> Tensor:
    """Return tokens averaged over s x s squares, with the smallest s that leaves at most `most` tokens of the grid.

    Args:
        tokens: (B, e + h*w, C); the first e tokens, such as a class token, do not belong to the grid and stay.
    """
    height, width = grid
    sides = (side for side in count(1) if -(-height // side) * -(-width // side) <= most)
    side = next(sides)
    if side == 1:
        return tokens
    extra = tokens.shape[1] - height * width
    squares = to_tokens(F.avg_pool2d(to_map(tokens[:, extra:], grid), side, ceil_mode=True))
    return torch.cat([tokens[:, :extra], squares], dim=1)


class AttentionBase(nn.Module):
    """Attention to at most `max_keys` keys of a map; see `limit_keys`."""

    max_keys: int | None = None

    def attend(
        self, query: Tensor, key: Tensor, value: Tensor, grid: Grid | None, *, heads: int, scale: float | None = None
    ) -> Tensor:
        """Return `multi_head_attention` to the keys of this grid. Without a grid, the number of keys is not limited."""
        if self.max_keys is not None and grid is not None:
            key, value = (averaged(tokens, grid, self.max_keys) for tokens in (key, value))
        return multi_head_attention(query, key, value, heads=heads, scale=scale)


def limit_keys(model: nn.Module, max_keys: int | None) -> None:
    """Cap every global attention of the model at `max_keys` keys.

    In larger maps, keys and values are averaged over squares of tokens. This is attention to a coarser map, as in PVT
    (arXiv 2102.12122, section 3.3) and Twins (arXiv 2104.13840, section 3.2), with an average instead of a convolution: the
    weights stay the same, and beyond that size the cost grows with the number of pixels instead of its square.

    Raises:
        InputError: anything but a whole number from 1, or None for no limit.
    """
    if max_keys is not None and (not isinstance(max_keys, int) or max_keys < 1):
        raise InputError(f"max_keys={max_keys!r}: expected a number of keys from 1, or None for all")
    for module in model.modules():
        if isinstance(module, AttentionBase):
            module.max_keys = max_keys


class SelfAttention(AttentionBase):
    """Multi-head self-attention (Vaswani et al., arXiv 1706.03762) of tokens (B, N, C), without biases in q, k and v."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim, bias=False)
        self.proj = nn.Linear(dim, dim)

    def forward(self, tokens: Tensor, grid: Grid | None = None) -> Tensor:
        query, key, value = self.qkv(tokens).chunk(3, dim=2)
        return self.proj(self.attend(query, key, value, grid, heads=self.heads))


def check_window(size: int | None) -> None:
    """Raise InputError if the side of attention windows is not a whole number from 1. None stands for no windows."""
    if size is not None and (not isinstance(size, int) or size < 1):
        raise InputError(f"window_size={size!r}: expected a number of tokens from 1, or None for the whole image")
