"""Visual Attention Network (Guo et al., "Visual Attention Network", CVMJ 2023, arXiv 2202.09741).

Weights: the authors' files at huggingface.co/Visual-Attention-Network (Apache-2.0) for b0 to b3; those of b4 to b6 lie in a
cloud folder and have to be downloaded by hand, see `RELEASED`.

Differences from the authors' code:
- Everything stays a map: the norms of the stage outputs run over the channels of the map instead of over tokens.
- BatchNorm2d where theirs has SyncBN by default, so that it trains on a CPU; `norm_cfg=dict(type='SyncBN')` switches.
- eps 1e-5 in the norms of the stage outputs, as in their dense-prediction code; their classifier has 1e-6.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from timm.layers import DropPath, LayerNorm2d
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from typing_extensions import Unpack

from ..arguments import resolve_arch
from ..layers.bands import in_bands
from ..layers.forms import MAP_BANDS
from ..layers.mlp import MlpBase
from ..layers.parts import Grid, batch_norm, drop_path_rates, init_convolution, init_transformer, to_map, to_tokens
from ..layers.stages import StageBase
from ..pyramid import Pyramid, PyramidOptions
from ..registry import MODELS
from ..weights.released import Record, Released
from .van_depthwise import depthwise

LAYER_SCALE = 1e-2  # initial value


class PatchEmbed(nn.Module):
    """Overlapping patches, then a batch norm (section 3.2)."""

    def __init__(self, in_channels: int, dim: int, patch: int, stride: int, norm: Callable[[int], _BatchNorm]) -> None:
        super().__init__()
        self.proj = nn.Conv2d(in_channels, dim, kernel_size=patch, stride=stride, padding=patch // 2)
        self.norm = norm(dim)

    def forward(self, feature_map: Tensor) -> Tensor:
        return self.norm(self.proj(feature_map))


class LargeKernelAttention(nn.Module):
    """Kernel of 21 x 21 in three steps (section 3.1, K = 21, d = 3): depthwise, depthwise and dilated, pointwise."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.conv0 = nn.Conv2d(dim, dim, kernel_size=5, padding=2, groups=dim)
        self.conv_spatial = nn.Conv2d(dim, dim, kernel_size=7, padding=9, dilation=3, groups=dim)
        self.conv1 = nn.Conv2d(dim, dim, kernel_size=1)

    def forward(self, feature_map: Tensor) -> Tensor:
        local = depthwise(self.conv0, feature_map)
        return feature_map * self.conv1(depthwise(self.conv_spatial, local))


