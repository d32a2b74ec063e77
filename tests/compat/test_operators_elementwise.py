"""Focal losses, deformable attention, PSA masks, CARAFE, masked convolution, batch norm over processes by mmcv.ops."""

import math

import pytest
import torch
import torch.distributed as dist
import torch.nn.functional as F
from definitions import same_gradients, wave
from families import BY_NAME, images
from mmcv import ops
from mmcv.ops.multi_scale_deform_attn import MultiScaleDeformableAttnFunction
from mmcv.ops.psa_mask import psa_mask
from mmengine.model import convert_sync_batchnorm
from torch.autograd import gradcheck

pytestmark = pytest.mark.stack


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("gamma", [0.0, 1.5, 2.0])
def test_sigmoid_focal_loss(weighted, gamma):
    logits = (wave(6, 4) * 4).requires_grad_()
    target = torch.tensor([0, 3, 1, 2, 2, 0] if weighted else [0, 4, 1, 2, 4, 0])  # 4 is background
    weight = torch.tensor([0.5, 2, 1, 3], dtype=torch.float64) if weighted else None
    truth = F.one_hot(target, 5)[:, :4]
    right = torch.where(truth == 1, logits.sigmoid(), 1 - logits.sigmoid())
    expected = torch.where(truth == 1, 0.25, 0.75) * (1 - right) ** gamma * -right.log()
    expected = expected if weight is None else expected * weight[target][:, None]
    same_gradients(ops.sigmoid_focal_loss(logits, target, gamma, 0.25, weight, "none"), expected, logits)
    torch.testing.assert_close(ops.sigmoid_focal_loss(logits, target, gamma, 0.25, weight), expected.sum() / 6)


@pytest.mark.parametrize("weighted", [False, True])
def test_softmax_focal_loss(weighted):
    logits = (wave(5, 4) * 3).requires_grad_()
    target = torch.tensor([0, 3, -1, 2, 1])
    weight = torch.tensor([0.5, 2, 1, 3], dtype=torch.float64) if weighted else None
    right = logits.softmax(1)[torch.arange(5), target.clamp(min=0)]
    expected = -0.25 * (1 - right) ** 2 * right.log() * (1 if weight is None else weight[target.clamp(min=0)])
    expected = torch.where(target < 0, 0, expected)
    torch.testing.assert_close(ops.softmax_focal_loss(logits, target, 2.0, 0.25, weight, "none"), expected)
    same_gradients(ops.softmax_focal_loss(logits, target, 2.0, 0.25, weight, "sum"), expected.sum(), logits)


def test_focal_losses_refuse_labels_beyond_the_classes():
    with pytest.raises(RuntimeError, match="labels go up to 4"):
        ops.sigmoid_focal_loss(wave(2, 4), torch.tensor([0, 5]))
    with pytest.raises(RuntimeError, match="labels go up to 3"):
        ops.softmax_focal_loss(wave(2, 4), torch.tensor([0, 4]))


def test_focal_loss_of_nothing_and_of_certainty():
    assert ops.sigmoid_focal_loss(wave(0, 4), torch.zeros(0, dtype=torch.long), 2.0, 0.25, None, "sum") == 0
    logits = torch.tensor([[100.0, -100.0]], requires_grad=True)
    loss = ops.sigmoid_focal_loss(logits, torch.tensor([1]), 2.0, 0.25, None, "none")
    loss.sum().backward()
    assert loss.isfinite().all()
    assert logits.grad.isfinite().all()
    assert loss.min() > 20


def attend(value, shapes, locations, weights):
    """Deformable attention written out, one sample at a time."""
    batch, queries, heads = weights.shape[:3]
    output = value.new_zeros(batch, queries, heads, value.shape[3])
    for b, q, h, level, p in torch.cartesian_prod(*map(torch.arange, weights.shape)).tolist():
        height, width = shapes[level]
        start = sum(rows * columns for rows, columns in shapes[:level])
        x = locations[b, q, h, level, p, 0].item() * width - 0.5
        y = locations[b, q, h, level, p, 1].item() * height - 0.5
        for row, column in ((math.floor(y) + i, math.floor(x) + j) for i in (0, 1) for j in (0, 1)):
            if 0 <= row < height and 0 <= column < width:
                share = (1 - abs(y - row)) * (1 - abs(x - column)) * weights[b, q, h, level, p]
                output[b, q, h] = output[b, q, h] + share * value[b, start + row * width + column, h]
    return output.flatten(2)


