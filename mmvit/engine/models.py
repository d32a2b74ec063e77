"""Models inside mmengine's wrappers, and what all processes of a training have to agree on."""

from typing import Any

import torch
from mmengine.dist import all_reduce, broadcast_object_list
from mmengine.model import BaseTTAModel, is_model_wrapper


def unwrapped(model: Any) -> Any:
    """Return a model without its wrappers for distributed training and test-time augmentation."""
    while is_model_wrapper(model) or isinstance(model, BaseTTAModel):
        model = model.module
    return model


def of_first(value: Any) -> Any:
    """Return the value of the first process; all must call it."""
    values = [value]
    broadcast_object_list(values)
    return values[0]


def largest(number: int) -> int:
    """Return the largest of the numbers that the processes have; all must call it."""
    found = torch.tensor(int(number))
    all_reduce(found, "max")  # does nothing in a process alone
    return int(found)
