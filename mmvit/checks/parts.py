"""Parts of a model's config: found, and built without what they would load."""

import copy
from collections.abc import Mapping
from typing import Any

import torch
from mmengine.registry import MODELS


def build(part: dict[str, Any]) -> Any:
    """Build a part of a model without the files that it would load, and without memory where it allows that."""
    bare = without_init(part)
    try:
        with torch.device("meta"):
            return MODELS.build(copy.deepcopy(bare))
    except Exception:
        return MODELS.build(copy.deepcopy(bare))


def without_init(part: Any) -> Any:
    """Return a part of a config without what would load files as it is built."""
    if isinstance(part, dict):
        return type(part)({key: None if key == "init_cfg" else without_init(value) for key, value in part.items()})
    if isinstance(part, list | tuple):
        return type(part)(without_init(entry) for entry in part)
    return part


def parts_of(model: Mapping[str, Any], name: str, key: str = "model") -> list[tuple[str, dict[str, Any]]]:
    """Return the configs under a name, which may be one or a list, each with its full key."""
    part = model.get(name)
    if isinstance(part, list | tuple):
        return [(f"{key}.{name}.{index}", entry) for index, entry in enumerate(part) if isinstance(entry, dict)]
    return [(f"{key}.{name}", part)] if isinstance(part, dict) else []


def plain(value: Any) -> Any:
    return list(value) if isinstance(value, list | tuple) else value
