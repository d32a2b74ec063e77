"""RoI align, RoI pool and deformable RoI pooling through mmcv.ops.

The stored numbers come from mmcv's own CPU code (onedl-mmcv 2.3.6, csrc compiled against torch 2.14).
"""

import math

import pytest
import torch
from definitions import same_gradients, sample
from definitions import single_wave as wave
from mmcv import ops
from torch.autograd import gradcheck

from mmvit.compat.operators.roi import mean_gradient

pytestmark = pytest.mark.stack

ROIS = torch.tensor([[0.0, 1.3, 0.7, 21.9, 17.2], [1, -6, 3, 11, 40], [1, 9, 9, 9, 9]])


def align(maps, rois, size, scale, ratio, mode, aligned):
    """RoI align written out with Python numbers."""
    output = torch.zeros(len(rois), maps.shape[1], *size, dtype=maps.dtype)
    for index, (image, *box) in enumerate(rois.tolist()):
        x1, y1, x2, y2 = (edge * scale - 0.5 * aligned for edge in box)
        height, width = (y2 - y1, x2 - x1) if aligned else (max(y2 - y1, 1), max(x2 - x1, 1))
        steps = height / size[0], width / size[1]
        counts = [ratio or math.ceil(step) for step in steps]
        for channel, plane in enumerate(maps[int(image)].tolist()):
            for row in range(size[0]):
                for column in range(size[1]):
                    values = [
                        sample(
                            plane,
                            y1 + (row + (i + 0.5) / counts[0]) * steps[0],
                            x1 + (column + (j + 0.5) / counts[1]) * steps[1],
                        )
                        for i in range(counts[0])
                        for j in range(counts[1])
                    ]
                    output[index, channel, row, column] = max(values) if mode == "max" else sum(values) / len(values)
    return output


@pytest.mark.parametrize("mode", ["avg", "max"])
@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize("ratio", [0, 1, 3])
@pytest.mark.parametrize("size", [(6, 7), (1, 5)])
def test_roi_align_against_the_definition(mode, aligned, ratio, size):
    maps = wave(2, 2, *size).double()
    rois = torch.tensor([[0, -3.0, 1, 30, 22], [1, 5.1, 4.2, 14.3, 30.9], [0, 2, -2, 14, 3]], dtype=torch.float64)
    result = ops.roi_align(maps, rois, (2, 3), 0.25, ratio, mode, aligned)
    torch.testing.assert_close(result, align(maps, rois, (2, 3), 0.25, ratio, mode, aligned))
    assert result.abs().max() > 0.1


@pytest.mark.parametrize(
    ("mode", "aligned", "values", "gradient"),
    [
        ("max", True, [0.85053, 0.65683, 0.9288, 0.40789, 0.0882, 0.83896, 0.0, 0.444], -1.15067),
        ("max", False, [0.66688, 0.91045, 0.65528, 0.46399, 0.09845, 0.93393, 0.0, 0.64517], -0.73863),
        ("avg", True, [0.2978, -0.15162, 0.06034, -0.26022, -0.37817, 0.23133, -0.04963, -0.05099], 0.3034),
        ("avg", False, [0.26224, 0.05587, 0.13255, -0.27069, -0.35798, 0.27878, -0.05867, -0.00527], 0.03552),
    ],
)
def test_roi_align_stored(mode, aligned, values, gradient):
    maps = wave(2, 2, 6, 7).requires_grad_()
    result = ops.roi_align(maps, ROIS, (2, 2), 0.25, 0, mode, aligned)
    found = torch.cat([result[0, 0].flatten(), result[1, 1].flatten()])
    torch.testing.assert_close(found, torch.tensor(values), atol=1e-5, rtol=0)
    (grad,) = torch.autograd.grad(result, maps, wave(3, 2, 2, 2, phase=3))
    assert (grad * wave(2, 2, 6, 7, phase=0.5)).sum().item() == pytest.approx(gradient, abs=2e-5)
    # The third RoI has no size and, aligned, no samples.
    assert result[2].flatten()[0].item() == pytest.approx({"max": -1e4, "avg": 0}[mode] if aligned else 0.477029)


@pytest.mark.parametrize("mode", ["avg", "max"])
@pytest.mark.parametrize("aligned", [True, False])
def test_roi_align_gradient(mode, aligned):
    maps = wave(1, 2, 5, 4).double().requires_grad_()
    rois = torch.tensor([[0, 0.3, 0.4, 3.1, 4.2], [0, -2, 1.7, 1.9, 2.8]], dtype=torch.float64)
    assert gradcheck(lambda x: ops.roi_align(x, rois, (2, 3), 1.0, 2, mode, aligned), (maps,))


@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize("ratio", [0, 2])
def test_roi_align_gradient_of_a_fixed_order(ratio, aligned):
    """What a GPU computes where a training is deterministic is what torchvision computes otherwise."""
    rois, grad, shape = ROIS.double(), wave(3, 4, 2, 3).double(), torch.Size((2, 4, 6, 7))
    arguments = (0.25, 2, 3, *shape, ratio, aligned)
    expected = torch.ops.torchvision._roi_align_backward(grad, rois, *arguments)
    torch.testing.assert_close(mean_gradient(grad, rois, shape, (2, 3), 0.25, ratio, aligned), expected)


