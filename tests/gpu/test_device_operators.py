"""Every operator that is supplied for a compiled mmcv on a device, beside the same operator in float64 on the CPU."""

from collections.abc import Callable
from typing import Any, NamedTuple

import mmcv._ext as extension
import pytest
import torch
from definitions import wave
from mmcv import ops
from mmcv.ops.multi_scale_deform_attn import MultiScaleDeformableAttnFunction
from mmcv.ops.psa_mask import psa_mask
from mmcv.ops.sync_bn import SyncBatchNormFunction
from torch import Tensor

from mmvit.compat import operators

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.slow,
    pytest.mark.stack,
    pytest.mark.skipif(not operators.is_supplied(), reason="a compiled mmcv is installed here and takes over"),
]


MAPS = wave(2, 4, 8, 9)
ROIS = torch.tensor([[0, 1.3, 0.7, 21.9, 17.2], [1, 5.1, 4.2, 14.3, 30.9]], dtype=torch.float64)
CENTRES = wave(12, 2) * 20 + 20
BOXES = torch.cat([CENTRES, CENTRES + 8 + 6 * wave(12, 2, phase=1)], 1)
SCORES = wave(12, phase=2) / 2 + 0.5
LABELS = torch.tensor([0, 2, 3])
SHAPES = torch.tensor([[6, 4], [3, 2]])
STARTS = torch.tensor([0, 24])
MASK = (wave(1, 8, 9) > 0).double()


class Case(NamedTuple):
    """An operator on floating-point inputs, which get gradients where `backward` is true."""

    run: Callable[..., Any]
    inputs: tuple[Tensor, ...]
    names: tuple[str, ...]  # functions of mmcv._ext that it comes down to
    backward: bool = True
    dtype: torch.dtype = torch.float64  # of the reference


def to(tensor: Tensor, like: Tensor) -> Tensor:
    """An index or a size on the device of the inputs."""
    return tensor.to(like.device)


def deformable_attention(value: Tensor, places: Tensor, weights: Tensor) -> Tensor:
    return MultiScaleDeformableAttnFunction.apply(value, to(SHAPES, value), to(STARTS, value), places, weights, 2)


