"""A seventh family, as its file in `mmvit/backbones` would be: PoolFormer in small (Yu et al., "MetaFormer Is Actually What You
Need for Vision", CVPR 2022, arXiv 2111.11418), whose blocks mix tokens by taking averages over 3 x 3 neighbours.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch.nn.functional as F
from timm.layers import DropPath
from torch import Tensor, nn
from typing_extensions import Unpack

from mmvit.arguments import resolve_arch
from mmvit.layers.mlp import Mlp
from mmvit.layers.parts import drop_path_rates, init_transformer, to_map, to_tokens
from mmvit.layers.stages import StageBase
from mmvit.pyramid import Pyramid, PyramidOptions
from mmvit.registry import MODELS
from mmvit.weights.released import Record, Released


class Block(nn.Module):
    def __init__(self, dim: int, drop_path: float) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(1, dim)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = Mlp(dim, 4 * dim)
        self.drop_path = DropPath(drop_path)

    def forward(self, feature_map: Tensor) -> Tensor:
        normed = self.norm1(feature_map)
        feature_map = feature_map + self.drop_path(F.avg_pool2d(normed, 3, 1, 1, count_include_pad=False) - normed)
        tokens, grid = to_tokens(feature_map), tuple(feature_map.shape[-2:])
        return to_map(tokens + self.drop_path(self.mlp(self.norm2(tokens))), grid)


class Stage(StageBase):
    def __init__(self, in_channels: int, dim: int, patch: int, rates: list[float]) -> None:
        super().__init__()
        self.patch_embed = nn.Conv2d(in_channels, dim, kernel_size=patch, stride=patch)
        self.blocks = nn.ModuleList(Block(dim, rate) for rate in rates)

    def forward(self, feature_map: Tensor, run_block: Callable[..., Tensor]) -> Tensor:
        feature_map = self.patch_embed(feature_map)
        for block in self.blocks:
            feature_map = run_block(block, feature_map)
        return feature_map


@dataclass(frozen=True)
class Sizes:
    depths: tuple[int, ...]
    dims: tuple[int, ...] = (64, 128, 320, 512)


ARCHS = {"s12": Sizes((2, 2, 6, 2)), "s24": Sizes((4, 4, 12, 4))}
RELEASED = {"s12": Released("s12", 77.2, "Apache-2.0", "https://example.org/poolformer_s12.pth")}


@MODELS.register_module()
class PoolFormer(Pyramid):
    """PoolFormer as a pyramid.

    Args:
        arch: s12 or s24, or a full set of `Sizes` as a dict.
        drop_path_rate: of the last block, rising from 0.
        options: see `Pyramid`.
    """

    pad_to = 32
    record = Record(
        name="poolformer",
        paper="2111.11418",
        archs=ARCHS,
        released=RELEASED,
        small="s12",
        input_tensors=("stages.0.patch_embed.weight",),
    )

    def __init__(
        self, arch: str | Mapping[str, Any] | Sizes, *, drop_path_rate: float = 0.0, **options: Unpack[PyramidOptions]
    ) -> None:
        sizes = resolve_arch("PoolFormer", arch, ARCHS)
        super().__init__(sizes.dims, **options)
        rates = drop_path_rates(drop_path_rate, sizes.depths)
        inputs = (self.in_channels, *sizes.dims)
        self.stages = nn.ModuleList(
            Stage(inputs[stage], sizes.dims[stage], 2 if stage else 4, rates[stage])
            for stage in range(self.out_indices[-1] + 1)
        )
        self.finish()

    def init_parts(self) -> None:
        self.apply(init_transformer)
