"""Models inside of what mmengine puts around them."""

from typing import Any

from mmengine.model import BaseTTAModel, is_model_wrapper


def unwrapped(model: Any) -> Any:
    """Return a model without what spreads it over processes or runs it several times an image."""
    while is_model_wrapper(model) or isinstance(model, BaseTTAModel):
        model = model.module
    return model
