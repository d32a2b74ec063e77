"""MLPs: two layers with a wide one between them, for each token alone or with its neighbours."""

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from .bands import in_bands, is_plain
from .forms import BANDS, CONVOLUTIONAL_BANDS, is_exporting
from .parts import Grid, to_map, to_tokens


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
        return in_bands(BANDS, self, tokens, grid)


class Mlp(MlpBase):
    """Two linear layers with GELU between them."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__(hidden)
        self.fc1 = nn.Linear(dim, hidden)
        self.fc2 = nn.Linear(hidden, dim)

    def hidden(self, tokens: Tensor, *where: Any) -> Tensor:
        return F.gelu(self.fc1(tokens))


class MixingMlp(MlpBase):
    """MLP whose hidden layer is a map that a subclass mixes by `dwconv`: each value with its 3 x 3 neighbourhood."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__(hidden)
        self.fc1 = nn.Linear(dim, hidden)
        self.dwconv = nn.Conv2d(hidden, hidden, kernel_size=3, padding=1, groups=hidden)
        self.fc2 = nn.Linear(hidden, dim)

    def mix(self, feature_map: Tensor) -> Tensor:
        """Return the mixed map of a (B, width, h, w) map of hidden values."""
        raise NotImplementedError

    def hidden(self, tokens: Tensor, grid: Grid, inner: slice = slice(None)) -> Tensor:
        """Return the hidden values of the `inner` ones of (B, h*w, C) tokens."""
        return F.gelu(to_tokens(self.mix(to_map(self.fc1(tokens), grid)))[:, inner])

    def forward(self, tokens: Tensor, grid: Grid) -> Tensor:  # type: ignore[override]  # the grid is needed
        if is_exporting():  # runtimes copy maps to tokens: only while they are narrow
            return to_tokens(pointwise(self.fc2, F.gelu(self.mix(pointwise(self.fc1, to_map(tokens, grid))))))
        return in_bands(CONVOLUTIONAL_BANDS, self, tokens, grid)


def pointwise(layer: nn.Module, feature_map: Tensor) -> Tensor:
    """Return a layer's values for each pixel of a (B, C, h, w) map: of a linear layer as a convolution of 1 x 1."""
    if is_plain(layer, nn.Linear):
        return F.conv2d(feature_map, layer.weight[:, :, None, None], layer.bias)
    height, width = feature_map.shape[-2:]
    return to_map(layer(to_tokens(feature_map)), (height, width))
