"""Safe reading of checkpoint files from outside: their code never runs, and their claims are checked. Writing of our own.

Only tensors, the plain values of mmengine's checkpoints, and stand-ins for the settings of training scripts are unpickled
(`weights_only=True`, see `compat.checkpoints`). A file cannot claim more memory than its own size, because torch writes the
entries of its archives uncompressed.
"""

import json
import pickle
import re
import zipfile
from collections.abc import Iterator, Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..compat.checkpoints import safe_load
from ..compat.python import sha256_of
from ..data.files import write_whole
from ..errors import CheckpointError

INDEX = ".safetensors.index.json"  # end of the name of a file that lists the files of a sharded checkpoint
META = "mmvit_meta"  # key in the header of our safetensors files: the metadata, as JSON
DIGEST = re.compile(r"[-.]([0-9a-f]{64})(?=\.)|-((?=\d*[a-f])[0-9a-f]{8})\.\w+$")  # in a name; of eight digits torch.hub's form
SUMS = ("SHA256SUMS", "sha256sums.txt")  # lists beside the files of a release
MANY = 100_000  # numbers, more than any metadata hold
BEYOND = 1e6  # larger than weights and running statistics of trained networks
ZIP = b"PK\x03\x04"  # first bytes of torch's archives; its files from before 1.6 have others


def read_checkpoint(path: Path, source: str | Path | None = None) -> Any:
    """Return the content of a `.safetensors` file or of one written by `torch.save`, on the CPU, without running its code.

    Args:
        source: how messages name the file; None for its path.

    Raises:
        CheckpointError: the file is truncated, is no checkpoint, claims more than it holds, or holds anything but tensors and
            plain values; or it has no checksums inside, and another sha256 than its name or a file beside it says.
    """
    source = source or path
    try:
        if path.name.endswith((".safetensors", INDEX)):
            return _read_shards(path, source)
        if path.name.endswith(".index.json"):
            raise CheckpointError(
                f"{source}: the index of several files, and only those that end in {INDEX} are read. Load its files in Python "
                "yourself, and save their tensors in one"
            )
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
    """Return the tensors of a file; of one that mmvit wrote, mmengine's dict of `meta` and `state_dict`."""
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


def write_tensors(path: Path, tensors: Mapping[str, Tensor], meta: Mapping[str, Any] | None = None) -> None:
    """Write tensors, completely or not at all: as safetensors if the name ends in `.safetensors`, otherwise as torch does.

    Args:
        meta: plain values to write as metadata; None writes the tensors alone.

    Raises:
        CheckpointError: the metadata of a `.safetensors` file cannot be JSON.
    """
    own = {name: value.detach().clone().contiguous() for name, value in tensors.items()}  # a view would write all of its base
    if path.suffix == ".safetensors":
        from safetensors.torch import save

        try:
            text = None if meta is None else {META: json.dumps(meta, default=plain)}
        except (TypeError, ValueError, RecursionError) as error:
            raise CheckpointError(
                f"{path} cannot be written: the checkpoint's metadata cannot be JSON, {error}. Expected text, numbers and "
                "lists; write a file that ends in .pth, or save the checkpoint again without them"
            ) from error
        content = save(own, metadata=text)
    else:
        buffer = BytesIO()
        torch.save(own if meta is None else dict(meta=dict(meta), state_dict=own), buffer)
        content = buffer.getvalue()
    write_whole(path, content)


def plain(value: Any) -> Any:
    """Return a set, an array or a tensor as a list, and a number of NumPy as Python's. Raise TypeError for anything else."""
    if isinstance(value, set | frozenset):
        return list(value)
    there = isinstance(value, Tensor) and value.layout == torch.strided and value.is_cpu and value.numel() <= MANY
    if there or isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} in it")


def shards(path: Path, source: str | Path) -> list[Path]:
    """Return the files of a sharded checkpoint, which lie beside its index; a file that is no index is its own only shard.

    Raises:
        CheckpointError: the index is no JSON with a `weight_map` of file names, or a file is missing.
    """
    if not path.name.endswith(INDEX):
        return [path]
    try:
        names = sorted(set(json.loads(path.read_text(encoding="utf-8"))["weight_map"].values()))
        files = [path.with_name(name) for name in names]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"{source}: expected an index with a weight_map of names of tensors to files beside it"
        ) from error
    if missing := [file.name for file in files if not file.is_file()]:
        raise CheckpointError(f"{source}: {', '.join(missing)} of its {len(files)} files are not beside it; get them, too")
    return files


def _read_shards(path: Path, source: str | Path) -> dict[str, Any]:
    """Return the content of a safetensors file, or of all that an index names."""
    content: dict[str, Any] = {}
    for file in shards(path, source):
        _check_digest(file, source)
        content |= _read_safetensors(file)
    return content


