"""Writing of files of weights, completely or not at all."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

import torch
from torch import Tensor

from .archives import META


def write_tensors(path: Path, tensors: Mapping[str, Tensor], meta: Mapping[str, Any] | None = None) -> None:
    """Write tensors to a file: in safetensors' format if its name ends in `.safetensors`, otherwise in torch's.

    Args:
        meta: plain values to write as metadata; None writes the tensors alone.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{uuid4().hex}.partial{path.suffix}")
    own = {name: value.detach().clone().contiguous() for name, value in tensors.items()}  # a view would write all of its base
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import save_file

            save_file(own, partial, metadata=None if meta is None else {META: json.dumps(meta)})
        else:
            torch.save(own if meta is None else dict(meta=dict(meta), state_dict=own), partial)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
