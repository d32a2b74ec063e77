"""Vision Outlooker (Yuan et al., "VOLO: Vision Outlooker for Visual Recognition", TPAMI 2022, arXiv 2106.13112).

Weights: the authors' files of github.com/sail-sg/volo, release volo_1 (Apache-2.0), see `RELEASED`.

Differences from the authors' code:
- A pyramid, which they announced and never released: the ends of their four blocks are tapped at strides 8, 16, 16, 16,
  normed, and brought to the requested strides (`layers.parts.Tap`). Their last norm is the last tap's; the rest is fresh.
- No token labelling; class token, class attention and auxiliary head in the classifier only.
- Any image size: the image is zero-padded to a multiple of 32, the position table follows the grid, the maps are cropped.
- Convolutions start from He's normal distribution instead of torch's default.
Kept on purpose: outlookers get no drop path, because the authors' code never passes it on to them.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from timm.layers import trunc_normal_
from torch import Tensor, nn
from typing_extensions import Unpack

from ..arguments import resolve_arch
from ..layers.attention import SelfAttention, check_window, limit_keys
from ..layers.mlp import Mlp
from ..layers.parts import (
    Grid,
    Taps,
    batch_norm,
    check_strides,
    convolutional_stem,
    drop_path_rates,
    init_convolution,
    init_transformer,
    resize_table,
    to_map,
    to_tokens,
    trained_grid,
)
from ..layers.stages import StageBase
from ..layers.transformer import TransformerBlock
from ..pyramid import LAST, STRIDES, Layer, Pyramid, PyramidOptions
from ..registry import MODELS
from ..weights.layouts import authors
from ..weights.layouts.rules import renamer
from ..weights.released import Record, Released
from .volo_class import ClassBlock
from .volo_outlook import STRIDE as OUTLOOK_STRIDE
from .volo_outlook import WINDOW, outlook

TAP_STRIDES = (8, 16, 16, 16)


class PatchEmbed(nn.Module):
    """Convolutional stem to stride 8."""

    def __init__(self, in_channels: int, width: int, dim: int, norm: Callable[[int], nn.Module]) -> None:
        super().__init__()
        self.conv = nn.Sequential(*convolutional_stem(in_channels, width, 2, norm))
        self.proj = nn.Conv2d(width, dim, kernel_size=4, stride=4)

    def forward(self, images: Tensor) -> Tensor:
        return self.proj(self.conv(images))


class OutlookAttention(nn.Module):
    """Outlook attention (algorithm 1): from a window's centre, a linear layer predicts how its nine values mix."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.scale = (dim // heads) ** -0.5
        self.v = nn.Linear(dim, dim, bias=False)
        self.attn = nn.Linear(dim, WINDOW * WINDOW * heads)
        self.proj = nn.Linear(dim, dim)

    def forward(self, tokens: Tensor, grid: Grid) -> Tensor:
        values = self.v(tokens).unflatten(2, (self.heads, -1)).unflatten(1, grid)  # (B, h, w, heads, d)
        centres = F.avg_pool2d(to_map(tokens, grid), OUTLOOK_STRIDE, ceil_mode=True)  # (B, C, h', w')
        logits = self.attn(centres.permute(0, 2, 3, 1)).unflatten(3, (self.heads, WINDOW, WINDOW))
        weights = (logits * self.scale).softmax(dim=-1)  # (B, h', w', heads, 9, 9)
        mixed = outlook(weights.to(values.dtype), values)
        return self.proj(mixed.flatten(3).flatten(1, 2))


