"""Parts of a model's config: how to find them, and how to build them without loading files."""

import copy
from collections.abc import Mapping
from typing import Any

import torch
from mmengine.registry import MODELS


def build(part: dict[str, Any]) -> Any:
    """Build a part of a model without loading files: on the meta device, or on the CPU if it does not build there."""
    bare = without_init(part)
    try:
        with torch.device("meta"):
            return MODELS.build(copy.deepcopy(bare))
    except Exception:
        return MODELS.build(copy.deepcopy(bare))


def without_init(part: Any) -> Any:
    """Return a part of a config with every `init_cfg` set to None, so that building it loads no files."""
    if isinstance(part, dict):
        return type(part)({key: None if key == "init_cfg" else without_init(value) for key, value in part.items()})
    if isinstance(part, list | tuple):
        return type(part)(without_init(entry) for entry in part)
    return part


def parts_of(model: Mapping[str, Any], name: str, key: str = "model") -> list[tuple[str, dict[str, Any]]]:
    """Return the configs under a name, which may hold one or a list, each with its full key."""
    part = model.get(name)
    if isinstance(part, list | tuple):
        return [(f"{key}.{name}.{index}", entry) for index, entry in enumerate(part) if isinstance(entry, dict)]
    return [(f"{key}.{name}", part)] if isinstance(part, dict) else []


def plain(value: Any) -> Any:
    return list(value) if isinstance(value, list | tuple) else value