def require_real(tensors: Mapping[str, Tensor], path: Path, source: str | Path) -> None:
    """Check that the file holds the numbers of every tensor.

    A sparse tensor, or one with stride 0, can have any shape with few numbers; a computation with it could fill the memory.

    Raises:
        CheckpointError: a tensor is not dense, or claims more bytes than the file has.
    """
    size = sum(file.stat().st_size for file in shards(path, source))
    for name, value in tensors.items():
        if value.layout != torch.strided or value.device.type != "cpu" or value.is_quantized or value.is_nested:
            kind = value.dtype if value.is_quantized else value.layout
            form = "is nested" if value.is_nested else f"{tuple(value.shape)} is {kind}"
            found = f"{name} {form} on {value.device}"
            raise CheckpointError(f"{source}: {found}; expected dense tensors with numbers in the file")
        claimed = value.numel() * value.element_size()
        if claimed > size:
            raise CheckpointError(
                f"{source}: {name} claims shape {tuple(value.shape)}, {claimed} bytes, but the whole file has {size}. "
                "Nothing was loaded; get the file from its authors"
            )


def implausible(tensors: Mapping[str, Any], source: str | Path) -> str | None:
    """Return a sentence about a value that no training gives: files without checksums may have flipped bits. Else None."""
    for name, value in tensors.items():
        if isinstance(value, Tensor) and value.is_floating_point() and value.numel():
            most = float(value.float().abs().max())  # float8 has no maximum
            if most > (BEYOND**2 if name.endswith("running_var") else BEYOND):
                return (
                    f"{source}: {name} has a value of {most:.1e}, beyond any trained weight: the file may be damaged. Get it "
                    "again, and compare its sha256 with its authors'"
                )
    return None


def _check_digest(path: Path, source: str | Path) -> None:
    """Raise CheckpointError if a file without checksums inside has another sha256 than its name or a file beside it says."""
    for where, expected in _digests(path):
        if not (digest := sha256_of(path)).startswith(expected):
            raise CheckpointError(
                f"{source} has sha256 {digest}, and {where} says {expected}: it is damaged, or another file. Get it again"
                f"{', or rename it if those digits are no digest' * (where == 'its name')}"
            )


def _digests(path: Path) -> Iterator[tuple[str, str]]:
    """Yield each place that tells the sha256 of a file, with the digest or its beginning."""
    if found := DIGEST.findall(path.name):
        yield "its name", "".join(found[-1])
    for name in (f"{path.name}.sha256", *SUMS):
        beside = path.with_name(name)
        named = (path.name,) if name in SUMS else (path.name, "")
        for line in beside.read_text(encoding="utf-8", errors="replace").splitlines() if beside.is_file() else ():
            digest, _, rest = line.strip().partition(" ")
            if re.fullmatch("[0-9a-fA-F]{64}", digest) and rest.strip(" *") in named:
                yield name, digest.lower()


def _check_archive(path: Path, source: str | Path) -> None:
    """Check that an archive does not unpack to more than its own size, and that its entries are as they were written.

    Raises:
        CheckpointError: its entries are compressed, overlap, or exceed the file, or have other bytes than their checksums say.
        zipfile.BadZipFile: it is truncated.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        if file.read(len(ZIP)) != ZIP:
            return _check_digest(path, source)
        with zipfile.ZipFile(file) as archive:
            entries = archive.infolist()
            claimed = sum(entry.file_size for entry in entries)
            packed = [entry.filename for entry in entries if entry.compress_type != zipfile.ZIP_STORED]
            damaged = None if packed or claimed > size else archive.testzip()
    if any(entry.filename.partition("/")[2] == "constants.pkl" for entry in entries):
        raise CheckpointError(
            f"{source} was not read: it is a TorchScript archive, a program and not a checkpoint. If you trust it, save its "
            f"tensors: torch.save(torch.jit.load({path.name!r}).state_dict(), 'weights.pth')"
        )
    if packed or claimed > size:
        fault = f"its entries are compressed ({packed[0]})" if packed else "its entries overlap"
        raise CheckpointError(
            f"{source} ({size} bytes) was not read: {fault} and claim {claimed} bytes. torch.save writes entries one after the "
            "other and uncompressed: get the file from its authors, or save it again with torch.save"
        )
    if damaged is not None:
        raise CheckpointError(
            f"{source} is damaged: the bytes of {damaged} do not have the checksum beside them. Get it again; if it was "
            "written without checksums (torch.serialization.set_crc32_options), save it again with torch.save"
        )


def _refused(said: str) -> str:
    """Return a message about what torch's unpickler refused; its own message is cut off and coloured."""
    if found := re.search(r"GLOBAL ([\w.]+)|(?:class|function) '?([\w.]+)|blocklisted module ([\w.]+)", said):
        name = next(filter(None, found.groups()))
        return (
            f"besides tensors and plain values it holds {name}, which could run code. If you trust its origin, load "
            "it in Python yourself and save only its tensors"
        )
    return "it is no checkpoint, or it holds something other than tensors and plain values, which could run code"


def _looks_like(path: Path) -> str:
    """Return a hint on what else the file may be, from its first bytes; empty if they give none."""
    with path.open("rb") as file:
        head = file.read(16)
    if path.suffix != ".safetensors" and head[8:9] == b"{":
        return "; this looks like a safetensors file: give it the suffix .safetensors"
    if path.suffix == ".safetensors" and (head.startswith(ZIP) or head[:1] == b"\x80"):
        return "; this looks like a file of torch.save: give it the suffix .pth"
    if head.lstrip()[:1] == b"<":
        return "; this looks like a web page"
    return ""
