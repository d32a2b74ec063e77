"""Where a checkpoint lies, and how it gets there: paths, URLs, and `mmvit://NAME` for the authors' released files.

URLs are kept in torch's hub directory under their last part, where a file that somebody put there by hand is used as well.
"""

import hashlib
import os
import time
from contextlib import suppress
from glob import escape
from http.client import HTTPException
from pathlib import Path
from typing import IO
from urllib.error import URLError
from urllib.parse import urlparse
from urllib.request import Request, urlopen
from uuid import uuid4

import torch
from tqdm import tqdm

from ..errors import CheckpointError
from .archives import read_checkpoint
from .released import SCHEME, released_url

REMOTE = ("http://", "https://", "file://")
OWN_SCHEMES = (SCHEME,)
AGENT = {"User-Agent": "mmvit"}  # some servers refuse Python's own
TIMEOUT = 30  # seconds without an answer
BLOCK = 1 << 20  # bytes
ABANDONED = 3600  # seconds without a new byte: far longer than TIMEOUT lets a living download be


def locate(source: str | Path) -> tuple[str | None, Path]:
    """URL of a checkpoint, None for a local one, and the path where it lies or will lie once it has been downloaded.

    Raises:
        CheckpointError: `mmvit://NAME` without a file that can be downloaded.
    """
    text = str(source)
    if text.startswith(SCHEME):
        text = released_url(text)
    if text.startswith(REMOTE):
        return text, Path(torch.hub.get_dir()) / "checkpoints" / Path(urlparse(text).path).name
    return None, Path(text).expanduser()


def fetch(source: str | Path, sha256: str | None = None) -> Path:
    """Local path of a checkpoint; URLs are downloaded once, whole or not at all.

    Raises:
        CheckpointError: no such file, unreachable URL, another digest than `sha256`, or no checkpoint at the URL.
    """
    url, path = locate(source)
    if url is None:
        if not path.is_file():
            raise CheckpointError(f"checkpoint {source}: no such file (looked in {path.resolve().parent})")
        _check_digest(path, sha256)
        return path
    if not _distributed() or int(os.environ.get("LOCAL_RANK", 0)) == 0:
        if not path.is_file():
            _download(url, path, sha256)
        _check_digest(path, sha256)
    if _distributed():
        torch.distributed.barrier()  # the other processes of this machine use what the first one fetched
    return path


def _check_digest(path: Path, sha256: str | None, source: str | None = None) -> None:
    if sha256 is None:
        return
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if not digest.startswith(sha256.lower()):
        raise CheckpointError(
            f"{source or path} has sha256 {digest}, expected {sha256}: another file, or a damaged one; get it again"
        )


def _download(url: str, path: Path, sha256: str | None) -> None:
    """Writes `url` to `path`: beside it first, and under its name only when all bytes came and are a checkpoint's.

    An interrupted download begins anew. Others that fetch the same file, on this machine or one that shares the folder, each
    write their own.
    """
    partial = path.with_name(f"{uuid4().hex}.partial.{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _clear_abandoned(path)
        with partial.open("wb") as file:  # not a temporary file of Python's, which nobody else may read
            _receive(url, file)
        _check_digest(partial, sha256, url)
        read_checkpoint(partial, url)  # not every server announces a length, and some answer with a page
        partial.replace(path)
    except CheckpointError:
        raise
    except (URLError, HTTPException, OSError, ValueError) as error:
        raise CheckpointError(
            f"{url} could not be downloaded ({error}). Fetch it elsewhere and put it at {path}, or name a local file: "
            "--cfg-options model.backbone.init_cfg.checkpoint=PATH, or train from random weights: "
            "--cfg-options model.backbone.init_cfg=None"
        ) from error
    finally:
        partial.unlink(missing_ok=True)


def _clear_abandoned(path: Path) -> None:
    """Removes what killed downloads of this file left behind."""
    for partial in path.parent.glob(f"*.partial.{escape(path.name)}"):
        with suppress(FileNotFoundError):  # another process clears, too, or finishes
            if time.time() - partial.stat().st_mtime > ABANDONED:
                partial.unlink()


def _receive(url: str, file: IO[bytes]) -> None:
    """The whole of `url` into `file`, with a bar on a terminal.

    Torch's own function takes a connection that closes early for the end of the file.

    Raises:
        OSError: fewer bytes than the server announced.
    """
    with urlopen(Request(url, headers=AGENT), timeout=TIMEOUT) as response:
        length = response.headers.get("Content-Length") or ""
        announced = int(length) if length.isdecimal() else 0
        name = Path(urlparse(url).path).name
        with tqdm(desc=name, total=announced or None, unit="B", unit_scale=True, disable=not os.isatty(2)) as bar:
            while block := response.read(BLOCK):
                file.write(block)
                bar.update(len(block))
    file.flush()
    os.fsync(file.fileno())
    if announced and file.tell() != announced:
        raise OSError(f"the connection closed after {file.tell()} of {announced} bytes")


def _distributed() -> bool:
    return torch.distributed.is_available() and torch.distributed.is_initialized()
