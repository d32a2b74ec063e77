"""Adaptive average pooling that stays right in a program for any image size."""

import torch
import torch.nn.functional as F
from torch import Tensor


def adaptive_average(feature_map: Tensor, bins: int) -> Tensor:
    """Return the averages (B, C, bins, bins) over `bins` x `bins` cells, which overlap where a side is no multiple of `bins`.

    A program exported from torch's own keeps the cells of the size that it was traced with, and is wrong at others.
    """
    if torch.compiler.is_compiling():
        return by_matrices(feature_map, bins)
    return F.adaptive_avg_pool2d(feature_map, bins)


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