def sync_bn(maps: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    mean, variance = torch.zeros(4, device=maps.device), torch.ones(4, device=maps.device)
    return SyncBatchNormFunction.apply(maps, mean, variance, weight, bias, 0.1, 1e-5, 0, 1, "default")


TURNED = torch.cat([CENTRES, 8 + 6 * wave(12, 2, phase=1), wave(12, 1)], 1)  # centres, sides, angles in radians
TURNED_ROIS = torch.cat([torch.tensor([[0.0], [1.0], [0.0]], dtype=torch.float64), TURNED[:3]], 1)
CORNERS = torch.stack([BOXES[:, index] for index in (0, 1, 2, 1, 2, 3, 0, 3)], 1)
OFFSET, WEIGHT = wave(2, 18, 8, 9) / 2, wave(3, 4, 3, 3, phase=1)
CASES = {
    "box_iou_rotated": Case(lambda one: ops.box_iou_rotated(one, one.flip(0)), (TURNED,), ("box_iou_rotated",), False),
    "nms_rotated": Case(
        lambda boxes, scores: ops.nms_rotated(boxes.float(), scores.float(), 0.3)[1], (TURNED, SCORES), ("nms_rotated",), False
    ),
    "box_iou_quadri": Case(lambda one: ops.box_iou_quadri(one, one.flip(0)), (CORNERS,), ("box_iou_quadri",), False),
    "nms_quadri": Case(
        lambda boxes, scores: ops.nms_quadri(boxes.float(), scores.float(), 0.3)[1], (CORNERS, SCORES), ("nms_quadri",), False
    ),
    "roi_align_rotated": Case(
        lambda maps: ops.roi_align_rotated(maps, TURNED_ROIS.to(maps), (2, 3), 0.25, 2),
        (MAPS,),
        ("roi_align_rotated_forward", "roi_align_rotated_backward"),
    ),
    "nms": Case(lambda boxes, scores: ops.nms(boxes.float(), scores.float(), 0.3)[1], (BOXES, SCORES), ("nms",), False),
    "soft_nms": Case(
        lambda boxes, scores: ops.soft_nms(boxes.float(), scores.float(), 0.3), (BOXES, SCORES), ("softnms",), False
    ),
    "nms_match": Case(
        lambda boxes, scores: [
            torch.as_tensor(group) for group in ops.nms_match(torch.cat([boxes, scores[:, None]], 1).float(), 0.3)
        ],
        (BOXES, SCORES),
        ("nms_match",),
        False,
    ),
    "bbox_overlaps": Case(lambda one: ops.bbox_overlaps(one, one.flip(0)), (BOXES,), ("bbox_overlaps",), False),
    "roi_align": Case(
        lambda maps, rois: ops.roi_align(maps, rois, (2, 3), 0.25, 2), (MAPS, ROIS), ("roi_align_forward", "roi_align_backward")
    ),
    "roi_align max": Case(
        lambda maps, rois: ops.roi_align(maps, rois, (2, 3), 0.25, 0, "max"),
        (MAPS, ROIS),
        ("roi_align_forward", "roi_align_backward"),
    ),
    "roi_pool": Case(
        lambda maps, rois: ops.roi_pool(maps, rois, 3, 0.5), (MAPS, ROIS), ("roi_pool_forward", "roi_pool_backward")
    ),
    "deform_roi_pool": Case(
        lambda maps, rois, offset: ops.deform_roi_pool(maps, rois, offset, (2, 3), 0.25, 2),
        (MAPS, ROIS, wave(2, 2, 2, 3)),
        ("deform_roi_pool_forward", "deform_roi_pool_backward"),
    ),
    "deform_conv": Case(
        lambda maps, offset, weight: ops.deform_conv2d(maps, offset, weight, 1, 1),
        (MAPS, OFFSET, WEIGHT),
        ("deform_conv_forward", "deform_conv_backward_input", "deform_conv_backward_parameters"),
    ),
    "modulated_deform_conv": Case(
        lambda maps, offset, mask, weight, bias: ops.modulated_deform_conv2d(maps, offset, mask, weight, bias, 1, 1),
        (MAPS, OFFSET, wave(2, 9, 8, 9), WEIGHT, wave(3)),
        ("modulated_deform_conv_forward", "modulated_deform_conv_backward"),
    ),
    "sigmoid_focal_loss": Case(
        lambda logits: ops.sigmoid_focal_loss(logits, to(LABELS, logits), 2.0, 0.25, None, "sum"),
        (wave(3, 4) * 3,),
        ("sigmoid_focal_loss_forward", "sigmoid_focal_loss_backward"),
    ),
    "softmax_focal_loss": Case(
        lambda logits: ops.softmax_focal_loss(logits, to(LABELS, logits), 2.0, 0.25, None, "sum"),
        (wave(3, 4) * 3,),
        ("softmax_focal_loss_forward", "softmax_focal_loss_backward"),
    ),
    "ms_deform_attn": Case(
        deformable_attention,
        (wave(2, 30, 2, 4), wave(2, 5, 2, 2, 3, 2) / 2 + 0.5, wave(2, 5, 2, 2, 3).softmax(-1)),
        ("ms_deform_attn_forward", "ms_deform_attn_backward"),
    ),
    "psa_mask": Case(lambda maps: psa_mask(maps, 0, (3, 3)), (wave(2, 9, 4, 5),), ("psamask_forward", "psamask_backward")),
    "carafe": Case(
        lambda maps, mask: ops.carafe(maps, mask, 3, 2, 2),
        (MAPS, wave(2, 18, 16, 18)),
        ("carafe_forward", "carafe_backward"),
    ),
    "carafe_naive": Case(
        lambda maps, mask: ops.carafe_naive(maps, mask, 3, 2, 2),
        (MAPS, wave(2, 18, 16, 18)),
        ("carafe_naive_forward",),
        False,
    ),
    "masked_conv": Case(
        lambda maps, weight, bias: ops.masked_conv2d(maps, to(MASK, maps), weight, bias, 1),
        (MAPS[:1], WEIGHT, wave(3)),
        ("masked_im2col_forward", "masked_col2im_forward"),
        False,
    ),
    "sync_bn": Case(
        sync_bn,
        (MAPS, wave(4) + 2, wave(4)),
        (
            "sync_bn_forward_mean",
            "sync_bn_forward_var",
            "sync_bn_forward_output",
            "sync_bn_backward_param",
            "sync_bn_backward_data",
        ),
        dtype=torch.float32,  # its Python half takes nothing else but half precision
    ),
}
CUDA_ONLY = {"carafe_naive_backward"}  # mmcv's Python half refuses it on a CPU: the case below


def outputs_and_gradients(case: Case, device: str, dtype: torch.dtype) -> list[Tensor]:
    inputs = [tensor.to(device, dtype).detach().requires_grad_(case.backward) for tensor in case.inputs]
    if case.run in (CASES["roi_align"].run, CASES["roi_align max"].run, CASES["roi_pool"].run, CASES["deform_roi_pool"].run):
        inputs[1].requires_grad_(False)  # of regions of interest there is no gradient
    found = case.run(*inputs)
    outputs = list(found) if isinstance(found, list | tuple) else [found]
    if not case.backward:
        return [output.detach().cpu() for output in outputs]
    (output,) = outputs
    upstream = wave(*output.shape, phase=3).to(output) if output.ndim else torch.ones_like(output)
    learnt = [tensor for tensor in inputs if tensor.requires_grad]
    return [tensor.detach().cpu() for tensor in (output, *torch.autograd.grad(output, learnt, upstream))]


@pytest.mark.parametrize("name", CASES)
def test_operator_equals_float64_on_the_cpu(name: str, device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    case = CASES[name]
    called = set()
    for function in case.names:
        original = getattr(extension, function)

        def noted(*arguments: Any, of: Callable = original, function: str = function, **options: Any) -> Any:
            called.add(function)
            return of(*arguments, **options)

        monkeypatch.setattr(extension, function, noted)
    found = outputs_and_gradients(case, device, torch.float32)
    assert called == set(case.names)
    expected = outputs_and_gradients(case, "cpu", case.dtype)
    assert len(found) == len(expected)
    for ours, exact in zip(found, expected, strict=True):
        torch.testing.assert_close(ours.double(), exact.double(), rtol=1e-4, atol=1e-4)


def test_naive_carafe_has_gradients(device: str) -> None:
    """mmcv allows them on a GPU only; they are those of the other form."""
    if device == "cpu":
        pytest.skip("mmcv asks for a GPU")
    form = Case(lambda maps, mask: ops.carafe_naive(maps, mask, 3, 2, 2), CASES["carafe"].inputs, ())
    for ours, exact in zip(
        outputs_and_gradients(form, device, torch.float32),
        outputs_and_gradients(CASES["carafe"], "cpu", torch.float64),
        strict=True,
    ):
        torch.testing.assert_close(ours.double(), exact, rtol=1e-4, atol=1e-4)


def test_every_supplied_operator_has_a_case() -> None:
    tried = {name for case in CASES.values() for name in case.names}
    assert tried | CUDA_ONLY == {name for names in operators.SUPPLIED.values() for name in names}
