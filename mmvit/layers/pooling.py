"""Adaptive average pooling that stays right in a program for any image size, and whose gradients can be deterministic."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .forms import is_compiling


def adaptive_average(feature_map: Tensor, bins: int) -> Tensor:
    """Return the averages (B, C, bins, bins) over `bins` x `bins` cells, which overlap where a side is no multiple of `bins`.

    A program exported from torch's own keeps the cells of the size that it was traced with, and is wrong at others. On a GPU,
    torch's has no deterministic gradient, and raises RuntimeError where `torch.use_deterministic_algorithms` asks for one.
    """
    if is_compiling() or (feature_map.is_cuda and torch.are_deterministic_algorithms_enabled()):
        return by_matrices(feature_map, bins)
    return F.adaptive_avg_pool2d(feature_map, bins)


class AdaptiveAverage(nn.Module):
    """`adaptive_average` as a module, in place of torch's."""

    def __init__(self, bins: int) -> None:
        super().__init__()
        self.bins = bins

    def forward(self, maps: Tensor) -> Tensor:
        return adaptive_average(maps, self.bins)


def replace_pooling(model: nn.Module) -> None:
    """Put `AdaptiveAverage` into the places of torch's modules that average over squares of more than one cell."""
    for parent in list(model.modules()):
        for name, child in parent.named_children():
            if isinstance(child, nn.AdaptiveAvgPool2d) and isinstance(child.output_size, int) and child.output_size > 1:
                setattr(parent, name, AdaptiveAverage(child.output_size))


def by_matrices(feature_map: Tensor, bins: int) -> Tensor:
    """Return the averages as two matrix products."""
    rows, columns = (averaging(side, bins, feature_map) for side in feature_map.shape[-2:])
    return rows @ feature_map @ columns.T


def averaging(side: int, bins: int, like: Tensor) -> Tensor:
    """Return the matrix (bins, side) of averages over cells floor(i * side / bins) to ceil((i + 1) * side / bins) - 1."""
    index = torch.arange(bins, device=like.device)[:, None]
    place = torch.arange(side, device=like.device)
    inside = (place >= index * side // bins) & (place < ((index + 1) * side + bins - 1) // bins)
    return (inside / inside.sum(dim=1, keepdim=True)).to(like.dtype)
