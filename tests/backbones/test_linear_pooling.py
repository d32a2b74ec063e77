"""The pooling of PVTv2's linear attention, at sizes that are no multiple of its grid, eager and exported."""

import pytest
import torch
from families import BY_NAME
from makers import needs_exporting

from mmvit.layers.pooling import by_matrices


@pytest.mark.parametrize("size", [(3, 5), (7, 7), (8, 13), (40, 51)])
def test_pooling_is_torchs(size: tuple[int, int]) -> None:
    maps = torch.randn(2, 4, *size)
    torch.testing.assert_close(by_matrices(maps, 7), torch.nn.functional.adaptive_avg_pool2d(maps, 7), atol=1e-6, rtol=0)


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
