"""Models inside mmengine's wrappers."""

from typing import Any

from mmengine.model import BaseTTAModel, is_model_wrapper


def unwrapped(model: Any) -> Any:
    """Return a model without its wrappers for distributed training and test-time augmentation."""
    while is_model_wrapper(model) or isinstance(model, BaseTTAModel):
        model = model.module
    return model
