"""Block of a vision transformer (Dosovitskiy et al., arXiv 2010.11929, equations 2 and 3), in windows if wanted."""

import torch
from timm.layers import DropPath
from torch import Tensor, nn

from .attention import from_windows, to_windows
from .parts import Grid


class TransformerBlock(nn.Module):
    """Attention, then an MLP, each after a norm and beside a shortcut.

    Args:
        dim: channels of the tokens.
        attn, mlp: modules from tokens (B, N, C) to as many; `attn` takes the grid, too, for its limit of keys.
        drop_path: rate of stochastic depth.
        window_size: side in tokens of the windows to attend in; None attends to the whole grid.
        before: number of tokens before those of the grid, such as a class token. They are in all windows, and their results
            are averaged.
    """

    def __init__(
        self, dim: int, attn: nn.Module, mlp: nn.Module, drop_path: float, window_size: int | None = None, before: int = 0
    ) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.attn = attn
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = mlp
        self.drop_path = DropPath(drop_path)
        self.window_size, self.before = window_size, before

    def forward(self, tokens: Tensor, grid: Grid) -> Tensor:
        """Return (B, before + h*w, C) tokens of as many."""
        tokens = tokens + self.drop_path(self.attend(self.norm1(tokens), grid))
        return tokens + self.drop_path(self.mlp(self.norm2(tokens)))

    def attend(self, tokens: Tensor, grid: Grid) -> Tensor:
        if self.window_size is None:
            return self.attn(tokens, grid)
        windows = to_windows(tokens[:, self.before :], grid, self.window_size)
        if self.before == 0:
            return from_windows(self.attn(windows), grid, self.window_size)
        count = windows.shape[0] // tokens.shape[0]  # windows of an image
        everywhere = tokens[:, : self.before].repeat_interleave(count, dim=0)
        mixed = self.attn(torch.cat([everywhere, windows], dim=1))
        first = mixed[:, : self.before].unflatten(0, (-1, count)).mean(dim=1)
        return torch.cat([first, from_windows(mixed[:, self.before :], grid, self.window_size)], dim=1)
