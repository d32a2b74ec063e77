"""Batch norm over processes: `sync_bn_*`. mmcv's `SyncBatchNorm` exchanges the statistics between these calls.

Semantics: mmcv's csrc/common/cuda/sync_bn_cuda_kernel.cuh. Input and output are (N, C, S), statistics (C,) float32.
"""

import torch
from torch import Tensor

from .kernel import kernel


@kernel
def sync_bn_forward_mean(input: Tensor, mean: Tensor) -> None:
    """Fill `mean` with this process's mean."""
    mean.copy_(input.float().mean((0, 2)))


@kernel
def sync_bn_forward_var(input: Tensor, mean: Tensor, var: Tensor) -> None:
    """Fill `var` with the mean square distance from `mean`, which is that of all processes."""
    var.copy_((input.float() - mean[:, None]).square().mean((0, 2)))


@kernel
def sync_bn_forward_output(
    input: Tensor,
    mean: Tensor,
    var: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    norm: Tensor,
    std: Tensor,
    output: Tensor,
    eps: float,
    momentum: float | Tensor,
    group_size: int,
) -> None:
    """Fill `norm` (N, C, S) with the normalised input, `std` with its divisor, `output` with `norm` * weight + bias.

    The running statistics move by `momentum`; their variance is the unbiased one over `group_size` equal processes.
    """
    std.copy_((var + eps).sqrt())
    norm.copy_((input.float() - mean[:, None]) / std[:, None])
    output.copy_(norm if weight is None or bias is None else norm * weight[:, None] + bias[:, None])
    if running_mean is None or running_var is None:
        return
    count = input.shape[0] * input.shape[2] * group_size
    unbiased = var * count / (count - 1) if count > 1 else var
    running_mean.copy_(momentum * mean + (1 - momentum) * running_mean)
    running_var.copy_(momentum * unbiased + (1 - momentum) * running_var)


@kernel
def sync_bn_backward_param(grad_output: Tensor, norm: Tensor, grad_weight: Tensor, grad_bias: Tensor) -> None:
    """Fill the gradients (C,) of weight and bias from this process's `grad_output` (N, C, S)."""
    grad = grad_output.float()
    grad_weight.copy_((grad * norm).sum((0, 2)))
    grad_bias.copy_(grad.sum((0, 2)))


@kernel
def sync_bn_backward_data(
    grad_output: Tensor, weight: Tensor, grad_weight: Tensor, grad_bias: Tensor, norm: Tensor, std: Tensor, grad_input: Tensor
) -> None:
    """Fill `grad_input` (N, C, S), with the parameters' gradients averaged over all processes."""
    count = norm.shape[0] * norm.shape[2]
    common = (grad_weight[:, None] * norm + grad_bias[:, None]) / max(count, 1)
    grad_input.copy_(torch.div(weight, std)[:, None] * (grad_output.float() - common))
