"""Depthwise convolutions by phases and gathered outlook attention equal their definitions."""

from copy import deepcopy

import pytest
import torch
from families import BY_NAME
from makers import HOME, needs_compiling, run_python
from torch import Tensor, nn
from torch.nn.utils import prune
from torch.profiler import profile

from benchmarks.written_out import outlook_attention
from mmvit.backbones.van_depthwise import convolve, depthwise, gradient_of_kernels
from mmvit.backbones.volo import OutlookAttention
from mmvit.backbones.volo_outlook import Outlook
from mmvit.compat.versions import is_compiling, is_exporting


@pytest.mark.parametrize("size", [(40, 33), (2, 5), (1, 1)])
@pytest.mark.parametrize(("kernel", "dilation"), [(5, 1), (7, 3), (3, 2)])
def test_depthwise_is_the_convolution(size: tuple[int, int], kernel: int, dilation: int) -> None:
    torch.manual_seed(0)
    padding = dilation * (kernel // 2)
    convolution = nn.Conv2d(6, 6, kernel, padding=padding, dilation=dilation, groups=6).double()
    feature_map = torch.randn(2, 6, *size, dtype=torch.float64).contiguous(memory_format=torch.channels_last).requires_grad_()
    wanted = [feature_map, *convolution.parameters()]
    found = [
        [mixed, *torch.autograd.grad(mixed.square().sum(), wanted)]
        for mixed in (depthwise(convolution, feature_map), convolution(feature_map))
    ]
    torch.testing.assert_close(*found, rtol=1e-10, atol=1e-10)
    for parameter in wanted[1:]:
        parameter.requires_grad_(False)
    (alone,) = torch.autograd.grad(depthwise(convolution, feature_map).square().sum(), feature_map)
    torch.testing.assert_close(alone, found[1][1], rtol=1e-10, atol=1e-10)


def test_a_pruned_convolution_trains() -> None:
    """Its weight is made anew by a hook each time that it is called."""
    convolution = prune.l1_unstructured(nn.Conv2d(6, 6, 7, padding=9, dilation=3, groups=6), "weight", 0.5)
    feature_map = torch.randn(2, 6, 20, 21).contiguous(memory_format=torch.channels_last)
    for _ in range(2):
        depthwise(convolution, feature_map).square().sum().backward()
    assert (convolution.weight_orig.grad == 0).float().mean() == 0.5


def test_depthwise_runs_in_the_dtype_of_autocast() -> None:
    torch.manual_seed(0)
    convolution = nn.Conv2d(6, 6, 7, padding=9, dilation=3, groups=6)
    feature_map = torch.randn(2, 6, 20, 21).contiguous(memory_format=torch.channels_last)
    exact = deepcopy(convolution).double()
    wanted = torch.autograd.grad(exact(feature_map.double()).square().sum(), list(exact.parameters()))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = depthwise(convolution, feature_map)
        assert mixed.dtype is torch.bfloat16
        found = torch.autograd.grad(mixed.float().square().sum(), list(convolution.parameters()))
    for ours, expected in zip(found, wanted, strict=True):
        assert ours.dtype is torch.float32
        assert (ours - expected).abs().max() < 0.01 * expected.abs().max()


@needs_compiling
def test_depthwise_is_an_operator_that_compilers_know() -> None:
    """Its fake and its gradient are what it computes; a compiled program holds it, an exported one torch's convolution."""
    feature_map = torch.randn(2, 6, 20, 21).contiguous(memory_format=torch.channels_last)
    kernels = torch.randn(6, 1, 7, 7, requires_grad=True)
    torch.library.opcheck(convolve, (feature_map, kernels, torch.randn(6, requires_grad=True), 3))
    torch.library.opcheck(gradient_of_kernels, (feature_map, feature_map, kernels.detach(), 3))
    convolution = nn.Conv2d(6, 6, 7, padding=9, dilation=3, groups=6)
    module = Whole(convolution)
    seen: list[str] = []

    def backend(graph: torch.fx.GraphModule, inputs: object) -> torch.fx.GraphModule:
        seen.extend(str(node.target) for node in graph.graph.nodes)
        return graph

    compiled = torch.compile(module, backend=backend, fullgraph=True)
    torch.testing.assert_close(compiled(feature_map), module(feature_map))
    assert any("depthwise" in name for name in seen) is (is_exporting is not is_compiling)  # before torch 2.7, one question
    exported = torch.export.export(module, (feature_map,))
    assert not any("depthwise" in str(node.target) for node in exported.graph.nodes)


class Whole(nn.Module):
    def __init__(self, convolution: nn.Conv2d) -> None:
        super().__init__()
        self.convolution = convolution

    def forward(self, feature_map: Tensor) -> Tensor:
        return depthwise(self.convolution, feature_map)


@pytest.mark.once
@pytest.mark.slow
@needs_compiling
def test_compiled_maps_of_a_batch_of_one_are_channels_last() -> None:
    """Otherwise torch copies each of them around its convolutions. Nine copies a block are phases of dilated kernels."""
    model = BY_NAME["VAN"].build(out_indices=(0,)).eval()
    images = torch.randn(1, 3, 64, 64).contiguous(memory_format=torch.channels_last)
    compiled = torch.compile(model)
    with torch.no_grad():
        compiled(images)
        with profile() as seen:
            found = compiled(images)
        torch.testing.assert_close(found, model(images), rtol=1e-4, atol=1e-4)
    copies = sum(event.count for event in seen.key_averages() if event.key == "aten::clone")
    assert copies == 9 * len(model.stages[0].blocks)


@pytest.mark.parametrize("grid", [(8, 12), (7, 12), (8, 11), (5, 5), (1, 1), (2, 3)])
def test_outlook_is_unfold_product_fold(grid: tuple[int, int]) -> None:
    torch.manual_seed(0)
    attention = OutlookAttention(16, heads=2).double()
    tokens = torch.randn(2, grid[0] * grid[1], 16, dtype=torch.float64, requires_grad=True)
    upstream = torch.randn_like(tokens)
    found = [
        [mixed, *torch.autograd.grad(mixed, [tokens, *attention.parameters()], upstream)]
        for mixed in (attention(tokens, grid), outlook_attention(attention, tokens, grid))
    ]
    torch.testing.assert_close(*found, rtol=1e-10, atol=1e-12)


def test_outlook_has_first_and_second_derivatives() -> None:
    weights = torch.randn(1, 2, 2, 1, 9, 9, dtype=torch.float64, requires_grad=True)
    values = torch.randn(1, 4, 3, 1, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(Outlook.apply, (weights, values))
    assert torch.autograd.gradgradcheck(Outlook.apply, (weights, values), nondet_tol=1e-12)


@pytest.mark.slow
@needs_compiling
def test_triton_kernels_equal_their_reference_in_the_interpreter() -> None:
    """The test of a device, in a process of its own."""
    pytest.importorskip("triton", reason="comes with PyTorch for Linux and CUDA")
    which = ["-k", "triton", "tests/gpu/test_device_backbones.py"]
    done = run_python("-m", "pytest", "-q", "--device", "cpu", "-p", "no:cacheprovider", *which, cwd=HOME, TRITON_INTERPRET="1")
    assert "3 passed" in done.stdout
