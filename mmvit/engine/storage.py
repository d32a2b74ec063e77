"""Storage whose files are complete or do not exist: mmengine's local storage, but each file is written beside its name, then
renamed.

mmengine writes in place: a run that is killed while it saves leaves half a checkpoint, and may have overwritten the old one.
"""

import os
import shutil
from collections.abc import Sequence
from contextlib import suppress
from itertools import count
from pathlib import Path

from mmengine.dist import get_rank
from mmengine.fileio import LocalBackend, register_backend
from mmengine.fileio.io import backend_instances

from ..compat.systems import FULL
from ..errors import CheckpointError

PARTIAL = ".partial"


def write_whole(path: str | Path, content: bytes) -> None:
    """Write a file such that at any time it has either the old content or the new one, completely.

    Raises:
        CheckpointError: there is no space, no permission, ...; the old content is untouched.
    """
    target = Path(os.path.realpath(path))  # a link stays a link
    # Each process of a training has its own name, because all of them write some files. The name stays the same, so that the
    # next attempt overwrites what a killed one left.
    partial = target.with_name(f"{target.name}.{get_rank()}{PARTIAL}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(target)
        _flush_names(target.parent)
    except OSError as error:
        with suppress(OSError):
            partial.unlink()
        size, free = len(content) / 1e6, _free(target.parent) / 1e6
        remedy = "free some space" if size >= free or error.errno in FULL else f"see to {target.parent}"
        raise CheckpointError(
            f"{path} could not be written ({error.strerror}): {size:.1f} MB, where {free:.1f} MB are free. "
            f"Earlier files are untouched: {remedy} and use --resume"
        ) from error


def _flush_names(folder: Path) -> None:
    """Make a rename survive a power failure, on systems and disks that can flush folders."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def set_aside(folder: Path, names: Sequence[str]) -> None:
    """Rename the files in a folder that have one of the names: `x` to `before_1_x`, with the first number that none has.

    Raises:
        CheckpointError: another program has one open, no permission, ...
    """
    number = next(number for number in count(1) if not any((folder / f"before_{number}_{name}").exists() for name in names))
    for name in names:
        try:
            (folder / name).rename(folder / f"before_{number}_{name}")
        except FileNotFoundError:
            continue
        except OSError as error:
            raise CheckpointError(f"{folder / name}, of a training before, cannot be renamed ({error.strerror})") from error


def _free(folder: Path) -> int:
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


class WholeFiles(LocalBackend):
    """mmengine's local storage with complete writes."""

    def put(self, obj: bytes, filepath: str | Path) -> None:
        write_whole(filepath, obj)

    def put_text(self, obj: str, filepath: str | Path, encoding: str = "utf-8") -> None:
        write_whole(filepath, obj.encode(encoding))


def install() -> None:
    """Make `WholeFiles` mmengine's storage for plain paths; a second call changes nothing."""
    register_backend("local", WholeFiles, force=True, prefixes="")
    backend_instances.clear()
