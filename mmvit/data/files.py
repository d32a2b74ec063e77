"""Writing of files that are complete or do not exist."""

import os
from pathlib import Path


def opencv_takes(path: Path) -> bool:
    """Return whether OpenCV can be given the name of a file: one that is not UTF-8 ends the process."""
    return not any("\ud800" <= character <= "\udfff" for character in str(path))


def write_whole(path: Path, content: bytes) -> None:
    """Write a file completely or not at all: beside its place, then renamed. Folders are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        partial.write_bytes(content)  # by Python, which says when a disk is full
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
