"""Pyramid Vision Transformer (Wang et al., "Pyramid Vision Transformer: A Versatile Backbone for Dense Prediction without
Convolutions", ICCV 2021, arXiv 2102.12122).

Weights: the authors' files of github.com/whai362/PVT, release v2 (Apache-2.0), see `RELEASED`.

Differences from the authors' code:
- Each stage resizes its own position table from its own grid. Theirs compares every stage's token count with stage 1's and
  fails at 448 x 448 and 224 x 896.
- No class token, except in the classifier: their detection code does not use it either. Its row of the last table is dropped
  on loading.
- Any image size: the image is zero-padded to a multiple of 32 and the maps are cropped to ceil(size / stride).
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, cast

import torch
from timm.layers import DropPath, trunc_normal_
from torch import Tensor, nn
from typing_extensions import Unpack

from ..arguments import resolve_arch
from ..layers.attention import AttentionBase, limit_keys
from ..layers.mlp import Mlp
from ..layers.parts import Grid, drop_path_rates, init_transformer, resize_table, to_map, to_tokens
from ..layers.stages import PatchEmbed, StageBase
from ..pyramid import LAST, STRIDES, Pyramid, PyramidOptions
from ..registry import MODELS
from ..weights.released import Record, Released

TRAINED_SIZE = 224  # pixels: the image that the position tables belong to
PATCHES = (4, 2, 2, 2)


class SpatialReductionAttention(AttentionBase):
    """Attention whose keys and values come from a map `reduction` times smaller on each side (section 3.3)."""

    def __init__(self, dim: int, heads: int, reduction: int) -> None:
        super().__init__()
        self.heads = heads
        self.q = nn.Linear(dim, dim)
        self.kv = nn.Linear(dim, 2 * dim)
        self.proj = nn.Linear(dim, dim)
        self.reduction = reduction
        if reduction > 1:
            self.sr = nn.Conv2d(dim, dim, kernel_size=reduction, stride=reduction)
            self.norm = nn.LayerNorm(dim)

    def forward(self, tokens: Tensor, grid: Grid) -> Tensor:
        query = self.q(tokens)
        if self.reduction > 1:
            reduced = self.sr(to_map(tokens, grid))
            tokens, grid = self.norm(to_tokens(reduced)), tuple(reduced.shape[-2:])  # (B, h*w / reduction^2, C)
        key, value = self.kv(tokens).chunk(2, dim=2)
        return self.proj(self.attend(query, key, value, grid, heads=self.heads))


class Block(nn.Module):
    def __init__(self, dim: int, heads: int, mlp_ratio: int, reduction: int, drop_path: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=1e-6)
        self.attn = SpatialReductionAttention(dim, heads, reduction)
        self.norm2 = nn.LayerNorm(dim, eps=1e-6)
        self.mlp = Mlp(dim, mlp_ratio * dim)
        self.drop_path = DropPath(drop_path)

    def forward(self, tokens: Tensor, grid: Grid) -> Tensor:
        tokens = tokens + self.drop_path(self.attn(self.norm1(tokens), grid))
        return tokens + self.drop_path(self.mlp(self.norm2(tokens)))


class Stage(StageBase):
    def __init__(self, in_channels: int, dim: int, patch: int, trained_grid: Grid, blocks: Iterable[Block]) -> None:
        super().__init__()
        self.patch_embed = PatchEmbed(in_channels, dim, patch, stride=patch)
        self.trained_grid = trained_grid
        self.pos_embed = nn.Parameter(torch.zeros(1, trained_grid[0] * trained_grid[1], dim))
        self.blocks = nn.ModuleList(blocks)

    def forward(self, feature_map: Tensor, run_block: Callable[..., Tensor]) -> Tensor:
        tokens, grid = self.patch_embed(feature_map)
        tokens = tokens + resize_table(self.pos_embed, self.trained_grid, grid, mode="bilinear")
        for block in self.blocks:
            tokens = run_block(block, tokens, grid)
        return to_map(tokens, grid)


class ClassStage(nn.Module):
    """Last stage of the classifier (section 3.4): a class token before the tokens, and a row for it in the position table."""

    def __init__(self, stage: Stage) -> None:
        super().__init__()
        rows, dim = stage.pos_embed.shape[1:]
        self.patch_embed, self.trained_grid, self.blocks = stage.patch_embed, stage.trained_grid, stage.blocks
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + rows, dim))

    def forward(self, feature_map: Tensor, cls_token: Tensor, run_block: Callable[..., Tensor]) -> Tensor:
        """Return the class token (B, C)."""
        patches, grid = self.patch_embed(feature_map)
        patches = patches + resize_table(self.pos_embed[:, 1:], self.trained_grid, grid, mode="bilinear")
        first = (cls_token + self.pos_embed[:, :1]).expand(patches.shape[0], -1, -1)
        tokens = torch.cat([first, patches], dim=1)
        for block in self.blocks:
            tokens = run_block(block, tokens, grid)
        return tokens[:, 0]


@dataclass(frozen=True)
class Sizes:
    """Row of table 1: blocks of each stage; the rest is the same in all of the paper's models."""

    depths: tuple[int, ...]
    dims: tuple[int, ...] = (64, 128, 320, 512)
    heads: tuple[int, ...] = (1, 2, 5, 8)
    mlp_ratios: tuple[int, ...] = (8, 8, 4, 4)
    reductions: tuple[int, ...] = (8, 4, 2, 1)


