"""Shunted Transformer (Ren et al., "Shunted Self-Attention via Multi-Scale Token Aggregation", CVPR 2022, arXiv 2111.15193).

Weights: the authors' files lie in a Google Drive folder and have to be downloaded by hand, see `RELEASED`. Their repository has
no licence.

Differences from the authors' code:
- Any image size: the image is zero-padded to a multiple of 32 and the maps are cropped to ceil(size / stride).
- The four stages' normed outputs are the maps; their dense-prediction code was never released.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from timm.layers import DropPath
from torch import Tensor, nn
from typing_extensions import Unpack

from ..arguments import resolve_arch
from ..layers.attention import AttentionBase, limit_keys
from ..layers.mlp import MixingMlp
from ..layers.parts import (
    Grid,
    batch_norm,
    convolutional_stem,
    drop_path_rates,
    init_convolution,
    init_transformer,
    to_map,
    to_tokens,
)
from ..layers.stages import PatchEmbed, Stage
from ..pyramid import Pyramid, PyramidOptions
from ..registry import MODELS
from ..weights.released import Record, Released


class Stem(nn.Module):
    """Convolutions to tokens at stride 4."""

    def __init__(self, in_channels: int, dim: int, repeats: int, norm: Callable[[int], nn.Module]) -> None:
        super().__init__()
        self.conv = nn.Sequential(
            *convolutional_stem(in_channels, dim, repeats, norm), nn.Conv2d(dim, dim, kernel_size=2, stride=2)
        )
        self.norm = nn.LayerNorm(dim)

    def forward(self, images: Tensor) -> tuple[Tensor, Grid]:
        patches = self.conv(images)
        return self.norm(to_tokens(patches)), tuple(patches.shape[-2:])


def depthwise_3x3(channels: int) -> nn.Conv2d:
    return nn.Conv2d(channels, channels, kernel_size=3, padding=1, groups=channels)


class ShuntedAttention(AttentionBase):
    """Attention in which half of the heads see keys of a coarse map, half of a fine one (section 3.2).

    `reduction` is that of the coarse map.
    """

    def __init__(self, dim: int, heads: int, reduction: int) -> None:
        super().__init__()
        self.heads = heads
        self.q = nn.Linear(dim, dim)
        self.sr1 = nn.Conv2d(dim, dim, kernel_size=reduction, stride=reduction)
        self.norm1 = nn.LayerNorm(dim)
        self.kv1 = nn.Linear(dim, dim)
        self.local_conv1 = depthwise_3x3(dim // 2)
        self.sr2 = nn.Conv2d(dim, dim, kernel_size=reduction // 2, stride=reduction // 2)
        self.norm2 = nn.LayerNorm(dim)
        self.kv2 = nn.Linear(dim, dim)
        self.local_conv2 = depthwise_3x3(dim // 2)
        self.proj = nn.Linear(dim, dim)

    def forward(self, tokens: Tensor, grid: Grid) -> Tensor:
        coarse_query, fine_query = self.q(tokens).chunk(2, dim=2)  # (B, h*w, C / 2): the first and the last heads
        feature_map = to_map(tokens, grid)
        coarse = self.attend_to(coarse_query, self.sr1(feature_map), self.norm1, self.kv1, self.local_conv1)
        fine = self.attend_to(fine_query, self.sr2(feature_map), self.norm2, self.kv2, self.local_conv2)
        return self.proj(torch.cat([coarse, fine], dim=2))

    def attend_to(self, query: Tensor, reduced: Tensor, norm: nn.Module, kv: nn.Module, local: nn.Module) -> Tensor:
        """Attend with half of the heads from `query` (B, h*w, C / 2) to the `reduced` map (B, C, h', w')."""
        key, value = kv(F.gelu(norm(to_tokens(reduced)))).chunk(2, dim=2)  # (B, h'*w', C / 2)
        grid = (reduced.shape[2], reduced.shape[3])
        value = value + to_tokens(local(to_map(value, grid)))
        return self.attend(query, key, value, grid, heads=self.heads // 2)


class Attention(AttentionBase):
    """Ordinary attention plus a depthwise convolution of the values, as the last stage has it."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q = nn.Linear(dim, dim)
        self.kv = nn.Linear(dim, 2 * dim)
        self.local_conv = depthwise_3x3(dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, tokens: Tensor, grid: Grid) -> Tensor:
        key, value = self.kv(tokens).chunk(2, dim=2)
        local = to_tokens(self.local_conv(to_map(value, grid)))
        return self.proj(self.attend(self.q(tokens), key, value, grid, heads=self.heads) + local)


