"""Block designs that T2T-ViT's authors explored (arXiv 2101.11986). See `t2t`."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..layers.attention import AttentionBase, SelfAttention
from ..layers.mlp import MlpBase
from ..layers.parts import Grid

SE_REDUCTION = 16


class SqueezeExcitation(nn.Module):
    """Channels weighted by what all tokens hold on average (Hu et al., arXiv 1709.01507)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        squeeze, excite = nn.Linear(dim, dim // SE_REDUCTION, bias=False), nn.Linear(dim // SE_REDUCTION, dim, bias=False)
        self.fc = nn.Sequential(squeeze, nn.ReLU(inplace=True), excite, nn.Sigmoid())

    def forward(self, tokens: Tensor) -> Tensor:
        return tokens * self.fc(tokens.mean(dim=1, keepdim=True))


class SqueezeExcitedAttention(SelfAttention):
    def __init__(self, dim: int, heads: int) -> None:
        super().__init__(dim, heads)
        self.se_layer = SqueezeExcitation(dim)

    def forward(self, tokens: Tensor, grid: Grid | None = None) -> Tensor:
        return self.se_layer(super().forward(tokens, grid))


class CheapOperation(nn.Module):
    """Factor for each channel, in the shape of a depthwise 1 x 1 convolution: the ghost's (Han et al., arXiv 1911.11907)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim, 1, 1))

    def forward(self, tokens: Tensor) -> Tensor:
        return tokens * self.weight.flatten()


class GhostAttention(AttentionBase):
    """Attention in which half of the channels of queries, keys and values are scaled copies of the other half."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q = nn.Linear(dim, dim // 2, bias=False)
        self.k = nn.Linear(dim, dim // 2, bias=False)
        self.v = nn.Linear(dim, dim // 2, bias=False)
        self.cheap_operation_q = CheapOperation(dim // 2)
        self.cheap_operation_k = CheapOperation(dim // 2)
        self.cheap_operation_v = CheapOperation(dim // 2)
        self.proj = nn.Linear(dim, dim)

    def forward(self, tokens: Tensor, grid: Grid | None = None) -> Tensor:
        query = self.with_ghost(self.q(tokens), self.cheap_operation_q)
        key = self.with_ghost(self.k(tokens), self.cheap_operation_k)
        value = self.with_ghost(self.v(tokens), self.cheap_operation_v)
        return self.proj(self.attend(query, key, value, grid, heads=self.heads))

    def with_ghost(self, half: Tensor, cheap_operation: nn.Module) -> Tensor:
        return torch.cat([half, cheap_operation(half)], dim=2)


class GhostMlp(MlpBase):
    """MLP whose hidden layer consists of a narrow one and two scaled copies of it."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__(hidden)
        self.fc1 = nn.Linear(dim, dim)
        self.cheap_operation2 = CheapOperation(dim)
        self.cheap_operation3 = CheapOperation(dim)
        self.fc2 = nn.Linear(hidden, dim)

    def hidden(self, tokens: Tensor, *where: Any) -> Tensor:
        narrow = F.gelu(self.fc1(tokens))
        copies = [F.gelu(self.cheap_operation2(narrow)), F.gelu(self.cheap_operation3(narrow))]
        return torch.cat([narrow, *copies], dim=2)


class Transition(nn.Module):
    """Linear layer that halves the width between two dense blocks."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.linear = nn.Linear(dim, dim // 2)

    def forward(self, tokens: Tensor, grid: Any) -> Tensor:
        return F.gelu(self.linear(tokens))