ARCHS = {
    "tiny": Sizes(depths=(2, 2, 2, 2)),
    "small": Sizes(depths=(3, 4, 6, 3)),
    "medium": Sizes(depths=(3, 4, 18, 3)),
    "large": Sizes(depths=(3, 8, 27, 3)),
}

URL = "https://github.com/whai362/PVT/releases/download/v2/"
COPY = "hf://Zetatech/pvt-{}-224"
RELEASED = {  # accuracies: the paper's
    "tiny": Released("tiny", 75.1, "Apache-2.0", URL + "pvt_tiny.pth", copies=(COPY.format("tiny"),)),
    "small": Released("small", 79.8, "Apache-2.0", URL + "pvt_small.pth"),
    "medium": Released("medium", 81.2, "Apache-2.0", URL + "pvt_medium.pth", copies=(COPY.format("medium"),)),
    "large": Released("large", 81.7, "Apache-2.0", URL + "pvt_large.pth", copies=(COPY.format("large"),)),
}


@MODELS.register_module()
class PVT(Pyramid):
    """PVT as a pyramid: maps of 64, 128, 320, 512 channels at strides 4, 8, 16, 32.

    Args:
        arch: tiny, small, medium or large, or a full set of `Sizes` as a dict.
        max_keys: cap every global attention at this many keys; in larger maps, keys and values are averaged over squares of
            tokens (`attention.limit_keys`). None, as in the authors' code, sets no limit: the cost grows with the square of the
            number of pixels.
        drop_path_rate: rate of the last block, rising from 0. The authors' detection code has 0.1 for tiny and small, 0 for
            medium and large.
        options: in_channels, out_indices, frozen_stages, norm_eval, with_cp, norm_eps, contiguous_maps, init_cfg: see `Pyramid`

    Raises:
        ValueError: unknown arch, impossible max_keys, out_indices or frozen_stages.
    """

    pad_to = 32
    record = Record(
        name="pvt",
        paper="2102.12122",
        archs=ARCHS,
        released=RELEASED,
        small="small",
        input_tensors=("stages.0.patch_embed.proj.weight",),
        classifier=("cls_token", "norm", "head"),
        table_mode="bilinear",
    )

    def __init__(
        self,
        arch: str | Mapping[str, Any] | Sizes,
        *,
        max_keys: int | None = None,
        drop_path_rate: float = 0.0,
        **options: Unpack[PyramidOptions],
    ) -> None:
        sizes = resolve_arch("PVT", arch, ARCHS)
        super().__init__(sizes.dims, **options)
        rates = drop_path_rates(drop_path_rate, sizes.depths)
        inputs = (self.in_channels, *sizes.dims)
        self.stages = nn.ModuleList(
            Stage(
                inputs[stage],
                dim := sizes.dims[stage],
                PATCHES[stage],
                (TRAINED_SIZE // STRIDES[stage],) * 2,
                [
                    Block(dim, sizes.heads[stage], sizes.mlp_ratios[stage], sizes.reductions[stage], rate)
                    for rate in rates[stage]
                ],
            )
            for stage in range(self.out_indices[-1] + 1)
        )
        limit_keys(self, max_keys)
        self.finish()

    def init_parts(self) -> None:
        self.apply(init_transformer)
        for stage in self.stages:
            trunc_normal_(stage.pos_embed, std=0.02)

    def add_classifier(self, classes: int) -> None:
        super().add_classifier(classes)
        self.stages[LAST] = ClassStage(cast(Stage, self.stages[LAST]))
        self.cls_token = nn.Parameter(torch.zeros(1, 1, self.level_channels[LAST]))
        self.norm = nn.LayerNorm(self.level_channels[LAST], eps=1e-6)

    def classify(self, images: Tensor) -> Tensor:
        features = images
        for stage in self.stages[:LAST]:
            features = stage(features, self.run_block)
        return self.head(self.norm(self.stages[LAST](features, self.cls_token, self.run_block)))
