"""Stages of pyramids: patches, blocks, and a norm of the output."""

from collections.abc import Callable, Iterable

from torch import Tensor, nn

from .parts import Grid, to_map, to_tokens


class PatchEmbed(nn.Module):
    """Patches of a map (B, inputs, h, w) to tokens (B, N, dim) and their grid: a strided convolution, then a layer norm."""

    def __init__(self, inputs: int, dim: int, patch: int, stride: int, padding: int = 0) -> None:
        super().__init__()
        self.proj = nn.Conv2d(inputs, dim, kernel_size=patch, stride=stride, padding=padding)
        self.norm = nn.LayerNorm(dim)

    def forward(self, feature_map: Tensor) -> tuple[Tensor, Grid]:
        patches = self.proj(feature_map)
        return self.norm(to_tokens(patches)), tuple(patches.shape[-2:])


class StageBase(nn.Module):
    """Stage of a pyramid: what comes before its blocks, the `blocks`, and the `norm` of its output if it has one."""

    blocks: nn.ModuleList


class Stage(StageBase):
    """Stage of tokens: `patch_embed` returns tokens (B, N, dim) and their grid, and each block takes both."""

    def __init__(self, patch_embed: nn.Module, blocks: Iterable[nn.Module], dim: int) -> None:
        super().__init__()
        self.patch_embed = patch_embed
        self.blocks = nn.ModuleList(blocks)
        self.norm = nn.LayerNorm(dim, eps=1e-6)

    def forward(self, feature_map: Tensor, run_block: Callable[..., Tensor]) -> Tensor:
        """Return the map of the stage; `run_block` calls a block with what follows it."""
        tokens, grid = self.patch_embed(feature_map)
        for block in self.blocks:
            tokens = run_block(block, tokens, grid)
        return to_map(self.norm(tokens), grid)
