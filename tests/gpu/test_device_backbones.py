"""Every backbone on a device, in each precision and compiled, beside the same backbone on the CPU in float64."""

import copy
import os
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from families import Family
from makers import each_family, needs_compiling
from torch import Tensor, nn

from mmvit.compat.versions import HALF

pytestmark = [pytest.mark.gpu, pytest.mark.slow]

# Largest distance from float64, relative in the Euclidean norm: of each map, and of all gradients together.
DISTANCES = {torch.float32: (2e-5, 2e-3), torch.bfloat16: (0.03, 0.12), torch.float16: (0.005, 0.03)}
SIDES = (96, 64)  # pixels; 256 x 256 where the true archs run


def build(family: Family, quick: bool) -> nn.Module:
    model = family.initialised(None if quick else family.kind.record.small)
    return model.eval()  # no drop path, and batch norms that do not depend on the batch's size


def images(quick: bool, number: int = 2) -> Tensor:
    sides = SIDES if quick else (256, 256)
    return torch.randn(number, 3, *sides, generator=torch.Generator().manual_seed(1))


def maps_and_gradients(network: Callable[[Tensor], Sequence[Tensor]], model: nn.Module, batch: Tensor) -> tuple[list, Tensor]:
    """Maps, and the gradients of a weighted sum of all of them as one vector, both in float64 on the CPU."""
    maps = network(batch)
    weights = [torch.linspace(-1, 1, found.numel(), device=found.device).view(found.shape) for found in maps]
    sum((found.float() * weight).mean() for found, weight in zip(maps, weights, strict=True)).backward()
    gradients = [parameter.grad.flatten() for parameter in model.parameters() if parameter.grad is not None]
    return [found.detach().cpu().double() for found in maps], torch.cat(gradients).cpu().double()


def apart(one: Tensor, other: Tensor) -> float:
    return float((one - other).norm() / other.norm())


@pytest.mark.parametrize(
    "dtype",
    [torch.float32, torch.bfloat16, pytest.param(torch.float16, marks=pytest.mark.needs(HALF))],
    ids=lambda dtype: str(dtype).removeprefix("torch."),
)
@each_family
def test_maps_and_gradients_are_those_of_float64_on_the_cpu(
    family: Family, dtype: torch.dtype, device: str, quick: bool
) -> None:
    model, batch = build(family, quick), images(quick)
    exact = copy.deepcopy(model).double()
    expected_maps, expected_gradients = maps_and_gradients(exact, exact, batch.double())
    model = model.to(device)

    def run(batch: Tensor) -> Any:
        with nullcontext() if dtype is torch.float32 else torch.autocast(device, dtype):
            return model(batch)

    maps, gradients = maps_and_gradients(run, model, batch.to(device))
    for_maps, for_gradients = DISTANCES[dtype]
    assert max(apart(found, expected) for found, expected in zip(maps, expected_maps, strict=True)) < for_maps
    assert apart(gradients, expected_gradients) < for_gradients


@each_family
@needs_compiling
def test_compiled_it_gives_the_same(family: Family, device: str, quick: bool) -> None:
    """Two sizes of a batch, of which the second is dynamic."""
    if device == "cpu":
        pytest.skip("test_plain_pytorch compiles on a CPU")
    torch.compiler.reset()
    model = build(family, True).to(device)
    compiled = torch.compile(model)
    for number in (1, 2):
        batch = images(True, number).to(device)
        torch.testing.assert_close(compiled(batch), model(batch), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("grid", [(6, 8), (5, 7), (4, 40)])  # the last takes several programs a row
def test_triton_kernels_equal_the_torch_form(grid: tuple[int, int], device: str, quick: bool) -> None:
    """On a CPU in Triton's interpreter: test_kernels runs it so."""
    if device == "cpu" and "TRITON_INTERPRET" not in os.environ:
        pytest.skip("Triton's kernels need a GPU")
    from mmvit.backbones import volo_outlook, volo_triton

    torch.manual_seed(0)
    heads, dim = (2, 12) if quick else (3, 24)
    values, other = torch.randn(2, 2, *grid, heads, dim, device=device)
    weights = torch.randn(2, (grid[0] + 1) // 2, (grid[1] + 1) // 2, heads, 9, 9, device=device)
    for chosen in (weights, weights.transpose(-1, -2)):
        torch.testing.assert_close(volo_triton.mix(chosen, values), volo_outlook.mix(chosen, values), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(volo_triton.outer(other, values), volo_outlook.outer(other, values), rtol=1e-4, atol=1e-4)