def attention_inputs(batch=3):
    shapes = torch.tensor([[4, 3], [2, 5]])
    value = wave(batch, 22, 2, 3)
    locations = wave(batch, 4, 2, 2, 2, 2, phase=1) * 0.7 + 0.5
    return value, shapes, torch.tensor([0, 12]), locations, wave(batch, 4, 2, 2, 2, phase=2) + 1.1


@pytest.mark.parametrize("step", [1, 2, 64])
def test_deformable_attention(step):
    value, shapes, starts, locations, weights = attention_inputs()
    result = MultiScaleDeformableAttnFunction.apply(value, shapes, starts, locations, weights, step)
    torch.testing.assert_close(result, attend(value, shapes.tolist(), locations, weights))
    assert result.abs().max() > 0.1


def test_deformable_attention_gradient():
    value, shapes, starts, locations, weights = attention_inputs(2)
    inputs = [tensor.requires_grad_() for tensor in (value, locations, weights)]

    def function(value, locations, weights):
        return MultiScaleDeformableAttnFunction.apply(value, shapes, starts, locations, weights, 64)

    assert gradcheck(function, inputs, fast_mode=True)


def test_deformable_attention_at_the_edge_has_no_gradient():
    # Half a pixel left of the map's edge, exactly one pixel from the first pixel's centre.
    location = torch.tensor([-0.125, 0.5]).view(1, 1, 1, 1, 1, 2).requires_grad_()
    result = MultiScaleDeformableAttnFunction.apply(
        torch.ones(1, 16, 1, 1), torch.tensor([[4, 4]]), torch.tensor([0]), location, torch.ones(1, 1, 1, 1, 1), 64
    )
    assert result.item() == 0
    assert torch.autograd.grad(result, location)[0].abs().max() == 0


def test_deformable_attention_half_and_empty():
    value, shapes, starts, locations, weights = attention_inputs()
    expected = MultiScaleDeformableAttnFunction.apply(value, shapes, starts, locations, weights, 64)
    half = MultiScaleDeformableAttnFunction.apply(value.half(), shapes, starts, locations, weights, 64)
    assert half.dtype == torch.float16
    torch.testing.assert_close(half.double(), expected, atol=0.03, rtol=0)
    value.requires_grad_()
    none = MultiScaleDeformableAttnFunction.apply(value, shapes, starts, locations[:, :0], weights[:, :0], 64)
    assert none.shape == (3, 0, 6)
    assert torch.autograd.grad(none.sum(), value)[0].abs().max() == 0


@pytest.mark.parametrize("kind", [0, 1])
@pytest.mark.parametrize("mask", [(1, 1), (3, 5), (9, 7), (2, 4)])
def test_psa_mask(kind, mask):
    height, width = 5, 4
    masks = wave(2, mask[0] * mask[1], height, width).requires_grad_()
    expected = masks.new_zeros(2, height * width, height, width)
    for h, w, i, j in torch.cartesian_prod(*map(torch.arange, (height, width, *mask))).tolist():
        y, x = h + i - (mask[0] - 1) // 2, w + j - (mask[1] - 1) // 2
        if 0 <= y < height and 0 <= x < width:
            place = (y * width + x, h, w) if kind == 0 else (h * width + w, y, x)
            expected[(slice(None), *place)] = masks[:, i * mask[1] + j, h, w]
    same_gradients(psa_mask(masks, kind, mask), expected, masks)


