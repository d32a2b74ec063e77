"""What Python 3.10 lacks: digests of files, and notes on errors."""

import hashlib
import logging
from pathlib import Path

CHUNK = 2**20  # bytes read at once


def sha256_of(path: str | Path) -> str:
    """Return the digest of a file's content, as hexadecimal digits."""
    digest = hashlib.sha256()
    with Path(path).open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def add_note(error: BaseException, note: str) -> None:
    """Print a note below an error's traceback; before Python 3.11, log it now."""
    if hasattr(error, "add_note"):
        error.add_note(note)
    else:
        logging.getLogger("mmengine").error(note)
