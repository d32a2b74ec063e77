"""Position tables resized by matrices, which a deterministic training on a GPU needs."""

import pytest
import torch
import torch.nn.functional as F

from mmvit.layers.parts import interpolated


@pytest.mark.parametrize("size", [(9, 5), (7, 6), (3, 14), (14, 14)])
@pytest.mark.parametrize("mode", ["bicubic", "bilinear"])
def test_products_of_matrices_interpolate(mode: str, size: tuple[int, int]) -> None:
    table = torch.randn(1, 4, 7, 6, dtype=torch.float64, requires_grad=True)
    ours, theirs = interpolated(table, size, mode), F.interpolate(table, size=size, mode=mode, align_corners=False)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)
    upstream = torch.randn(1, 4, *size, dtype=torch.float64)
    gradients = (torch.autograd.grad(found, table, upstream) for found in (ours, theirs))
    torch.testing.assert_close(*gradients, rtol=0, atol=1e-12)