@pytest.mark.parametrize("operator", [ops.carafe, ops.carafe_naive])
@pytest.mark.parametrize(("kernel", "groups", "scale"), [(1, 1, 1), (3, 2, 2), (5, 1, 3)])
def test_carafe(operator, kernel, groups, scale):
    features = wave(2, 4, 3, 5).requires_grad_()
    masks = wave(2, groups * kernel**2, 3 * scale, 5 * scale, phase=1).requires_grad_()
    around = F.unfold(features, kernel, padding=kernel // 2).view(2, 4 * kernel**2, 3, 5)
    around = F.interpolate(around, scale_factor=scale, mode="nearest").view(2, groups, 4 // groups, kernel**2, 3 * scale, -1)
    expected = (around * masks.view(2, groups, 1, kernel**2, 3 * scale, -1)).sum(3).flatten(1, 2)
    result = operator(features, masks, kernel, groups, scale)
    torch.testing.assert_close(result, expected)
    if operator is ops.carafe:  # mmcv allows the backward of the other on a GPU only
        same_gradients(result, expected, (features, masks))


def test_masked_im2col_and_col2im():
    extension = __import__("mmcv._ext", fromlist=["_ext"])
    maps, kernel, pad = wave(1, 3, 5, 6), (3, 2), (1, 0)
    rows, columns = torch.tensor([0, 4, 2]), torch.tensor([0, 4, 1])
    col = maps.new_zeros(3 * 6, 3)
    extension.masked_im2col_forward(
        maps, rows, columns, col, kernel_h=kernel[0], kernel_w=kernel[1], pad_h=pad[0], pad_w=pad[1]
    )
    every = F.unfold(maps, kernel, padding=pad).view(18, 5, 5)
    assert torch.equal(col, every[:, rows, columns])
    result = maps.new_zeros(1, 18, 5, 5)
    extension.masked_col2im_forward(col, rows, columns, result, height=5, width=5, channels=18)
    assert torch.equal(result[0][:, rows, columns], col)
    assert result.count_nonzero() == col.count_nonzero()


@pytest.fixture
def process_group(tmp_path):
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    yield
    dist.destroy_process_group()


@pytest.mark.parametrize("mode", ["default", "N"])
def test_sync_batch_norm_is_batch_norm(process_group, mode):
    maps = (wave(4, 3, 5, 2) * 3 + 1).float().requires_grad_()
    layer, expected = ops.SyncBatchNorm(3, stats_mode=mode), torch.nn.BatchNorm2d(3)
    expected.load_state_dict(layer.state_dict())
    same_gradients(layer(maps), expected(maps), (maps,))
    for name, tensor in expected.state_dict().items():
        torch.testing.assert_close(layer.state_dict()[name], tensor)
    grads = [torch.autograd.grad(net(maps).square().sum(), net.parameters()) for net in (layer, expected)]
    torch.testing.assert_close(*grads)
    torch.testing.assert_close(layer.eval()(maps), expected.eval()(maps))


def test_sync_batch_norm_of_nothing_and_in_half(process_group):
    layer = ops.SyncBatchNorm(3, stats_mode="N")
    assert layer(torch.zeros(0, 3, 4, 4)).shape == (0, 3, 4, 4)
    assert layer.running_var.tolist() == [1, 1, 1]
    assert layer.running_mean.tolist() == [0, 0, 0]
    result = layer(wave(2, 3, 4, 4).half())
    assert result.dtype == torch.float16
    assert result.isfinite().all()


def test_sync_batch_norms_of_a_backbone(process_group):
    """They are held by `norm_eval`, and count a batch once under `with_cp`, as torch's."""
    family = BY_NAME["VAN"]
    held = convert_sync_batchnorm(family.build(norm_eval=True), "mmcv").train()
    assert not any(module.training for module in held.modules() if isinstance(module, ops.SyncBatchNorm))
    states = []
    for with_cp in (False, True):
        model = convert_sync_batchnorm(family.initialised(with_cp=with_cp), "mmcv").train()
        sum(level.mean() for level in model(images(64, 64))).backward()
        states.append(dict(model.named_buffers()))
    torch.testing.assert_close(*states)
    assert states[1]["stages.0.patch_embed.norm.num_batches_tracked"] == 1


@pytest.mark.parametrize("operator", ["roi_align", "deform_conv2d"])
def test_autocast_does_not_reach_inside(operator):
    maps = wave(1, 2, 6, 6).float()
    calls = {
        "roi_align": lambda: ops.roi_align(maps, torch.tensor([[0, 0.3, 0.2, 4.1, 4.4]]), 2, 1.0, 2, "max"),
        "deform_conv2d": lambda: ops.deform_conv2d(maps, wave(1, 18, 6, 6).float(), wave(2, 2, 3, 3).float(), 1, 1),
    }
    expected = calls[operator]()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        result = calls[operator]()
    assert result.dtype == torch.float32
    assert torch.equal(result, expected)
