"""Class attention of VOLO's classifier, as in CaiT (Touvron et al., arXiv 2103.17239, section 3). See `volo`."""

import torch
from torch import Tensor, nn

from ..layers.attention import multi_head_attention
from ..layers.mlp import Mlp


class ClassAttention(nn.Module):
    """Attention of the class token to all tokens, itself included."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q = nn.Linear(dim, dim, bias=False)
        self.kv = nn.Linear(dim, 2 * dim, bias=False)
        self.proj = nn.Linear(dim, dim)

    def forward(self, tokens: Tensor) -> Tensor:
        key, value = self.kv(tokens).chunk(2, dim=2)
        return self.proj(multi_head_attention(self.q(tokens[:, :1]), key, value, heads=self.heads))


class ClassBlock(nn.Module):
    """Block of the classifier that changes the class token only."""

    def __init__(self, dim: int, heads: int, mlp_ratio: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.attn = ClassAttention(dim, heads)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = Mlp(dim, mlp_ratio * dim)

    def forward(self, tokens: Tensor) -> Tensor:
        first = tokens[:, :1] + self.attn(self.norm1(tokens))
        first = first + self.mlp(self.norm2(first))
        return torch.cat([first, tokens[:, 1:]], dim=1)
