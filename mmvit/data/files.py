"""Writing of files that are complete or do not exist."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def opencv_takes(path: Path) -> bool:
    """Return whether OpenCV can be given the name of a file: one that is not UTF-8 ends the process."""
    return not any("\ud800" <= character <= "\udfff" for character in str(path))


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Yield the name under which a file is written: beside its place, then renamed, or removed. Folders are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def write_whole(path: Path, content: bytes) -> None:
    """Write a file completely or not at all."""
    with whole(path) as partial:
        partial.write_bytes(content)  # by Python, which says when a disk is full
