"""Supplied operators beside those of a compiled mmcv, over random inputs: `make test-compiled` builds one.

mmcv has no form for CPUs of the others: RoIPool, deformable RoIPool, focal losses, multi-scale deformable attention, CARAFE,
masked convolution and SyncBN.
"""
# ruff: noqa: E402  The stand-in has to be installed before mmcv.ops is imported.

from collections.abc import Callable
from importlib import import_module
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

from mmvit.compat import operators

operators.install()
if operators.is_supplied():
    pytest.skip("mmcv is not compiled here: make test-compiled", allow_module_level=True)
import mmcv._ext as extension
from mmcv import ops
from mmcv.ops.psa_mask import psa_mask

OURS = {
    name: getattr(import_module(f"mmvit.compat.operators.{file}"), name)
    for file, names in operators.SUPPLIED.items()
    for name in names
}
SEEDS = 10


class Case(NamedTuple):
    """An operator; where `backward` is true, the first inputs get gradients."""

    run: Callable[..., Any]
    inputs: Callable[[], tuple[Tensor, ...]]  # random ones
    names: tuple[str, ...]  # functions of mmcv._ext that it comes down to
    learnt: int = 0  # number of inputs that get gradients
    dtypes: tuple[torch.dtype, ...] = (torch.float32, torch.float64)


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


def rois(of: Callable[[int], Tensor], number: int = 6) -> Tensor:
    return torch.cat([torch.randint(0, 2, (number, 1)).double(), of(number)], 1)


