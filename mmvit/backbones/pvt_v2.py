"""PVT v2 (Wang et al., "PVT v2: Improved Baselines with Pyramid Vision Transformer", CVMJ 2022, arXiv 2106.13797).

Weights: the authors' files of github.com/whai362/PVT, release v2 (Apache-2.0), see `RELEASED`.

Differences from the authors' code: none in what it computes; the first embedding's bias does not start at zero (see
`PVTv2.init_parts`). Maps whose sides the reduction does not divide lose the rest at the bottom and right, as theirs do.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import sqrt
from typing import Any

import torch.nn.functional as F
from timm.layers import DropPath
from torch import Tensor, nn
from typing_extensions import Unpack

from ..arguments import resolve_arch
from ..layers.attention import AttentionBase, limit_keys
from ..layers.mlp import MixingMlp
from ..layers.parts import Grid, drop_path_rates, init_convolution, init_transformer, to_map, to_tokens
from ..layers.pooling import adaptive_average
from ..layers.stages import PatchEmbed, Stage
from ..pyramid import Pyramid, PyramidOptions
from ..registry import MODELS
from ..weights.released import Record, Released

POOLED = 7  # side of the map that linear attention takes keys and values from


class SpatialReductionAttention(AttentionBase):
    """Attention to a smaller map: by a strided convolution, or (linear, section 3.1) by pooling to 7 x 7 in every stage."""

    def __init__(self, dim: int, heads: int, reduction: int, linear: bool) -> None:
        super().__init__()
        self.heads = heads
        self.q = nn.Linear(dim, dim)
        self.kv = nn.Linear(dim, 2 * dim)
        self.proj = nn.Linear(dim, dim)
        self.linear = linear
        self.reduces = linear or reduction > 1
        if self.reduces:
            kernel = 1 if linear else reduction
            self.sr = nn.Conv2d(dim, dim, kernel_size=kernel, stride=kernel)
            self.norm = nn.LayerNorm(dim)

    def forward(self, tokens: Tensor, grid: Grid) -> Tensor:
        query = self.q(tokens)
        if self.reduces:
            tokens, grid = self.reduce(to_map(tokens, grid))
        key, value = self.kv(tokens).chunk(2, dim=2)
        return self.proj(self.attend(query, key, value, grid, heads=self.heads))

    def reduce(self, feature_map: Tensor) -> tuple[Tensor, Grid]:
        """Return (B, h*w / reduction^2, C) tokens of a smaller map, 49 of them in the linear form, and their grid."""
        reduced = self.sr(adaptive_average(feature_map, POOLED) if self.linear else feature_map)
        tokens = self.norm(to_tokens(reduced))
        return F.gelu(tokens) if self.linear else tokens, tuple(reduced.shape[-2:])


class ConvolutionalMlp(MixingMlp):
    """MLP with a depthwise 3 x 3 convolution between its layers (section 3.3), in the place of position tables."""

    def __init__(self, dim: int, hidden: int, linear: bool) -> None:
        super().__init__(dim, hidden)
        self.linear = linear

    def mix(self, feature_map: Tensor) -> Tensor:
        return self.dwconv(F.relu(feature_map) if self.linear else feature_map)


class Block(nn.Module):
    def __init__(self, dim: int, heads: int, mlp_ratio: int, reduction: int, linear: bool, drop_path: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=1e-6)
        self.attn = SpatialReductionAttention(dim, heads, reduction, linear)
        self.norm2 = nn.LayerNorm(dim, eps=1e-6)
        self.mlp = ConvolutionalMlp(dim, mlp_ratio * dim, linear)
        self.drop_path = DropPath(drop_path)

    def forward(self, tokens: Tensor, grid: Grid) -> Tensor:
        tokens = tokens + self.drop_path(self.attn(self.norm1(tokens), grid))
        return tokens + self.drop_path(self.mlp(self.norm2(tokens), grid))


@dataclass(frozen=True)
class Sizes:
    """Column of table 1; `linear` is the paper's suffix -Li."""

    depths: tuple[int, ...]
    dims: tuple[int, ...] = (64, 128, 320, 512)
    heads: tuple[int, ...] = (1, 2, 5, 8)
    mlp_ratios: tuple[int, ...] = (8, 8, 4, 4)
    reductions: tuple[int, ...] = (8, 4, 2, 1)
    linear: bool = False


