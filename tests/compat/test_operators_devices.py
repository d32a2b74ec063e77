"""The supplied operators on the meta device, where checks try out models, and in half precision on a CPU."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from mmcv import ops
from torch import Tensor

from mmvit.compat import versions

pytestmark = pytest.mark.stack


def boxes(device: str) -> Tensor:
    return torch.tensor([[0, 1, 1, 9, 9], [1, 2, 3, 8, 12]], dtype=torch.float, device=device)


def attention(maps: Tensor) -> Tensor:
    tokens = maps.flatten(2).permute(2, 0, 1)
    points = torch.rand(len(maps), 256, 1, 2, device=maps.device)
    start = torch.zeros(1, dtype=torch.long, device=maps.device)
    layer = ops.MultiScaleDeformableAttention(32, 4, 1, 2, dropout=0.0).to(maps.device)
    shapes = torch.tensor([[16, 16]], device=maps.device)
    return layer(tokens, value=tokens, reference_points=points, spatial_shapes=shapes, level_start_index=start)


def carafe(maps: Tensor) -> Tensor:
    return ops.CARAFEPack(32, 2).to(maps.device)(maps)


def deformed(kind: type, **options: Any) -> Callable[[Tensor], Tensor]:
    return lambda maps: kind(32, 8, 3, padding=1, **options).to(maps.device)(maps)


MADE: dict[str, tuple[Callable[[Tensor], Tensor], tuple[int, ...]]] = {
    "DeformConv2dPack": (deformed(ops.DeformConv2dPack), (2, 8, 16, 16)),
    "ModulatedDeformConv2dPack": (deformed(ops.ModulatedDeformConv2dPack, deform_groups=2), (2, 8, 16, 16)),
    "CARAFEPack": (carafe, (2, 32, 32, 32)),
    "RoIAlign": (lambda maps: ops.RoIAlign(7, 1.0, 2)(maps, boxes(maps.device.type).to(maps.dtype)), (2, 32, 7, 7)),
    "RoIAlign, adaptive": (lambda maps: ops.RoIAlign(7, 1.0, 0)(maps, boxes(maps.device.type).to(maps.dtype)), (2, 32, 7, 7)),
    "RoIPool": (lambda maps: ops.RoIPool(7, 1.0)(maps, boxes(maps.device.type).to(maps.dtype)), (2, 32, 7, 7)),
    "MultiScaleDeformableAttention": (attention, (256, 2, 32)),
    "PSAMask": (lambda maps: ops.PSAMask("collect", (5, 5))(maps[:, :25]), (2, 256, 16, 16)),
    "sigmoid_focal_loss": (
        lambda maps: ops.sigmoid_focal_loss(maps.flatten(1), maps.new_zeros(2, dtype=torch.long), 2.0, 0.25, None, "none"),
        (2, 8192),
    ),
}


META = pytest.mark.needs(versions.META)
EACH_DTYPE = pytest.mark.parametrize(
    "dtype", [torch.bfloat16, pytest.param(torch.float16, marks=pytest.mark.needs(versions.HALF))], ids=str
)


# mmcv's module of attention itself asks the shapes for numbers.
@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=META if "Deform" in name else ()) for name in MADE if name != "MultiScaleDeformableAttention"],
)
def test_on_the_meta_device(name: str) -> None:
    make, shape = MADE[name]
    made = make(torch.empty(2, 32, 16, 16, device="meta"))
    assert (tuple(made.shape), made.device.type) == (shape, "meta")


@pytest.mark.parametrize("name", [name for name in MADE if name != "sigmoid_focal_loss"])
@EACH_DTYPE
def test_under_autocast_on_a_cpu(name: str, dtype: torch.dtype) -> None:
    """The values of single precision, within what half precision keeps; gradients are there and finite."""
    make, shape = MADE[name]
    maps = torch.rand(2, 32, 16, 16, requires_grad=True)
    torch.manual_seed(0)
    right = make(maps)
    torch.manual_seed(0)
    with torch.autocast("cpu", dtype):
        made = make(maps)
    assert tuple(made.shape) == shape
    assert torch.allclose(made.float(), right, atol=0.1)
    made.float().square().mean().backward()
    assert maps.grad is not None
    assert maps.grad.isfinite().all()
    assert maps.grad.abs().max() > 0


@pytest.mark.parametrize("name", ["DeformConv2dPack", "ModulatedDeformConv2dPack", "CARAFEPack", "RoIAlign", "RoIPool"])
@EACH_DTYPE
def test_in_half_precision_throughout(name: str, dtype: torch.dtype) -> None:
    make, shape = MADE[name]
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        made = make(torch.rand(2, 32, 16, 16, dtype=dtype))
    finally:
        torch.set_default_dtype(before)
    assert (tuple(made.shape), made.dtype) == (shape, dtype)
    assert made.isfinite().all()