def normal(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def scores(number: int = 40) -> Tensor:
    return torch.rand(number, dtype=torch.float64)


def convolved() -> tuple[Tensor, ...]:
    return normal(2, 4, 8, 9), normal(2, 36, 8, 9), normal(6, 4, 3, 3)


def groups(found: list) -> list[Tensor]:
    return [torch.as_tensor(group) for group in found]


SINGLE = (torch.float32,)
CASES = {
    "nms": Case(lambda one, score: ops.nms(one, score, 0.3), lambda: (boxes(), scores()), ("nms",), dtypes=SINGLE),
    "nms, offset 1": Case(lambda one, score: ops.nms(one, score, 0.5, 1), lambda: (boxes(), scores()), ("nms",), dtypes=SINGLE),
    **{
        f"soft_nms, {method}": Case(
            lambda one, score, method=method: ops.soft_nms(one, score, 0.3, 0.5, 1e-3, method),
            lambda: (boxes(), scores()),
            ("softnms",),
            dtypes=SINGLE,
        )
        for method in ("naive", "linear", "gaussian")
    },
    "nms_match": Case(
        lambda one, score: groups(ops.nms_match(torch.cat([one, score[:, None]], 1), 0.3)),
        lambda: (boxes(), scores()),
        ("nms_match",),
        dtypes=SINGLE,
    ),
    **{
        f"bbox_overlaps, {mode}, offset {offset}": Case(
            lambda one, other, mode=mode, offset=offset: ops.bbox_overlaps(one, other, mode, False, offset),
            lambda: (boxes(), boxes(30)),
            ("bbox_overlaps",),
            dtypes=SINGLE,
        )
        for mode in ("iou", "iof")
        for offset in (0, 1)
    },
    "box_iou_rotated": Case(ops.box_iou_rotated, lambda: (turned(), turned(30)), ("box_iou_rotated",), dtypes=SINGLE),
    "nms_rotated": Case(
        lambda one, score: ops.nms_rotated(one, score, 0.3), lambda: (turned(), scores()), ("nms_rotated",), dtypes=SINGLE
    ),
    "box_iou_quadri": Case(ops.box_iou_quadri, lambda: (corners(), corners(30)), ("box_iou_quadri",), dtypes=SINGLE),
    "nms_quadri": Case(
        lambda one, score: ops.nms_quadri(one, score, 0.3), lambda: (corners(), scores()), ("nms_quadri",), dtypes=SINGLE
    ),
    **{
        f"roi_align, {mode}, {samples} samples, aligned {aligned}": Case(
            lambda maps, where, mode=mode, samples=samples, aligned=aligned: ops.roi_align(
                maps, where, (3, 2), 0.25, samples, mode, aligned
            ),
            lambda: (normal(2, 3, 16, 18), rois(boxes)),
            ("roi_align_forward", "roi_align_backward"),
            1,
        )
        for mode in ("avg", "max")
        for samples in (0, 2)
        for aligned in (True, False)
    },
    **{
        f"roi_align_rotated, {samples} samples, clockwise {clockwise}": Case(
            lambda maps, where, samples=samples, clockwise=clockwise: ops.roi_align_rotated(
                maps, where, (3, 2), 0.25, samples, True, clockwise
            ),
            lambda: (normal(2, 3, 16, 18), rois(turned)),
            ("roi_align_rotated_forward", "roi_align_rotated_backward"),
            1,
        )
        for samples in (0, 2)
        for clockwise in (True, False)
    },
    "deform_conv2d": Case(
        lambda maps, offset, weight: ops.deform_conv2d(maps, offset, weight, 1, 1, 1, 1, 2),
        convolved,
        ("deform_conv_forward", "deform_conv_backward_input", "deform_conv_backward_parameters"),
        3,
    ),
    "deform_conv2d, stride 2, dilation 2, groups 2": Case(
        lambda maps, offset, weight: ops.deform_conv2d(maps, offset, weight, 2, 2, 2, 2),
        lambda: (normal(2, 4, 9, 10), normal(2, 18, 5, 5), normal(6, 2, 3, 3)),
        ("deform_conv_forward", "deform_conv_backward_input", "deform_conv_backward_parameters"),
        3,
    ),
    "modulated_deform_conv2d": Case(
        lambda maps, offset, weight, mask, bias: ops.modulated_deform_conv2d(maps, offset, mask, weight, bias, 1, 1, 1, 1, 2),
        lambda: (*convolved(), torch.rand(2, 18, 8, 9, dtype=torch.float64), normal(6)),
        ("modulated_deform_conv_forward", "modulated_deform_conv_backward"),
        5,
    ),
    **{
        f"psa_mask, {kind}": Case(
            lambda masks, kind=kind: psa_mask(masks, kind, (5, 7)),
            lambda: (normal(2, 35, 4, 5),),
            ("psamask_forward", "psamask_backward"),
            1,
        )
        for kind in (0, 1)
    },
}


def answers(case: Case, inputs: tuple[Tensor, ...]) -> list[Tensor]:
    """Outputs and gradients."""
    given = [tensor.clone().requires_grad_(index < case.learnt) for index, tensor in enumerate(inputs)]
    found = case.run(*given)
    outputs = list(found) if isinstance(found, list | tuple) else [found]
    if not case.learnt:
        return outputs
    upstream = torch.linspace(-1, 1, outputs[0].numel(), dtype=outputs[0].dtype).reshape(outputs[0].shape)
    return [outputs[0].detach(), *torch.autograd.grad(outputs[0], given[: case.learnt], upstream)]


def both(case: Case, seed: int, dtype: torch.dtype, patch: pytest.MonkeyPatch) -> tuple[list[Tensor], list[Tensor]]:
    """What the compiled operator answers, and ours."""
    torch.manual_seed(seed)
    inputs = tuple(tensor.to(dtype) for tensor in case.inputs())
    compiled = answers(case, inputs)
    for name in case.names:
        patch.setattr(extension, name, OURS[name])
    return compiled, answers(case, inputs)


@pytest.mark.parametrize(
    ("name", "dtype"),
    [(name, dtype) for name, case in CASES.items() for dtype in case.dtypes],
    ids=lambda value: str(value).removeprefix("torch."),
)
def test_compiled_and_supplied_agree(name: str, dtype: torch.dtype) -> None:
    small = 1e-4 if dtype is torch.float32 else 1e-10
    for seed in range(SEEDS):
        with pytest.MonkeyPatch.context() as patch:
            compiled, ours = both(CASES[name], seed, dtype, patch)
        for one, other in zip(ours, compiled, strict=True):
            torch.testing.assert_close(one, other, rtol=small, atol=small, msg=lambda text, seed=seed: f"seed {seed}: {text}")
