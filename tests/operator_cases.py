"""Every operator that is supplied for a compiled mmcv, on random inputs: what devices and a compiled mmcv are compared with."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from mmcv import ops
from mmcv.ops.multi_scale_deform_attn import MultiScaleDeformableAttnFunction
from mmcv.ops.psa_mask import psa_mask
from mmcv.ops.sync_bn import SyncBatchNormFunction
from torch import Tensor

SINGLE, BOTH = (torch.float32,), (torch.float32, torch.float64)
LABELS = torch.tensor([0, 2, 3])
SHAPES, STARTS = torch.tensor([[6, 4], [3, 2]]), torch.tensor([0, 24])


class Case(NamedTuple):
    """An operator; the first inputs get gradients."""

    run: Callable[..., Any]
    inputs: Callable[[], tuple[Tensor, ...]]  # random ones, in float64
    names: tuple[str, ...]  # functions of mmcv._ext that it comes down to
    learnt: int = 0  # number of inputs that get gradients
    compiled: tuple[torch.dtype, ...] = ()  # types for which mmcv has a form for CPUs


def boxes(number: int = 40) -> Tensor:
    corners = torch.rand(number, 2, dtype=torch.float64) * 60
    return torch.cat([corners, corners + 1 + torch.rand(number, 2, dtype=torch.float64) * 40], 1)


def turned(number: int = 40) -> Tensor:
    """Centres, sides, and angles in radians."""
    sides = 1 + torch.rand(number, 2, dtype=torch.float64) * 40
    return torch.cat(
        [torch.rand(number, 2, dtype=torch.float64) * 60, sides, torch.rand(number, 1, dtype=torch.float64) * 6 - 3], 1
    )


def corners(number: int = 40) -> Tensor:
    return boxes(number)[:, [0, 1, 2, 1, 2, 3, 0, 3]] + torch.rand(number, 8, dtype=torch.float64)


def rois(of: Callable[[int], Tensor]) -> Tensor:
    return torch.cat([torch.randint(0, 2, (6, 1)).double(), of(6)], 1)


def maps_and_rois(of: Callable[[int], Tensor]) -> Callable[[], tuple[Tensor, Tensor]]:
    return lambda: (normal(2, 3, 16, 18), rois(of))


def normal(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def scores() -> Tensor:
    return torch.rand(40, dtype=torch.float64)


def convolved() -> tuple[Tensor, ...]:
    return normal(2, 4, 8, 9), normal(2, 36, 8, 9), normal(6, 4, 3, 3)


def reassembled() -> tuple[Tensor, Tensor]:
    return normal(2, 4, 8, 9), normal(2, 18, 16, 18)


def groups(found: list) -> list[Tensor]:
    return [torch.as_tensor(group) for group in found]


def deformable_attention(value: Tensor, places: Tensor, weights: Tensor) -> Tensor:
    shapes, starts = (numbers.to(value.device) for numbers in (SHAPES, STARTS))
    return MultiScaleDeformableAttnFunction.apply(value, shapes, starts, places, weights, 2)


def sync_bn(maps: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """In float32: its Python half takes nothing else but half precision."""
    mean, variance = torch.zeros(4, device=maps.device), torch.ones(4, device=maps.device)
    return SyncBatchNormFunction.apply(maps.float(), mean, variance, weight.float(), bias.float(), 0.1, 1e-5, 0, 1, "default")


def boxed(name: str, run: Callable[..., Any], inputs: Callable[[], tuple[Tensor, ...]] = lambda: (boxes(), scores())) -> Case:
    """An operator on boxes, which mmcv has for CPUs in single precision only."""
    return Case(run, inputs, (name,), compiled=SINGLE)


def learning(
    name: str, run: Callable[..., Any], inputs: Callable[[], tuple[Tensor, ...]], learnt: int = 1, compiled: bool = False
) -> Case:
    """An operator with a function for its gradients."""
    return Case(run, inputs, (f"{name}_forward", f"{name}_backward"), learnt, BOTH if compiled else ())


CONVOLUTION = ("deform_conv_forward", "deform_conv_backward_input", "deform_conv_backward_parameters")
CASES = {
    "nms": boxed("nms", lambda one, score: ops.nms(one, score, 0.3)),
    "nms, offset 1": boxed("nms", lambda one, score: ops.nms(one, score, 0.5, 1)),
    **{
        f"soft_nms, {method}": boxed(
            "softnms", lambda one, score, method=method: ops.soft_nms(one, score, 0.3, 0.5, 1e-3, method)
        )
        for method in ("naive", "linear", "gaussian")
    },
    "nms_match": boxed("nms_match", lambda one, score: groups(ops.nms_match(torch.cat([one, score[:, None]], 1), 0.3))),
    **{
        f"bbox_overlaps, {mode}, offset {offset}": boxed(
            "bbox_overlaps",
            lambda one, other, mode=mode, offset=offset: ops.bbox_overlaps(one, other, mode, False, offset),
            lambda: (boxes(), boxes(30)),
        )
        for mode in ("iou", "iof")
        for offset in (0, 1)
    },
    "box_iou_rotated": boxed("box_iou_rotated", ops.box_iou_rotated, lambda: (turned(), turned(30))),
    "nms_rotated": boxed("nms_rotated", lambda *given: ops.nms_rotated(*given, 0.3), lambda: (turned(), scores())),
    "box_iou_quadri": boxed("box_iou_quadri", ops.box_iou_quadri, lambda: (corners(), corners(30))),
    "nms_quadri": boxed("nms_quadri", lambda *given: ops.nms_quadri(*given, 0.3), lambda: (corners(), scores())),
    **{
        f"roi_align, {mode}, {samples} samples, aligned {aligned}": learning(
            "roi_align",
            lambda maps, where, options=(samples, mode, aligned): ops.roi_align(maps, where, (3, 2), 0.25, *options),
            maps_and_rois(boxes),
            compiled=True,
        )
        for mode in ("avg", "max")
        for samples in (0, 2)
        for aligned in (True, False)
    },
    **{
        f"roi_align_rotated, {samples} samples, clockwise {clockwise}": learning(
            "roi_align_rotated",
            lambda maps, where, options=(samples, True, clockwise): ops.roi_align_rotated(maps, where, (3, 2), 0.25, *options),
            maps_and_rois(turned),
            compiled=True,
        )
        for samples in (0, 2)
        for clockwise in (True, False)
    },
    "roi_pool": learning("roi_pool", lambda maps, where: ops.roi_pool(maps, where, 3, 0.25), maps_and_rois(boxes)),
    "deform_roi_pool": learning(
        "deform_roi_pool",
        lambda maps, offset, where: ops.deform_roi_pool(maps, where, offset, (2, 3), 0.25, 2),
        lambda: (normal(2, 3, 16, 18), normal(6, 2, 2, 3), rois(boxes)),
        learnt=2,
    ),
    "deform_conv2d": Case(
        lambda maps, offset, weight: ops.deform_conv2d(maps, offset, weight, 1, 1, 1, 1, 2), convolved, CONVOLUTION, 3, BOTH
    ),
    "deform_conv2d, stride 2, dilation 2, groups 2": Case(
        lambda maps, offset, weight: ops.deform_conv2d(maps, offset, weight, 2, 2, 2, 2),
        lambda: (normal(2, 4, 9, 10), normal(2, 18, 5, 5), normal(6, 2, 3, 3)),
        CONVOLUTION,
        3,
        BOTH,
    ),
    "modulated_deform_conv2d": learning(
        "modulated_deform_conv",
        lambda maps, offset, weight, mask, bias: ops.modulated_deform_conv2d(maps, offset, mask, weight, bias, 1, 1, 1, 1, 2),
        lambda: (*convolved(), torch.rand(2, 18, 8, 9, dtype=torch.float64), normal(6)),
        learnt=5,
        compiled=True,
    ),
    **{
        name: learning(
            name,
            lambda logits, loss=loss: loss(logits, LABELS.to(logits.device), 2.0, 0.25, None, "sum"),
            lambda: (normal(3, 4),),
        )
        for name, loss in (("sigmoid_focal_loss", ops.sigmoid_focal_loss), ("softmax_focal_loss", ops.softmax_focal_loss))
    },
    "ms_deform_attn": learning(
        "ms_deform_attn",
        deformable_attention,
        lambda: (normal(2, 30, 2, 4), normal(2, 5, 2, 2, 3, 2) / 4 + 0.5, normal(2, 5, 2, 2, 3).softmax(-1)),
        learnt=3,
    ),
    **{
        f"psa_mask, {kind}": learning(
            "psamask",
            lambda masks, kind=kind: psa_mask(masks, kind, (5, 7)),
            lambda: (normal(2, 35, 4, 5),),
            compiled=True,
        )
        for kind in (0, 1)
    },
    "carafe": learning("carafe", lambda maps, mask: ops.carafe(maps, mask, 3, 2, 2), reassembled, learnt=2),
    "carafe_naive": Case(lambda maps, mask: ops.carafe_naive(maps, mask, 3, 2, 2), reassembled, ("carafe_naive_forward",)),
    "masked_conv": Case(
        lambda maps, mask, weight, bias: ops.masked_conv2d(maps, mask, weight, bias, 1),
        lambda: (normal(1, 4, 8, 9), (normal(1, 8, 9) > 0).double(), normal(3, 4, 3, 3), normal(3)),
        ("masked_im2col_forward", "masked_col2im_forward"),
    ),
    "sync_bn": Case(
        sync_bn,
        lambda: (normal(2, 4, 8, 9), normal(4) + 2, normal(4)),
        tuple(
            f"sync_bn_{part}" for part in ("forward_mean", "forward_var", "forward_output", "backward_param", "backward_data")
        ),
        3,
    ),
}


def answers(case: Case, inputs: tuple[Tensor, ...]) -> list[Tensor]:
    """Outputs and gradients."""
    given = [tensor.clone().requires_grad_(index < case.learnt) for index, tensor in enumerate(inputs)]
    found = case.run(*given)
    outputs = list(found) if isinstance(found, list | tuple) else [found]
    if not case.learnt:
        return outputs
    upstream = torch.linspace(-1, 1, outputs[0].numel()).to(outputs[0]).reshape(outputs[0].shape)
    return [outputs[0].detach(), *torch.autograd.grad(outputs[0], given[: case.learnt], upstream)]