ARCHS = {
    "b0": Sizes(depths=(2, 2, 2, 2), dims=(32, 64, 160, 256)),
    "b1": Sizes(depths=(2, 2, 2, 2)),
    "b2": Sizes(depths=(3, 4, 6, 3)),
    "b2_li": Sizes(depths=(3, 4, 6, 3), linear=True),
    "b3": Sizes(depths=(3, 4, 18, 3)),
    "b4": Sizes(depths=(3, 8, 27, 3)),
    "b5": Sizes(depths=(3, 6, 40, 3), mlp_ratios=(4, 4, 4, 4)),
}

URL = "https://github.com/whai362/PVT/releases/download/v2/"
COPY = "hf://timm/pvt_v2_{}.in1k"
RELEASED = {  # accuracies: the paper's
    "b0": Released("b0", 70.5, "Apache-2.0", URL + "pvt_v2_b0.pth", copies=(COPY.format("b0"),)),
    "b1": Released("b1", 78.7, "Apache-2.0", URL + "pvt_v2_b1.pth", copies=(COPY.format("b1"),)),
    "b2": Released("b2", 82.0, "Apache-2.0", URL + "pvt_v2_b2.pth", copies=(COPY.format("b2"),)),
    "b2_li": Released("b2_li", 82.1, "Apache-2.0", URL + "pvt_v2_b2_li.pth", copies=(COPY.format("b2_li"),)),
    "b3": Released("b3", 83.1, "Apache-2.0", URL + "pvt_v2_b3.pth", copies=(COPY.format("b3"),)),
    "b4": Released("b4", 83.6, "Apache-2.0", URL + "pvt_v2_b4.pth", copies=(COPY.format("b4"),)),
    "b5": Released("b5", 83.8, "Apache-2.0", URL + "pvt_v2_b5.pth", copies=(COPY.format("b5"),)),
}


@MODELS.register_module()
class PVTv2(Pyramid):
    """PVT v2 as a pyramid of strides 4, 8, 16, 32.

    Args:
        arch: b0, b1, b2, b2_li, b3, b4 or b5, or a full set of `Sizes` as a dict.
        max_keys: cap every global attention at this many keys; in larger maps, keys and values are averaged over squares of
            tokens (`attention.limit_keys`). None, as in the authors' code, sets no limit: the cost grows with the square of the
            number of pixels.
        drop_path_rate: rate of the last block, rising from 0. The authors' detection code has 0.1.
        options: in_channels, out_indices, frozen_stages, norm_eval, with_cp, norm_eps, contiguous_maps, init_cfg: see `Pyramid`

    Raises:
        ValueError: unknown arch, impossible max_keys, out_indices or frozen_stages.
    """

    record = Record(
        name="pvt_v2",
        paper="2106.13797",
        archs=ARCHS,
        released=RELEASED,
        small="b2",
        input_tensors=("stages.0.patch_embed.proj.weight",),
    )

    def __init__(
        self,
        arch: str | Mapping[str, Any] | Sizes,
        *,
        max_keys: int | None = None,
        drop_path_rate: float = 0.0,
        **options: Unpack[PyramidOptions],
    ) -> None:
        sizes = resolve_arch("PVTv2", arch, ARCHS)
        super().__init__(sizes.dims, **options)
        rates = drop_path_rates(drop_path_rate, sizes.depths)
        inputs = (self.in_channels, *sizes.dims)
        self.stages = nn.ModuleList()
        for stage in range(self.out_indices[-1] + 1):
            dim, heads = sizes.dims[stage], sizes.heads[stage]
            patch, stride = (7, 4) if stage == 0 else (3, 2)  # overlapping (section 3.2)
            blocks = [
                Block(dim, heads, sizes.mlp_ratios[stage], sizes.reductions[stage], sizes.linear, rate) for rate in rates[stage]
            ]
            self.stages.append(Stage(PatchEmbed(inputs[stage], dim, patch, stride, padding=patch // 2), blocks, dim))
        limit_keys(self, max_keys)
        self.finish()

    def init_parts(self) -> None:
        self.apply(init_transformer)
        self.apply(init_convolution)
        weight, bias = (self.get_parameter(f"stages.0.patch_embed.proj.{name}") for name in ("weight", "bias"))
        bound = 1 / sqrt(weight[0].numel())
        # As PVT's. With the authors' zero, the norm behind it divides by the root of its eps alone where a batch is padded:
        # this bias had 100,000 times the gradient of all others together (RetinaNet), and clipping left little of these.
        nn.init.uniform_(bias, -bound, bound)
