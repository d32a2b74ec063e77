"""Deformable convolutions through mmcv.ops.

The stored numbers come from mmcv's own CPU code (onedl-mmcv 2.3.6, csrc compiled against torch 2.14).
"""

import pytest
import torch
import torch.nn.functional as F
from definitions import same_gradients, wave
from mmcv import ops
from torch.autograd import gradcheck

pytestmark = pytest.mark.stack


def digest(tensor: torch.Tensor) -> float:
    return (tensor * wave(*tensor.shape, phase=0.5)).sum().item()


def written_out(maps, offset, mask, weight, stride, padding, dilation, groups, offset_groups):
    """Deformable convolution from grid_sample, one tap at a time. Offsets have the output's size."""
    batch, channels, height, width = maps.shape
    rows, columns = offset.shape[2:]
    kernel = weight.shape[2:]
    taps = offset.view(batch, offset_groups, kernel[0] * kernel[1], 2, rows, columns)
    masks = mask.view(batch, offset_groups, -1, rows, columns) if mask is not None else None
    sampled = []
    for tap in range(kernel[0] * kernel[1]):
        row, column = divmod(tap, kernel[1])
        base_y = torch.arange(rows)[:, None] * stride - padding + row * dilation
        base_x = torch.arange(columns) * stride - padding + column * dilation
        per_group = []
        for group, part in enumerate(maps.chunk(offset_groups, 1)):
            y, x = base_y + taps[:, group, tap, 0], base_x + taps[:, group, tap, 1]
            grid = torch.stack([(2 * x + 1) / width - 1, (2 * y + 1) / height - 1], -1)
            value = F.grid_sample(part, grid, align_corners=False)
            per_group.append(value if masks is None else value * masks[:, group, tap, None])
        sampled.append(torch.cat(per_group, 1))
    columns_ = torch.stack(sampled, 2).view(batch, groups, channels // groups, kernel[0] * kernel[1], rows, columns)
    weight = weight.view(groups, -1, channels // groups, kernel[0] * kernel[1])
    return torch.einsum("bgckhw,gock->bgohw", columns_, weight).flatten(1, 2)


CASES = [
    # channels, outputs, kernel, stride, padding, dilation, groups, offset groups
    (4, 6, (3, 3), 1, 1, 1, 1, 1),
    (4, 6, (3, 3), 2, 1, 2, 2, 2),
    (4, 4, (2, 3), 1, 2, 1, 4, 1),
    (4, 2, (1, 1), 3, 0, 1, 1, 4),
]


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("modulated", [False, True])
def test_against_the_definition(case, modulated):
    channels, outputs, kernel, stride, padding, dilation, groups, offset_groups = case
    maps = wave(4, channels, 7, 8)
    weight = wave(outputs, channels // groups, *kernel, phase=1)
    size = [(n + 2 * padding - dilation * (k - 1) - 1) // stride + 1 for n, k in zip((7, 8), kernel, strict=True)]
    taps = offset_groups * kernel[0] * kernel[1]
    offset, mask = wave(4, 2 * taps, *size, phase=2) * 1.9, wave(4, taps, *size, phase=3)
    inputs = [tensor.requires_grad_() for tensor in (maps, offset, weight)]
    arguments = (stride, padding, dilation, groups, offset_groups)
    if modulated:
        bias = wave(outputs).requires_grad_()
        inputs += [mask.requires_grad_(), bias]
        result = ops.modulated_deform_conv2d(maps, offset, mask, weight, bias, *arguments)
        expected = written_out(maps, offset, mask, weight, *arguments) + bias[:, None, None]
    else:
        result = ops.deform_conv2d(maps, offset, weight, *arguments, False, 2)  # an im2col step of 2 for 4 images
        expected = written_out(maps, offset, None, weight, *arguments)
    same_gradients(result, expected, inputs, least=1e-3)


@pytest.mark.parametrize(
    ("scale", "numbers"),
    [
        # Offsets of zero put taps at exactly -1, where mmcv's gradient of the offset is zero.
        (0.0, [155.6438466, -160.03248858, 9.23030175, -159.80173026]),
        (1.3, [25.41822258, -28.55303575, -3.27062056, -26.99578065]),
    ],
)
def test_deform_conv_stored(scale, numbers):
    tensors = [wave(2, 4, 5, 6), wave(2, 36, 5, 6, phase=2) * scale, wave(4, 2, 3, 3, phase=1)]
    maps, offset, weight = (tensor.requires_grad_() for tensor in tensors)
    result = ops.deform_conv2d(maps, offset, weight, 1, 1, 1, 2, 2, False, 1)
    grads = torch.autograd.grad(result, (maps, offset, weight), wave(2, 4, 5, 6, phase=3))
    assert [digest(tensor) for tensor in (result, *grads)] == pytest.approx(numbers, abs=1e-7)


def test_modulated_reads_larger_offsets_as_mmcv_does():
    """DyHead applies the offsets of a 7 x 9 map to one of 5 x 6."""
    shapes = [(2, 4, 5, 6, 0), (4, 2, 3, 3, 1), (4, 0), (2, 36, 7, 9, 2), (2, 18, 7, 9, 4)]
    tensors = [wave(*shape, phase=phase) for *shape, phase in shapes]
    tensors[3] = tensors[3] * 1.3
    maps, weight, bias, offset, mask = (tensor.requires_grad_() for tensor in tensors)
    result = ops.modulated_deform_conv2d(maps, offset, mask, weight, bias, 1, 1, 1, 2, 2)
    grads = torch.autograd.grad(result, (maps, weight, bias, offset, mask), wave(2, 4, 5, 6, phase=3))
    numbers = [-10.39915826, -1.62162736, -0.35514907, -0.05841668, 12.27660571, 4.57669381]
    assert [digest(tensor) for tensor in (result, *grads)] == pytest.approx(numbers, abs=1e-7)
    assert grads[3].flatten(1)[:, 36 * 30 :].abs().max() == 0


@pytest.mark.parametrize("layer", [ops.DeformConv2dPack, ops.ModulatedDeformConv2dPack])
def test_untrained_layer_is_a_convolution(layer):
    conv = layer(4, 6, 3, padding=1, bias=layer is ops.ModulatedDeformConv2dPack)
    maps = wave(3, 4, 5, 6).float()
    factor = 0.5 if layer is ops.ModulatedDeformConv2dPack else 1.0  # the sigmoid of a mask of zeros
    torch.testing.assert_close(conv(maps), F.conv2d(maps, conv.weight * factor, padding=1), atol=1e-5, rtol=1e-5)
    conv(maps).square().sum().backward()
    assert all(parameter.grad is not None for parameter in conv.parameters())


def test_gradcheck():
    tensors = [wave(2, 2, 4, 4), wave(2, 18, 4, 4, phase=1) * 0.4 + 0.03, wave(2, 9, 4, 4), wave(3, 2, 3, 3), wave(3)]
    inputs = [tensor.requires_grad_() for tensor in tensors]
    assert gradcheck(lambda *tensors: ops.modulated_deform_conv2d(*tensors, 1, 1), inputs, fast_mode=True)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_short_types_and_layouts(dtype):
    maps, offset, weight = wave(2, 4, 5, 6).float(), wave(2, 18, 5, 6, phase=2).float(), wave(3, 4, 3, 3).float()
    expected = ops.deform_conv2d(maps, offset, weight, 1, 1)
    short = [tensor.to(dtype).requires_grad_() for tensor in (maps, offset, weight)]
    result = ops.deform_conv2d(*short, 1, 1)
    result.sum().backward()
    assert result.dtype == dtype
    assert all(tensor.grad.isfinite().all() for tensor in short)
    torch.testing.assert_close(result.float(), expected, atol=0.3, rtol=0.05)
    strided = maps.to(memory_format=torch.channels_last), offset.to(memory_format=torch.channels_last)
    torch.testing.assert_close(ops.deform_conv2d(*strided, weight, 1, 1), expected)


def test_wrong_offsets_are_refused():
    maps, weight = wave(1, 4, 5, 6), wave(3, 4, 3, 3)
    with pytest.raises(RuntimeError, match="invalid shape of offset"):
        ops.deform_conv2d(maps, wave(1, 18, 7, 9), weight, 1, 1)
    with pytest.raises(RuntimeError, match=r"offset of shape .* is too small"):
        ops.modulated_deform_conv2d(maps, wave(1, 18, 4, 4), wave(1, 9, 5, 6), weight, None, 1, 1)
