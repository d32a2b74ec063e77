"""Networks in half precision; inputs, outputs, anchors and boxes stay float32."""

from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn

PARTS = ("backbone", "neck", "bbox_head", "decode_head", "rpn_head", "mask_head")


def halved(program: Any) -> Any:
    """Return a copy of a program whose backbone, neck and heads compute in float16."""
    copied = deepcopy(program)
    for name, part in copied.named_modules():
        if name.rpartition(".")[2] in PARTS and isinstance(part, nn.Module):
            part.half()
            part.register_forward_pre_hook(lambda _, inputs: cast(inputs, torch.float32, torch.float16))
            part.register_forward_hook(lambda _, __, outputs: cast(outputs, torch.float16, torch.float32))
    return copied


def cast(value: Any, given: torch.dtype, wanted: torch.dtype) -> Any:
    """Return lists and tuples with their tensors of one type converted to another."""
    if isinstance(value, Tensor):
        return value.to(wanted) if value.dtype == given else value
    if isinstance(value, list | tuple):
        return type(value)(cast(part, given, wanted) for part in value)
    return value
