"""Checkpoint files as they come from outside: read without running code of theirs, and without believing what they claim.

Nothing is ever unpickled beyond tensors, the plain values of mmengine's checkpoints, and stand-ins for the settings of
training scripts (`weights_only=True`, see `compat.checkpoints`). What a file of a
few bytes may claim to hold in memory is bounded by its own size: torch writes the entries of its archives uncompressed.
"""

import json
import pickle
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..compat.checkpoints import safe_load
from ..errors import CheckpointError

META = "mmvit_meta"  # in the header of our safetensors files: what stands beside the weights, as JSON
ZIP = b"PK\x03\x04"  # how torch tells its archives from the files that it wrote before 1.6


def read_checkpoint(path: Path, source: str | Path | None = None) -> Any:
    """Content of a `.safetensors` file or of one written by `torch.save`, on the CPU, without running any code from it.

    Args:
        path: where it lies.
        source: what a message calls it, where that is not its path.

    Raises:
        CheckpointError: truncated, no checkpoint, one that claims more than it holds, or one that holds classes other than
            tensors and plain values.
    """
    source = source or path
    try:
        if path.suffix == ".safetensors":
            return _read_safetensors(path)
        _check_archive(path, source)
        return safe_load(path)
    except CheckpointError:
        raise
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{source} was not loaded: {_refused(str(error))}{_looks_like(path)}. Expected a file written by "
            "torch.save(state_dict)"
        ) from error
    except Exception as error:
        raise CheckpointError(
            f"{source} ({path.stat().st_size} bytes) cannot be read as a checkpoint: truncated, or no file of torch.save or "
            f"safetensors{_looks_like(path)}. Get it again. ({type(error).__name__}: {error})"
        ) from error


def _read_safetensors(path: Path) -> dict[str, Any]:
    """The tensors of a file; of ours, as mmengine has them, with what stands beside them."""
    from safetensors import safe_open
    from safetensors.torch import load_file

    tensors = load_file(path)
    with safe_open(path, "pt") as file:
        text = (file.metadata() or {}).get(META)
    if text is None:
        return tensors
    meta = json.loads(text)
    if not isinstance(meta, dict):
        raise ValueError(f"{META} in its header holds a {type(meta).__name__}, expected an object")
    return dict(meta=meta, state_dict=tensors)


def require_real(tensors: Mapping[str, Tensor], path: Path, source: str | Path) -> None:
    """Checks that each tensor has its numbers in the file.

    A tensor of stride 0 or a sparse one can have any shape without having numbers: what touches them all would fill the memory.

    Raises:
        CheckpointError: tensors without numbers, or with more of them than the file has bytes for.
    """
    size = path.stat().st_size
    for name, value in tensors.items():
        if value.layout != torch.strided or value.device.type != "cpu":
            told = f"{name} {tuple(value.shape)} is {value.layout} on {value.device}"
            raise CheckpointError(f"{source}: {told}; expected dense tensors with numbers in the file")
        claimed = value.numel() * value.element_size()
        if claimed > size:
            raise CheckpointError(
                f"{source}: {name} claims shape {tuple(value.shape)}, {claimed} bytes, but the whole file has {size}. "
                "Nothing was loaded; get the file from its authors"
            )


def _check_archive(path: Path, source: str | Path) -> None:
    """Refuses what would unpack to more than the file's own size.

    Raises:
        CheckpointError: compressed entries, or entries that overlap or go beyond the file.
        zipfile.BadZipFile: truncated.
    """
    with path.open("rb") as file:
        if file.read(len(ZIP)) != ZIP:
            return
        with zipfile.ZipFile(file) as archive:
            entries = archive.infolist()
    size = path.stat().st_size
    claimed = sum(entry.file_size for entry in entries)
    packed = [entry.filename for entry in entries if entry.compress_type != zipfile.ZIP_STORED]
    if packed or claimed > size:
        fault = f"its entries are compressed ({packed[0]})" if packed else "its entries overlap"
        raise CheckpointError(
            f"{source} ({size} bytes) was not read: {fault} and claim {claimed} bytes. torch.save writes them one after the "
            "other and uncompressed: get the file from its authors, or save it again with torch.save"
        )


def _refused(said: str) -> str:
    """What torch's unpickler refused, in our words: its own are cut off, and coloured."""
    if found := re.search(r"GLOBAL ([\w.]+)|(?:class|function) '?([\w.]+)|blocklisted module ([\w.]+)", said):
        name = next(filter(None, found.groups()))
        return (
            f"besides tensors and plain values it holds {name}, which could run code. If you trust where it comes from, load "
            "it in Python of your own and save its tensors alone"
        )
    return "it is no checkpoint, or it holds something other than tensors and plain values, which could run code"


def _looks_like(path: Path) -> str:
    """What else a file that is no checkpoint might be, by its first bytes."""
    with path.open("rb") as file:
        head = file.read(16)
    if path.suffix != ".safetensors" and head[8:9] == b"{":
        return "; this looks like a safetensors file: give it the suffix .safetensors"
    if path.suffix == ".safetensors" and (head.startswith(ZIP) or head[:1] == b"\x80"):
        return "; this looks like a file of torch.save: give it the suffix .pth"
    if head.lstrip()[:1] == b"<":
        return "; this looks like a web page"
    return ""
