"""Pooling and resizing as products of matrices, which exported programs and deterministic trainings on a GPU need."""

import pytest
import torch
import torch.nn.functional as F
from families import BY_NAME
from makers import needs_exporting

from mmvit.layers.parts import interpolated
from mmvit.layers.pooling import by_matrices


@pytest.mark.parametrize("size", [(3, 5), (7, 7), (8, 13), (40, 51)])
def test_pooling_is_torchs(size: tuple[int, int]) -> None:
    maps = torch.randn(2, 4, *size)
    torch.testing.assert_close(by_matrices(maps, 7), F.adaptive_avg_pool2d(maps, 7), atol=1e-6, rtol=0)


@pytest.mark.parametrize("size", [(9, 5), (7, 6), (3, 14), (14, 14)])
@pytest.mark.parametrize("mode", ["bicubic", "bilinear"])
def test_products_of_matrices_interpolate(mode: str, size: tuple[int, int]) -> None:
    table = torch.randn(1, 4, 7, 6, dtype=torch.float64, requires_grad=True)
    ours, theirs = interpolated(table, size, mode), F.interpolate(table, size=size, mode=mode, align_corners=False)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)
    upstream = torch.randn(1, 4, *size, dtype=torch.float64)
    gradients = (torch.autograd.grad(found, table, upstream) for found in (ours, theirs))
    torch.testing.assert_close(*gradients, rtol=0, atol=1e-12)


@needs_exporting
def test_a_program_is_right_at_other_sizes_than_the_traced() -> None:
    family = BY_NAME["PVTv2"]
    model = family.build(dict(family.tiny, linear=True)).eval()
    auto = torch.export.Dim.AUTO
    with torch.no_grad():
        program = torch.export.export(model, (torch.randn(1, 3, 128, 160),), dynamic_shapes=({2: auto, 3: auto},)).module()
        for size in ((224, 320), (203, 277), (161, 190)):
            image = torch.randn(1, 3, *size)
            torch.testing.assert_close(program(image), model(image), atol=1e-4, rtol=1e-4)
