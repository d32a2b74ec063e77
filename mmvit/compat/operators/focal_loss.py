"""Focal losses: `sigmoid_focal_loss_*`, `softmax_focal_loss_*`.

Semantics: mmcv's csrc/common/cuda/sigmoid_focal_loss_cuda_kernel.cuh and softmax_focal_loss_cuda_kernel.cuh. Labels
(N,) count from 0. `weight` is (C,), or empty for none, and is picked by the *label* of a row. The caller reduces.

Difference from mmcv: in the sigmoid form label C is background, for which mmcv reads beyond the end of `weight`, as it does for
negative labels. Here such rows have weight 1. In the softmax form, label C is an error; mmcv reads beyond the end of the
probabilities.
"""

import torch
from torch import Tensor

from .kernel import kernel, wide

# The kernels' bound inside logarithms: the smallest normal float32, for every type.
SMALLEST = torch.finfo(torch.float32).tiny


def _log(probability: Tensor) -> Tensor:
    return probability.clamp(min=SMALLEST).log()


def _check_labels(target: Tensor, highest: int) -> None:
    if not target.is_meta and target.numel() > 0 and target.max() > highest:
        raise RuntimeError(f"labels go up to {highest} here, but the target holds {int(target.max())}")


def _row_weights(target: Tensor, weight: Tensor) -> Tensor:
    """Return (N,) weights of the rows: 1 where the label is none of the classes."""
    if weight.numel() == 0:
        return wide(weight).new_ones(len(target))
    known = (target >= 0) & (target < len(weight))
    return torch.where(known, wide(weight)[target.clamp(0, len(weight) - 1)], 1)


@kernel
def sigmoid_focal_loss_forward(
    input: Tensor, target: Tensor, weight: Tensor, output: Tensor, gamma: float, alpha: float
) -> None:
    """Fill `output` (N, C) with the loss of each logit of `input` (N, C).

    If the label of a row is no class, all of its logits are negatives.
    """
    _check_labels(target, input.shape[1])
    positive, p = _one_hot(target, input.shape[1]), wide(input).sigmoid()
    loss = torch.where(positive, -alpha * (1 - p).pow(gamma) * _log(p), -(1 - alpha) * p.pow(gamma) * _log(1 - p))
    output.copy_(loss * _row_weights(target, weight)[:, None])


@kernel
def sigmoid_focal_loss_backward(
    input: Tensor, target: Tensor, weight: Tensor, grad_input: Tensor, gamma: float, alpha: float
) -> None:
    """Fill `grad_input` (N, C) with the derivative of each loss by its logit."""
    positive, p = _one_hot(target, input.shape[1]), wide(input).sigmoid()
    grad = torch.where(
        positive,
        -alpha * (1 - p).pow(gamma) * (1 - p - gamma * p * _log(p)),
        -(1 - alpha) * p.pow(gamma) * (gamma * (1 - p) * _log(1 - p) - p),
    )
    grad_input.copy_(grad * _row_weights(target, weight)[:, None])


def _one_hot(target: Tensor, classes: int) -> Tensor:
    return target[:, None] == torch.arange(classes, device=target.device)


@kernel
def softmax_focal_loss_forward(
    input: Tensor, target: Tensor, weight: Tensor, output: Tensor, gamma: float, alpha: float
) -> None:
    """Fill `output` (N,) from the probabilities `input` (N, C), after softmax. The loss of a negative label is 0."""
    _check_labels(target, input.shape[1] - 1)
    p = _probability(input, target)
    loss = -alpha * (1 - p).pow(gamma) * _log(p) * _row_weights(target, weight)
    output.copy_(torch.where(target >= 0, loss, 0))


@kernel
def softmax_focal_loss_backward(
    input: Tensor, target: Tensor, weight: Tensor, buff: Tensor, grad_input: Tensor, gamma: float, alpha: float
) -> None:
    """Fill `grad_input` (N, C) with the derivatives by the logits, `buff` (N,) with their common factor."""
    p = _probability(input, target)
    factor = alpha * (gamma * (1 - p).pow(gamma - 1) * p * _log(p) - (1 - p).pow(gamma)) * _row_weights(target, weight)
    factor = torch.where(target >= 0, factor, 0)
    buff.copy_(factor)
    grad_input.copy_(factor[:, None] * (_one_hot(target, input.shape[1]).to(p) - wide(input)))


def _probability(softmax: Tensor, target: Tensor) -> Tensor:
    return wide(softmax).gather(1, target.clamp(min=0)[:, None])[:, 0]
