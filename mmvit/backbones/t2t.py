"""Tokens-to-Token ViT (Yuan et al., "Tokens-to-Token ViT: Training Vision Transformers from Scratch on ImageNet", ICCV 2021,
arXiv 2101.11986).

Weights: the authors' files of github.com/yitu-opensource/T2T-ViT, release main (Clear BSD), see `RELEASED`.

Differences from the authors' code:
- A pyramid: the ends of the four quarters of the blocks are tapped at stride 16, normed, and brought to the requested
  strides (`layers.parts.Tap`); the module's own token maps at strides 4 and 8 are added to the first two levels
  (`token_laterals`). Their last norm is the last tap's; the rest of the taps and the laterals are fresh.
- Any image size: their grid is the square root of the number of tokens, ours is the image's. The image is zero-padded to a
  multiple of 32, the patches' part of the position table follows the grid, the maps are cropped. The class token stays.
- Attention is scaled by head_dim ** -0.5, as their evaluation builds the models. Their functions scale by the whole width when
  called with `pretrained=True`, which their evaluation does not ask for.
- Stochastic depth rises over all layers of the dense design, not over its four dense blocks.
- The position table and the performer's `w`, which are not trained, are buffers here and frozen parameters there.
- Performer features are computed in float32 under autocast: in half precision they overflow.
Kept on purpose: transformer tokens (`t2t_tokens`) scale by the *input* width, 147 ** -0.5 and 576 ** -0.5.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import sqrt
from typing import Any

import torch
from timm.layers import trunc_normal_
from torch import Tensor, nn
from typing_extensions import Unpack

from ..arguments import resolve_arch
from ..errors import InputError
from ..layers.attention import SelfAttention, check_window, limit_keys
from ..layers.mlp import Mlp, MlpBase
from ..layers.parts import Grid, Taps, check_strides, drop_path_rates, init_convolution, init_transformer, trained_grid
from ..layers.transformer import TransformerBlock
from ..pyramid import LAST, STRIDES, Layer, Pyramid, PyramidOptions
from ..registry import MODELS
from ..weights.layouts import authors
from ..weights.layouts.rules import renamer
from ..weights.released import Record, Released
from .t2t_designs import CheapOperation, GhostAttention, GhostMlp, SqueezeExcitedAttention, Transition
from .t2t_tokens import FEATURES, STRIDE, TOKEN_DIM, ClassAndPosition, Performer, sinusoids, token_module

TAP_STRIDES = (STRIDE,) * 4
GROWTH = 64  # channels that a layer of the dense design adds


DESIGNS: dict[str, tuple[Callable[..., nn.Module], Callable[..., MlpBase]]] = {
    "plain": (SelfAttention, Mlp),
    "se": (SqueezeExcitedAttention, Mlp),
    "ghost": (GhostAttention, GhostMlp),
    "dense": (SelfAttention, Mlp),
}


class Block(TransformerBlock):
    """Block of one of the designs; the class token is before the others."""

    def __init__(self, dim: int, heads: int, mlp_ratio: int, design: str, drop_path: float, window_size: int | None) -> None:
        attention, mlp = DESIGNS[design]
        super().__init__(dim, attention(dim, heads), mlp(dim, mlp_ratio * dim), drop_path, window_size, before=1)


class DenseLayer(Block):
    """Block whose output, narrowed, is appended to its input (Huang et al., arXiv 1608.06993)."""

    def __init__(self, dim: int, *design: Any) -> None:
        super().__init__(dim, *design)
        self.dense_linear = nn.Linear(dim, GROWTH)

    def forward(self, tokens: Tensor, grid: Grid) -> Tensor:
        return torch.cat([tokens, self.dense_linear(super().forward(tokens, grid))], dim=2)


@dataclass(frozen=True)
class Sizes:
    """Sizes of one of the authors' models. `depths` has one entry, or in the dense design one for each dense block."""

    embed_dim: int
    depths: tuple[int, ...]
    heads: int
    mlp_ratio: int = 3
    tokens: str = "performer"
    design: str = "plain"

    def widths(self) -> list[int]:
        """Return the channels after each entry of `blocks`: layers, and transitions between dense blocks."""
        if self.design != "dense":
            return [self.embed_dim] * sum(self.depths)
        widths = [self.embed_dim]
        for dense_block, layers in enumerate(self.depths):
            if dense_block > 0:
                widths.append(widths[-1] // 2)
            for _ in range(layers):
                widths.append(widths[-1] + GROWTH)
        return widths[1:]


ARCHS = {
    "7": Sizes(embed_dim=256, depths=(7,), heads=4, mlp_ratio=2),
    "10": Sizes(embed_dim=256, depths=(10,), heads=4, mlp_ratio=2),
    "12": Sizes(embed_dim=256, depths=(12,), heads=4, mlp_ratio=2),
    "14": Sizes(embed_dim=384, depths=(14,), heads=6),
    "19": Sizes(embed_dim=448, depths=(19,), heads=7),
    "24": Sizes(embed_dim=512, depths=(24,), heads=8),
    "t_14": Sizes(embed_dim=384, depths=(14,), heads=6, tokens="transformer"),
    "t_19": Sizes(embed_dim=448, depths=(19,), heads=7, tokens="transformer"),
    "t_24": Sizes(embed_dim=512, depths=(24,), heads=8, tokens="transformer"),
    "14_resnext": Sizes(embed_dim=384, depths=(14,), heads=32),
    "14_wide": Sizes(embed_dim=768, depths=(4,), heads=12),
    "14_se": Sizes(embed_dim=384, depths=(14,), heads=6, design="se"),
    "16_ghost": Sizes(embed_dim=384, depths=(16,), heads=6, design="ghost"),
    "dense": Sizes(embed_dim=128, depths=(3, 6, 6, 4), heads=8, mlp_ratio=2, design="dense"),
}

URL = "https://github.com/yitu-opensource/T2T-ViT/releases/download/main/"
LICENCE = "Clear BSD"
COPY = "https://download.openmmlab.com/mmclassification/v0/t2t-vit/t2t-vit-t-{}_3rdparty_8xb128_in1k_20210928-{}.pth"
RELEASED = {  # names and accuracies: the authors' README, section 2
    "7": Released("7", 71.7, LICENCE, URL + "71.7_T2T_ViT_7.pth.tar"),
    "10": Released("10", 75.2, LICENCE, URL + "75.2_T2T_ViT_10.pth.tar"),
    "12": Released("12", 76.5, LICENCE, URL + "76.5_T2T_ViT_12.pth.tar"),
    "14": Released("14", 81.5, LICENCE, URL + "81.5_T2T_ViT_14.pth.tar"),
    "14_384": Released("14", 83.3, LICENCE, URL + "83.3_T2T_ViT_14.pth.tar", img_size=384),
    "19": Released("19", 81.9, LICENCE, URL + "81.9_T2T_ViT_19.pth.tar"),
    "24": Released("24", 82.3, LICENCE, URL + "82.3_T2T_ViT_24.pth.tar"),
    "t_14": Released("t_14", 81.7, LICENCE, URL + "81.7_T2T_ViTt_14.pth.tar", copies=(COPY.format("14", "b7c09b62"),)),
    "t_19": Released("t_19", 82.4, LICENCE, URL + "82.4_T2T_ViTt_19.pth.tar", copies=(COPY.format("19", "7f1478d5"),)),
    "t_24": Released("t_24", 82.6, LICENCE, URL + "82.6_T2T_ViTt_24.pth.tar", copies=(COPY.format("24", "fe95a61b"),)),
}


@MODELS.register_module()
class T2TViT(Pyramid):
    """T2T-ViT as a pyramid.

    Args:
        arch: 7, 10, 12, 14, 19, 24 (performer tokens), t_14, t_19, t_24 (transformer tokens), the explored designs 14_resnext,
            14_wide, 14_se, 16_ghost, dense, or a full set of `Sizes` as a dict.
        tokens: performer, transformer or convolution: what turns the image into tokens; None means the arch's own.
        strides: strides of the four levels; None leaves the taps as they are, all at stride 16.
        token_laterals: add the token maps of strides 4 and 8 to the levels of these strides, through 1 x 1 convolutions.
        window_size: side in tokens of the windows in which all blocks attend but the last of each tap, as in ViTDet. The class
            token is in all windows, and its results are averaged. None, as in the authors' code, is global attention, whose
            cost grows with the square of the number of pixels.
        pretrain_img_size: side in pixels, or height and width, of the images that the position table belongs to. Loading
            resizes the table of a file of another size; with the file's own size (384) it stays exact.
        max_keys: cap every global attention at this many keys; in larger maps, keys and values are averaged over squares of
            tokens (`attention.limit_keys`). None, as in the authors' code, sets no limit: the cost grows with the square of the
            number of pixels.
        drop_path_rate: rate of the last block, rising from 0. The authors' main.py has 0.1.
        options: in_channels, out_indices, frozen_stages, norm_eval, with_cp, norm_eps, contiguous_maps, init_cfg: see `Pyramid`

    Raises:
        ValueError: unknown arch or tokens, impossible strides, window_size, max_keys, out_indices or frozen_stages.
    """

    tapped = True
    pad_to = 32
    record = Record(
        name="t2t_vit",
        paper="2101.11986",
        archs=ARCHS,
        released=RELEASED,
        small="14",
        our_name=renamer(authors.T2T),
        input_tensors=(
            "tokens_to_token.attention1.norm1.weight",
            "tokens_to_token.attention1.norm1.bias",
            "tokens_to_token.attention1.kqv.weight",
            "tokens_to_token.attention1.attn.qkv.weight",
            "tokens_to_token.soft_split0.weight",
        ),
        table_mode="bicubic",
        as_classifier=dict(strides=None, token_laterals=False),
    )

    def __init__(
        self,
        arch: str | Mapping[str, Any] | Sizes,
        *,
        tokens: str | None = None,
        strides: Iterable[int] | None = STRIDES,
        token_laterals: bool = True,
        window_size: int | None = None,
        pretrain_img_size: int | Sequence[int] = 224,
        max_keys: int | None = None,
        drop_path_rate: float = 0.0,
        **options: Unpack[PyramidOptions],
    ) -> None:
        sizes = resolve_arch("T2TViT", arch, ARCHS)
        if sizes.design not in DESIGNS:
            raise InputError(f"T2TViT: design={sizes.design!r}; expected one of {', '.join(DESIGNS)}")
        widths = sizes.widths()
        ends = [-(-len(widths) * quarter // 4) for quarter in range(1, 5)]  # entries of `blocks` before each tap
        channels = tuple(widths[end - 1] for end in ends)
        strides = check_strides(strides, TAP_STRIDES)
        check_window(window_size)
        super().__init__(channels, strides=strides, **options)
        self.ends = ends
        self.tokens_to_token = token_module(tokens or sizes.tokens, self.in_channels, sizes.embed_dim)
        self.embedding = ClassAndPosition(sizes.embed_dim, trained_grid(pretrain_img_size, STRIDE))
        rates = iter(drop_path_rates(drop_path_rate, (sum(sizes.depths),))[0])
        self.blocks = nn.ModuleList()
        entries = pairwise([sizes.embed_dim, *widths[: ends[self.out_indices[-1]]]])
        for entry, (dim, new) in enumerate(entries, start=1):
            if new < dim:
                self.blocks.append(Transition(dim))
            else:
                kind = DenseLayer if new > dim else Block
                window = None if entry in ends else window_size
                self.blocks.append(kind(dim, sizes.heads, sizes.mlp_ratio, sizes.design, next(rates), window))
        self.taps = Taps(self.out_indices, channels, TAP_STRIDES, strides)
        self.laterals = nn.ModuleDict(
            {
                str(level): nn.Conv2d(TOKEN_DIM, channels[level], kernel_size=1)
                for level in self.out_indices
                if token_laterals and level < 2 and strides[level] == STRIDES[level]
            }
        )
        limit_keys(self, max_keys)
        self.finish()

    def stage_parts(self, stage: int) -> Iterator[nn.Module]:
        if stage == 0:
            yield self.tokens_to_token
            yield self.embedding
        yield from self.blocks[self.ends[stage - 1] if stage else 0 : self.ends[stage]]
        if stage == LAST and LAST in self.out_indices:
            yield self.taps.at(LAST).norm

    def layers(self) -> list[Layer]:
        blocks = [Layer(block, []) for block in self.blocks]
        if LAST in self.out_indices:
            blocks[-1].around.append(self.taps.at(LAST).norm)
        return [Layer(None, [self.tokens_to_token, self.embedding]), *blocks]

    def init_parts(self) -> None:
        self.apply(init_transformer)
        self.apply(init_convolution)
        trunc_normal_(self.embedding.cls_token, std=0.02)
        rows, dim = self.embedding.pos_embed.shape[1:]
        self.embedding.pos_embed.copy_(sinusoids(rows, dim))
        for module in self.modules():
            if isinstance(module, Performer):
                nn.init.orthogonal_(module.w, gain=sqrt(FEATURES))
            elif isinstance(module, CheapOperation):
                nn.init.uniform_(module.weight, -1, 1)  # torch's own initialisation of such a convolution

    def classify(self, images: Tensor) -> Tensor:
        ends, _, _ = self.tap_ends(images)
        return self.head(self.taps.at(LAST).norm(ends[LAST][:, 0]))

    def forward_maps(self, images: Tensor) -> dict[int, Tensor]:
        ends, grid, token_maps = self.tap_ends(images)
        maps = {level: self.taps.at(level)(tokens[:, 1:], grid) for level, tokens in ends.items()}
        for name, lateral in self.laterals.items():
            level = int(name)
            maps[level] = maps[level] + lateral(token_maps[level])
        return maps

    def tap_ends(self, images: Tensor) -> tuple[dict[int, Tensor], Grid, Mapping[int, Tensor]]:
        """Return the tokens at each tap that is built, class token first, their grid, and the maps of the token module."""
        tokens, grid, token_maps = self.tokens_to_token(images, self.run_block)
        tokens = self.embedding(tokens, grid)
        ends = {}
        for entry, block in enumerate(self.blocks, start=1):
            tokens = self.run_block(block, tokens, grid)
            ends.update({level: tokens for level in self.out_indices if entry == self.ends[level]})
        return ends, grid, token_maps

    def leaves_out(self, name: str) -> bool:
        first, _, rest = name.partition(".")
        if first == "blocks":
            return len(self.blocks) <= int(rest.partition(".")[0]) < self.ends[-1]
        return super().leaves_out(name)