@pytest.mark.parametrize("mode", ["avg", "max"])
def test_roi_align_module_layouts_and_types(mode):
    layer = ops.RoIAlign((2, 2), 0.25, 2, mode)
    maps = wave(2, 2, 6, 7)
    expected = layer(maps, ROIS[:2])
    torch.testing.assert_close(layer(maps.to(memory_format=torch.channels_last), ROIS[:2]), expected)
    torch.testing.assert_close(layer(torch.stack([maps, maps], -1)[..., 1], ROIS[:2]), expected)
    for dtype in (torch.float16, torch.bfloat16):
        half = maps.to(dtype).requires_grad_()
        result = layer(half, ROIS[:2].to(dtype))
        result.sum().backward()
        assert result.dtype == half.grad.dtype == dtype
        torch.testing.assert_close(result.float(), expected, atol=0.05, rtol=0)


def test_max_of_large_regions_in_slices(monkeypatch):
    from mmvit.compat.operators import roi

    maps, rois = wave(2, 3, 12, 14), torch.cat([ROIS[:2], ROIS[:2] + torch.tensor([0, 1.0, 2, 3, 4])])
    whole = ops.roi_align(maps, rois, (3, 3), 0.5, 0, "max", True), ops.roi_pool(maps, rois, 3, 0.5)
    monkeypatch.setattr(roi, "SLICE_ELEMENTS", 1)
    assert torch.equal(ops.roi_align(maps, rois, (3, 3), 0.5, 0, "max", True), whole[0])
    assert torch.equal(ops.roi_pool(maps, rois, 3, 0.5), whole[1])


def pool(maps, rois, size, scale):
    """RoI pool written out, differentiable."""
    output = maps.new_zeros(len(rois), maps.shape[1], *size)
    for index, (image, x1, y1, x2, y2) in enumerate(rois.tolist()):
        x1, y1, x2, y2 = x1 * scale, y1 * scale, (x2 + 1) * scale, (y2 + 1) * scale
        steps = (y2 - y1) / size[0], (x2 - x1) / size[1]
        for row in range(size[0]):
            for column in range(size[1]):
                top, bottom = math.floor(y1 + row * steps[0]), math.ceil(y1 + (row + 1) * steps[0])
                left, right = math.floor(x1 + column * steps[1]), math.ceil(x1 + (column + 1) * steps[1])
                window = maps[int(image), :, max(top, 0) : max(bottom, 0), max(left, 0) : max(right, 0)]
                if window.numel():
                    output[index, :, row, column] = window.amax((1, 2))
    return output


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (7, 7)])
@pytest.mark.parametrize("scale", [1.0, 0.25])
def test_roi_pool_against_the_definition(size, scale):
    maps = wave(2, 3, 6, 7).requires_grad_()
    rois = torch.tensor([[0.0, 1, 0, 21, 17], [1, -6, 3, 11, 40], [1, 2, 2, 2, 2], [0, 60, 1, 70, 5]])
    result, expected = ops.RoIPool(size, scale)(maps, rois), pool(maps, rois, size, scale)
    assert torch.equal(result, expected)
    same_gradients(result, expected, maps, least=0.1)


def test_roi_pool_without_area_is_zero():
    result = ops.roi_pool(wave(1, 2, 4, 4) + 5, torch.tensor([[0.0, 3, 3, 1, 1]]), 2)
    assert torch.equal(result, torch.zeros(1, 2, 2, 2))


@pytest.mark.parametrize("ratio", [0, 2])
def test_deform_roi_pool(ratio):
    maps = wave(2, 3, 9, 8).double().requires_grad_()
    rois = torch.tensor([[0, 2.3, 2.2, 5.1, 6.3], [1, 3.1, 2.4, 5.4, 4.9]], dtype=torch.float64)
    plain = ops.deform_roi_pool(maps, rois, None, (2, 3), 1.0, ratio)
    torch.testing.assert_close(plain, align(maps.detach(), rois, (2, 3), 1.0, ratio, "avg", True))
    # Every bin moved by half a RoI's width and a quarter of its height: the RoI itself moved so.
    offset = torch.tensor([0.5, 0.25], dtype=torch.float64)[:, None, None].expand(2, 2, 2, 3) / 0.1
    size = rois[:, [3, 4]] - rois[:, [1, 2]]
    moved = rois + torch.cat([rois.new_zeros(2, 1), (size * torch.tensor([0.5, 0.25])).repeat(1, 2)], 1)
    shifted = ops.deform_roi_pool(maps, rois, offset.contiguous(), (2, 3), 1.0, ratio)
    torch.testing.assert_close(shifted, align(maps.detach(), moved, (2, 3), 1.0, ratio, "avg", True))
    offset = (wave(2, 2, 2, 3, phase=1).double() * 0.5).requires_grad_()
    assert gradcheck(lambda x, o: ops.deform_roi_pool(x, rois, o, (2, 3), 1.0, ratio), (maps, offset), fast_mode=True)


def test_no_regions():
    maps, none = wave(1, 2, 6, 7).requires_grad_(), torch.zeros(0, 5)
    for mode in ("avg", "max"):
        result = ops.roi_align(maps, none, 3, 1.0, 0, mode)
        assert result.shape == (0, 2, 3, 3)
        assert torch.autograd.grad(result.sum(), maps)[0].abs().max() == 0
    for result in (ops.roi_pool(maps, none, 3), ops.deform_roi_pool(maps, none, None, (3, 3))):
        assert result.shape == (0, 2, 3, 3)
        assert torch.autograd.grad(result.sum(), maps)[0].abs().max() == 0
