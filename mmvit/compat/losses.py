"""Corrections of the losses of mmseg 1.2.2 (its issues 3412, 3734 and 3831).

- `CrossEntropyLoss` with `class_weight` looks up the weight of every pixel's label, also of ignored ones, which have none.
- With `use_sigmoid=True` it lays the weights along the last axis of (B, C, H, W) instead of along the classes.
- `FocalLoss` of several classes takes one column of the one-hot labels instead of all of them, except on CUDA.
"""

from functools import wraps
from typing import TYPE_CHECKING, Any

from .imports import when_imported

if TYPE_CHECKING:  # `import mmvit` does without torch
    from torch import Tensor


def install() -> None:
    """Correct the losses once mmseg has imported them."""
    when_imported("mmseg.models.losses.cross_entropy_loss", _weigh)
    when_imported("mmseg.models.losses.focal_loss", _focus)


def _weigh() -> None:
    import mmseg.models.losses.cross_entropy_loss as stock
    import torch

    softmax, sigmoid = stock.cross_entropy, stock.binary_cross_entropy

    @wraps(softmax)
    def cross_entropy(
        pred: "Tensor",
        label: "Tensor",
        weight: "Tensor | None" = None,
        class_weight: "Tensor | None" = None,
        reduction: str = "mean",
        avg_factor: "float | Tensor | None" = None,
        ignore_index: int = -100,
        **options: Any,
    ) -> "Tensor":
        if class_weight is not None and avg_factor is None and reduction == "mean":
            counts = torch.bincount(label[label != ignore_index], minlength=len(class_weight))[: len(class_weight)]
            avg_factor = (counts * class_weight).sum()
        return softmax(pred, label, weight, class_weight, reduction, avg_factor, ignore_index, **options)

    @wraps(sigmoid)
    def binary_cross_entropy(
        pred: "Tensor", label: "Tensor", *args: Any, class_weight: "Tensor | None" = None, **options: Any
    ) -> "Tensor":
        if class_weight is not None and pred.ndim > 2 and pred.size(1) > 1:
            class_weight = class_weight.view(-1, *[1] * (pred.ndim - 2))  # (C, 1, 1)
        return sigmoid(pred, label, *args, class_weight=class_weight, **options)

    stock.cross_entropy, stock.binary_cross_entropy = cross_entropy, binary_cross_entropy


def _focus() -> None:
    import mmseg.models.losses.focal_loss as stock
    from torch.nn import functional

    forward = stock.FocalLoss.forward

    @wraps(forward)
    def focal_loss(
        self: Any,
        pred: "Tensor",
        target: "Tensor",
        weight: "Tensor | None" = None,
        *args: Any,
        ignore_index: int = 255,
        **options: Any,
    ) -> "Tensor":
        if pred.size(1) > 1 and not pred.is_cuda and pred.shape != target.shape:
            valid = target != ignore_index
            weight = (valid if weight is None else valid * weight).flatten()
            target = functional.one_hot(target * valid, pred.size(1)).movedim(-1, 1)  # (B, H, W) to (B, C, H, W)
        return forward(self, pred, target, weight, *args, ignore_index=ignore_index, **options)

    stock.FocalLoss.forward = focal_loss