class DetailSpecificMlp(MixingMlp):
    """Detail-specific feed-forward: an MLP that adds a depthwise convolution of its hidden layer."""

    def mix(self, feature_map: Tensor) -> Tensor:
        return feature_map + self.dwconv(feature_map)


class Block(nn.Module):
    def __init__(self, dim: int, heads: int, mlp_ratio: int, reduction: int, drop_path: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=1e-6)
        self.attn = ShuntedAttention(dim, heads, reduction) if reduction > 1 else Attention(dim, heads)
        self.norm2 = nn.LayerNorm(dim, eps=1e-6)
        self.mlp = DetailSpecificMlp(dim, mlp_ratio * dim)
        self.drop_path = DropPath(drop_path)

    def forward(self, tokens: Tensor, grid: Grid) -> Tensor:
        tokens = tokens + self.drop_path(self.attn(self.norm1(tokens), grid))
        return tokens + self.drop_path(self.mlp(self.norm2(tokens), grid))


@dataclass(frozen=True)
class Sizes:
    """Sizes of one of the paper's models; `stem_repeats` is the number of 3 x 3 convolutions in the stem."""

    depths: tuple[int, ...]
    stem_repeats: int
    dims: tuple[int, ...] = (64, 128, 256, 512)
    heads: tuple[int, ...] = (2, 4, 8, 16)
    mlp_ratios: tuple[int, ...] = (8, 8, 4, 4)
    reductions: tuple[int, ...] = (8, 4, 2, 1)


ARCHS = {
    "tiny": Sizes(depths=(1, 2, 4, 1), stem_repeats=0),
    "small": Sizes(depths=(2, 4, 12, 1), stem_repeats=1),
    "base": Sizes(depths=(3, 4, 24, 2), stem_repeats=2),
}

FOLDER = "https://drive.google.com/drive/folders/15iZKXFT7apjUSoN2WUMAbb0tvJgyh3YP"
RELEASED = {  # accuracies: the authors' README
    "tiny": Released("tiny", 79.8, folder=FOLDER),
    "small": Released("small", 82.9, folder=FOLDER),
    "base": Released("base", 84.0, folder=FOLDER),
}


@MODELS.register_module()
class ShuntedTransformer(Pyramid):
    """Shunted Transformer as a pyramid: maps of 64, 128, 256, 512 channels at strides 4, 8, 16, 32.

    Args:
        arch: tiny, small or base, or a full set of `Sizes` as a dict.
        max_keys: cap every global attention at this many keys; in larger maps, keys and values are averaged over squares of
            tokens (`attention.limit_keys`). None, as in the authors' code, sets no limit: the cost grows with the square of the
            number of pixels.
        drop_path_rate: rate of the last block, rising from 0. The authors' configs have 0.1, 0.2, 0.3 for tiny,
            small, base.
        norm_cfg: the batch norms of the stem, such as `dict(type='SyncBN')`; with `requires_grad=False` they do not learn.
        options: in_channels, out_indices, frozen_stages, norm_eval, with_cp, norm_eps, contiguous_maps, init_cfg: see `Pyramid`

    Raises:
        ValueError: unknown arch, impossible max_keys, out_indices or frozen_stages.
    """

    pad_to = 32
    record = Record(
        name="shunted",
        paper="2111.15193",
        archs=ARCHS,
        released=RELEASED,
        small="small",
        input_tensors=("stages.0.patch_embed.conv.0.weight",),
    )

    def __init__(
        self,
        arch: str | Mapping[str, Any] | Sizes,
        *,
        max_keys: int | None = None,
        drop_path_rate: float = 0.0,
        norm_cfg: Mapping[str, Any] | None = None,
        **options: Unpack[PyramidOptions],
    ) -> None:
        sizes = resolve_arch("ShuntedTransformer", arch, ARCHS)
        super().__init__(sizes.dims, **options)
        rates = drop_path_rates(drop_path_rate, sizes.depths)
        self.stages = nn.ModuleList()
        for stage in range(self.out_indices[-1] + 1):
            dim = sizes.dims[stage]
            if stage == 0:
                patch_embed: Stem | PatchEmbed = Stem(self.in_channels, dim, sizes.stem_repeats, batch_norm(norm_cfg))
            else:
                patch_embed = PatchEmbed(sizes.dims[stage - 1], dim, patch=3, stride=2, padding=1)
            shape = (dim, sizes.heads[stage], sizes.mlp_ratios[stage], sizes.reductions[stage])
            self.stages.append(Stage(patch_embed, [Block(*shape, rate) for rate in rates[stage]], dim))
        limit_keys(self, max_keys)
        self.finish()

    def init_parts(self) -> None:
        self.apply(init_transformer)
        self.apply(init_convolution)
