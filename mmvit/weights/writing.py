"""Writing of files of weights, completely or not at all."""

import json
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..data.files import write_whole
from .archives import META


def write_tensors(path: Path, tensors: Mapping[str, Tensor], meta: Mapping[str, Any] | None = None) -> None:
    """Write tensors to a file: in safetensors' format if its name ends in `.safetensors`, otherwise in torch's.

    Args:
        meta: plain values to write as metadata; None writes the tensors alone.
    """
    own = {name: value.detach().clone().contiguous() for name, value in tensors.items()}  # a view would write all of its base
    write_whole(path, _serialized(path, own, meta))


def _serialized(path: Path, tensors: Mapping[str, Tensor], meta: Mapping[str, Any] | None) -> bytes:
    if path.suffix == ".safetensors":
        from safetensors.torch import save

        return save(dict(tensors), metadata=None if meta is None else {META: json.dumps(meta)})
    buffer = BytesIO()
    torch.save(dict(tensors) if meta is None else dict(meta=dict(meta), state_dict=dict(tensors)), buffer)
    return buffer.getvalue()