class Outlooker(nn.Module):
    def __init__(self, dim: int, heads: int, mlp_ratio: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.attn = OutlookAttention(dim, heads)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = Mlp(dim, mlp_ratio * dim)

    def forward(self, tokens: Tensor, grid: Grid) -> Tensor:
        tokens = tokens + self.attn(self.norm1(tokens), grid)
        return tokens + self.mlp(self.norm2(tokens))


class Downsample(nn.Module):
    """Downsampling from stride 8 to 16, and the position table of stride 16."""

    def __init__(self, inputs: int, dim: int, trained_grid: Grid) -> None:
        super().__init__()
        self.proj = nn.Conv2d(inputs, dim, kernel_size=2, stride=2)
        self.trained_grid = trained_grid
        self.pos_embed = nn.Parameter(torch.zeros(1, *trained_grid, dim))

    def forward(self, tokens: Tensor, grid: Grid) -> tuple[Tensor, Grid]:
        feature_map = self.proj(to_map(tokens, grid))
        grid = tuple(feature_map.shape[-2:])
        table = resize_table(self.pos_embed.flatten(1, 2), self.trained_grid, grid, mode="bicubic")
        return to_tokens(feature_map) + table, grid


class Stage(StageBase):
    """Block of the paper, after the downsampling if the stride changes."""

    def __init__(self, blocks: Iterable[nn.Module], downsample: Downsample | None = None) -> None:
        super().__init__()
        self.downsample = downsample
        self.blocks = nn.ModuleList(blocks)

    def forward(self, tokens: Tensor, grid: Grid, run_block: Callable[..., Tensor]) -> tuple[Tensor, Grid]:
        if self.downsample is not None:
            tokens, grid = self.downsample(tokens, grid)
        for block in self.blocks:
            tokens = run_block(block, tokens, grid)
        return tokens, grid


@dataclass(frozen=True)
class Sizes:
    """Sizes of one of the paper's models; `dims` and `heads` are those of the outlookers and those of the transformer."""

    depths: tuple[int, ...]
    dims: tuple[int, int]
    heads: tuple[int, int]
    mlp_ratio: int = 3
    stem_width: int = 64


ARCHS = {
    "d1": Sizes(depths=(4, 4, 8, 2), dims=(192, 384), heads=(6, 12)),
    "d2": Sizes(depths=(6, 4, 10, 4), dims=(256, 512), heads=(8, 16)),
    "d3": Sizes(depths=(8, 8, 16, 4), dims=(256, 512), heads=(8, 16)),
    "d4": Sizes(depths=(8, 8, 16, 4), dims=(384, 768), heads=(12, 16)),
    "d5": Sizes(depths=(12, 12, 20, 4), dims=(384, 768), heads=(12, 16), mlp_ratio=4, stem_width=128),
}

URL = "https://github.com/sail-sg/volo/releases/download/volo_1/"
COPY = "hf://timm/volo_{}.sail_in1k"
RELEASED = {  # names and accuracies: the authors' README, section 2
    "d1": Released("d1", 84.2, "Apache-2.0", URL + "d1_224_84.2.pth.tar", copies=(COPY.format("d1_224"),)),
    "d1_384": Released("d1", 85.2, "Apache-2.0", URL + "d1_384_85.2.pth.tar", img_size=384, copies=(COPY.format("d1_384"),)),
    "d2": Released("d2", 85.2, "Apache-2.0", URL + "d2_224_85.2.pth.tar", copies=(COPY.format("d2_224"),)),
    "d2_384": Released("d2", 86.0, "Apache-2.0", URL + "d2_384_86.0.pth.tar", img_size=384, copies=(COPY.format("d2_384"),)),
    "d3": Released("d3", 85.4, "Apache-2.0", URL + "d3_224_85.4.pth.tar", copies=(COPY.format("d3_224"),)),
    "d3_448": Released("d3", 86.3, "Apache-2.0", URL + "d3_448_86.3.pth.tar", img_size=448, copies=(COPY.format("d3_448"),)),
    "d4": Released("d4", 85.7, "Apache-2.0", URL + "d4_224_85.7.pth.tar", copies=(COPY.format("d4_224"),)),
    "d4_448": Released("d4", 86.8, "Apache-2.0", URL + "d4_448_86.79.pth.tar", img_size=448, copies=(COPY.format("d4_448"),)),
    "d5": Released("d5", 86.1, "Apache-2.0", URL + "d5_224_86.10.pth.tar", copies=(COPY.format("d5_224"),)),
    "d5_448": Released("d5", 87.0, "Apache-2.0", URL + "d5_448_87.0.pth.tar", img_size=448, copies=(COPY.format("d5_448"),)),
    "d5_512": Released("d5", 87.1, "Apache-2.0", URL + "d5_512_87.07.pth.tar", img_size=512, copies=(COPY.format("d5_512"),)),
}


@MODELS.register_module()
class VOLO(Pyramid):
    """VOLO as a pyramid.

    Args:
        arch: d1 to d5, or a full set of `Sizes` as a dict.
        strides: strides of the four levels; None leaves the taps as they are, at strides 8, 16, 16, 16.
        window_size: side in tokens of the windows in which transformer blocks attend, except for each last one of a tap, as in
            ViTDet. None, as in the authors' code, is global attention: its cost grows with the square of the number of pixels.
        pretrain_img_size: side in pixels, or height and width, of the images that the position table belongs to. Loading
            resizes the table of a file of another size; with the file's own size (384, 448, 512) it stays exact.
        max_keys: cap every global attention at this many keys; in larger maps, keys and values are averaged over squares of
            tokens (`attention.limit_keys`). None, as in the authors' code, sets no limit: the cost grows with the square of the
            number of pixels.
        drop_path_rate: rate of the last block, rising from 0 over all blocks. The authors' README trains d1 with
            0.1, d2 with 0.2, d3 with 0.5.
        norm_cfg: the batch norms of the stem, such as `dict(type='SyncBN')`; with `requires_grad=False` they do not learn.
        options: in_channels, out_indices, frozen_stages, norm_eval, with_cp, norm_eps, contiguous_maps, init_cfg: see `Pyramid`

    Raises:
        ValueError: unknown arch, impossible strides, window_size, max_keys, out_indices or frozen_stages.
    """

    tapped = True
    pad_to = 32
    record = Record(
        name="volo",
        paper="2106.13112",
        archs=ARCHS,
        released=RELEASED,
        small="d1",
        our_name=renamer(authors.VOLO),
        input_tensors=("patch_embed.conv.0.weight",),
        classifier=("cls_token", "post_network", "head", "aux_head"),
        table_mode="bicubic",
        as_classifier=dict(strides=None),
    )

    def __init__(
        self,
        arch: str | Mapping[str, Any] | Sizes,
        *,
        strides: Iterable[int] | None = STRIDES,
        window_size: int | None = None,
        pretrain_img_size: int | Sequence[int] = 224,
        max_keys: int | None = None,
        drop_path_rate: float = 0.0,
        norm_cfg: Mapping[str, Any] | None = None,
        **options: Unpack[PyramidOptions],
    ) -> None:
        sizes = resolve_arch("VOLO", arch, ARCHS)
        dim = sizes.dims[1]
        channels = (sizes.dims[0], dim, dim, dim)
        strides = check_strides(strides, TAP_STRIDES)
        check_window(window_size)
        super().__init__(channels, strides=strides, **options)
        rates = drop_path_rates(drop_path_rate, sizes.depths)
        self.patch_embed = PatchEmbed(self.in_channels, sizes.stem_width, sizes.dims[0], batch_norm(norm_cfg))
        self.stages = nn.ModuleList([Stage(Outlooker(sizes.dims[0], sizes.heads[0], sizes.mlp_ratio) for _ in rates[0])])
        for stage in range(1, self.out_indices[-1] + 1):
            windows = [window_size] * (len(rates[stage]) - 1) + [None]
            blocks = [
                TransformerBlock(dim, SelfAttention(dim, sizes.heads[1]), Mlp(dim, sizes.mlp_ratio * dim), rate, window)
                for rate, window in zip(rates[stage], windows, strict=True)
            ]
            grid = trained_grid(pretrain_img_size, TAP_STRIDES[stage])
            self.stages.append(Stage(blocks, Downsample(sizes.dims[0], dim, grid) if stage == 1 else None))
        self.heads, self.mlp_ratio = sizes.heads[1], sizes.mlp_ratio
        self.taps = Taps(self.out_indices, channels, TAP_STRIDES, strides)
        limit_keys(self, max_keys)
        self.finish()

    def stage_parts(self, stage: int) -> Iterator[nn.Module]:
        if stage == 0:
            yield self.patch_embed
        yield self.stages[stage]
        if stage == LAST and LAST in self.out_indices:
            yield self.taps.at(LAST).norm

    def layers(self) -> list[Layer]:
        stem, *blocks = super().layers()
        if LAST in self.out_indices:
            blocks[-1].around.append(self.taps.at(LAST).norm)
        return [Layer(None, [self.patch_embed, *stem.around]), *blocks]

    def init_parts(self) -> None:
        self.apply(init_transformer)
        self.apply(init_convolution)
        for module in self.modules():
            if isinstance(module, Downsample):
                trunc_normal_(module.pos_embed, std=0.02)

    def add_classifier(self, classes: int) -> None:
        super().add_classifier(classes)
        dim = self.level_channels[LAST]
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.post_network = nn.ModuleList(ClassBlock(dim, self.heads, self.mlp_ratio) for _ in range(2))
        self.aux_head = nn.Linear(dim, classes)

    def classify(self, images: Tensor) -> Tensor:
        """Return the class token's logits plus half of the other tokens' largest, as the authors evaluate."""
        tokens, _ = self.stage_ends(images)[-1]
        tokens = torch.cat([self.cls_token.expand(tokens.shape[0], -1, -1), tokens], dim=1)
        for block in self.post_network:
            tokens = self.run_block(block, tokens)
        tokens = self.taps.at(LAST).norm(tokens)
        return self.head(tokens[:, 0]) + 0.5 * self.aux_head(tokens[:, 1:]).amax(dim=1)

    def forward_maps(self, images: Tensor) -> dict[int, Tensor]:
        ends = self.stage_ends(images)
        return {level: self.taps.at(level)(*ends[level]) for level in self.out_indices}

    def stage_ends(self, images: Tensor) -> list[tuple[Tensor, Grid]]:
        """Return the tokens after each stage, with their grid."""
        patches = self.patch_embed(images)
        tokens, grid = to_tokens(patches), tuple(patches.shape[-2:])
        ends = []
        for stage in self.stages:
            tokens, grid = stage(tokens, grid, self.run_block)
            ends.append((tokens, grid))
        return ends
