"""MLPs: two layers with a wide one between them, for each token alone or with its neighbours."""

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from .bands import in_bands
from .parts import Grid


class MlpBase(nn.Module):
    """MLP from tokens (B, N, C) to `hidden` values (B, N, width) and, by `fc2`, back to tokens."""

    fc2: nn.Module

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width

    def hidden(self, tokens: Tensor, *where: Any) -> Tensor:
        """Return the hidden values of some rows.

        Args:
            tokens: (B, n, C), the tokens of these rows.
            where: empty, or for an MLP that reads neighbours the grid of these rows and a slice of the wanted tokens.
        """
        raise NotImplementedError

    def run(self, tokens: Tensor, *where: Any) -> Tensor:
        return self.fc2(self.hidden(tokens, *where))

    def forward(self, tokens: Tensor, grid: Grid | None = None) -> Tensor:
        """Return tokens of the same shape as `tokens`, (B, N, C). An MLP that reads neighbours needs their grid."""
        return in_bands(self, self.width, self.run, tokens, grid)


class Mlp(MlpBase):
    """Two linear layers with GELU between them."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__(hidden)
        self.fc1 = nn.Linear(dim, hidden)
        self.fc2 = nn.Linear(hidden, dim)

    def hidden(self, tokens: Tensor, *where: Any) -> Tensor:
        return F.gelu(self.fc1(tokens))