class Attention(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.proj_1 = nn.Conv2d(dim, dim, kernel_size=1)
        self.spatial_gating_unit = LargeKernelAttention(dim)
        self.proj_2 = nn.Conv2d(dim, dim, kernel_size=1)

    def forward(self, feature_map: Tensor) -> Tensor:
        return feature_map + self.proj_2(self.spatial_gating_unit(F.gelu(self.proj_1(feature_map))))


class ConvolutionalMlp(MlpBase):
    fc2: nn.Conv2d

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__(hidden)
        self.fc1 = nn.Conv2d(dim, hidden, kernel_size=1)
        self.dwconv = nn.Conv2d(hidden, hidden, kernel_size=3, padding=1, groups=hidden)
        self.fc2 = nn.Conv2d(hidden, dim, kernel_size=1)

    def hidden(self, tokens: Tensor, grid: Grid, inner: slice = slice(None)) -> Tensor:
        """Return the hidden values of the `inner` ones of (B, h*w, C) tokens."""
        return F.gelu(to_tokens(self.dwconv(self.fc1(to_map(tokens, grid))))[:, inner])

    def forward(self, feature_map: Tensor) -> Tensor:  # type: ignore[override]  # maps instead of tokens
        if not MAP_BANDS.runs_on(feature_map):  # maps stay maps, else exported programs transpose the wide ones twice
            return self.fc2(F.gelu(self.dwconv(self.fc1(feature_map))))
        grid = (feature_map.shape[2], feature_map.shape[3])
        return to_map(in_bands(MAP_BANDS, self, to_tokens(feature_map), grid), grid)

    def run(self, tokens: Tensor, grid: Grid, *inner: slice) -> Tensor:
        return to_tokens(self.fc2(to_map(self.hidden(tokens, grid, *inner), (-1, grid[1]))))


class Block(nn.Module):
    def __init__(self, dim: int, mlp_ratio: int, drop_path: float, norm: Callable[[int], _BatchNorm]) -> None:
        super().__init__()
        self.norm1 = norm(dim)
        self.attn = Attention(dim)
        self.layer_scale_1 = nn.Parameter(torch.zeros(dim))
        self.norm2 = norm(dim)
        self.mlp = ConvolutionalMlp(dim, mlp_ratio * dim)
        self.layer_scale_2 = nn.Parameter(torch.zeros(dim))
        self.drop_path = DropPath(drop_path)

    def forward(self, feature_map: Tensor) -> Tensor:
        attended = self.layer_scale_1[:, None, None] * self.attn(self.norm1(feature_map))
        feature_map = feature_map + self.drop_path(attended)
        mixed = self.layer_scale_2[:, None, None] * self.mlp(self.norm2(feature_map))
        return feature_map + self.drop_path(mixed)


class Stage(StageBase):
    def __init__(self, patch_embed: PatchEmbed, blocks: Iterable[Block], dim: int) -> None:
        super().__init__()
        self.patch_embed = patch_embed
        self.blocks = nn.ModuleList(blocks)
        self.norm = LayerNorm2d(dim, eps=1e-5)

    def forward(self, feature_map: Tensor, run_block: Callable[..., Tensor]) -> Tensor:
        feature_map = self.patch_embed(feature_map)
        for block in self.blocks:
            feature_map = run_block(block, feature_map)
        return self.norm(feature_map)


@dataclass(frozen=True)
class Sizes:
    """Column of table 2."""

    depths: tuple[int, ...]
    dims: tuple[int, ...] = (64, 128, 320, 512)
    mlp_ratios: tuple[int, ...] = (8, 8, 4, 4)


ARCHS = {
    "b0": Sizes(depths=(3, 3, 5, 2), dims=(32, 64, 160, 256)),
    "b1": Sizes(depths=(2, 2, 4, 2)),
    "b2": Sizes(depths=(3, 3, 12, 3)),
    "b3": Sizes(depths=(3, 5, 27, 3)),
    "b4": Sizes(depths=(3, 6, 40, 3)),
    "b5": Sizes(depths=(3, 3, 24, 3), dims=(96, 192, 480, 768)),
    "b6": Sizes(depths=(6, 6, 90, 6), dims=(96, 192, 384, 768)),
}

URL = "https://huggingface.co/Visual-Attention-Network/VAN-{}-original/resolve/main/van_{}.pth.tar"
FOLDER = "https://cloud.tsinghua.edu.cn/d/0100f0cea37d41ba8d08/"  # named in the README of VAN-Segmentation
COPIES = {
    size: (
        f"hf://Visual-Attention-Network/van-{size}",
        f"https://download.openmmlab.com/mmclassification/v0/van/van-{size}_8xb128_in1k_20220501-{digest}.pth",
    )
    for size, digest in (("tiny", "385941af"), ("small", "17bc91aa"), ("base", "6a4cc31b"), ("large", "f212ba21"))
}
RELEASED = {  # accuracies: the paper's
    "b0": Released("b0", 75.4, "Apache-2.0", URL.format("Tiny", "tiny_754"), copies=COPIES["tiny"]),
    "b1": Released("b1", 81.1, "Apache-2.0", URL.format("Small", "small_811"), copies=COPIES["small"]),
    "b2": Released("b2", 82.8, "Apache-2.0", URL.format("Base", "base_828"), copies=COPIES["base"]),
    "b3": Released("b3", 83.9, "Apache-2.0", URL.format("Large", "large_839"), copies=COPIES["large"]),
    "b4": Released("b4", 84.2, "Apache-2.0", folder=FOLDER),
    "b5": Released("b5", 86.3, "Apache-2.0", folder=FOLDER),  # pre-trained on ImageNet-22k
    "b6": Released("b6", 86.9, "Apache-2.0", folder=FOLDER),  # likewise
}


@MODELS.register_module()
class VAN(Pyramid):
    """VAN as a pyramid of strides 4, 8, 16, 32.

    Args:
        arch: b0 to b6, or a full set of `Sizes` as a dict.
        drop_path_rate: rate of the last block, rising from 0. The authors' UperNet configs have 0.1 for b0 to b2, 0.3 for b3,
            0.4 for b4 and b5, 0.5 for b6.
        norm_cfg: the batch norms inside, such as `dict(type='SyncBN')`; with `requires_grad=False` they do not learn.
        options: in_channels, out_indices, frozen_stages, norm_eval, with_cp, norm_eps, contiguous_maps, init_cfg: see `Pyramid`

    Raises:
        ValueError: unknown arch, impossible out_indices or frozen_stages.
    """

    record = Record(
        name="van",
        paper="2202.09741",
        archs=ARCHS,
        released=RELEASED,
        small="b2",
        input_tensors=("stages.0.patch_embed.proj.weight",),
        as_classifier=dict(norm_eps=1e-6),
    )

    def __init__(
        self,
        arch: str | Mapping[str, Any] | Sizes,
        *,
        drop_path_rate: float = 0.0,
        norm_cfg: Mapping[str, Any] | None = None,
        **options: Unpack[PyramidOptions],
    ) -> None:
        sizes = resolve_arch("VAN", arch, ARCHS)
        super().__init__(sizes.dims, **options)
        norm = batch_norm(norm_cfg)
        rates = drop_path_rates(drop_path_rate, sizes.depths)
        inputs = (self.in_channels, *sizes.dims)
        self.stages = nn.ModuleList()
        for stage in range(self.out_indices[-1] + 1):
            dim = sizes.dims[stage]
            patch, stride = (7, 4) if stage == 0 else (3, 2)
            blocks = [Block(dim, sizes.mlp_ratios[stage], rate, norm) for rate in rates[stage]]
            self.stages.append(Stage(PatchEmbed(inputs[stage], dim, patch, stride, norm), blocks, dim))
        self.finish()

    def init_parts(self) -> None:
        self.apply(init_transformer)
        self.apply(init_convolution)
        for module in self.modules():
            if isinstance(module, Block):
                nn.init.constant_(module.layer_scale_1, LAYER_SCALE)
                nn.init.constant_(module.layer_scale_2, LAYER_SCALE)
