"""Downloads of checkpoints from URLs, hubs, and `mmvit://NAME` for published files.

Files from URLs are kept in torch's hub directory under the last part of the URL; files put there by hand are used, too.
"""

import os
import shutil
import sys
import time
from collections.abc import Sequence
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
from mmengine.dist import is_distributed
from rich.console import Console
from rich.markup import escape as escape_markup
from rich.progress import wrap_file

from ..compat.python import sha256_of
from ..compat.systems import file_name
from ..errors import CheckpointError
from . import hub
from .addresses import Address, addresses
from .archives import read_checkpoint
from .published import SCHEME

REMOTE = ("http://", "https://", "file://")
OWN_SCHEMES = (SCHEME, hub.SCHEME)
EXPORTED = (".onnx", ".xml", ".pt2")  # ends of the names of exported models
AGENT = {"User-Agent": "mmvit"}  # some servers refuse Python's default
TIMEOUT = 30  # seconds without an answer
BLOCK = 1 << 20  # bytes
ABANDONED = 3600  # seconds without a new byte, far more than the TIMEOUT of a running download


def locate(source: str | Path) -> tuple[str | None, Path]:
    """Return the first address of a checkpoint (None for a local one) and its path, before or after the download.

    Raises:
        CheckpointError: `mmvit://NAME` has no file to download, or an address of a hub is malformed.
    """
    text = str(source)
    if "://" not in text:
        return None, Path(text).expanduser()
    places = [address.place for address in addresses(text)]
    there = next((path for place in places if (path := _present(place))), None)
    first = places[0]
    if first.startswith(hub.SCHEME):
        return hub.web_address(first), there or hub.folder_of(hub.parse(first))
    return first, there or _target(first)


def _target(place: str) -> Path:
    """Return the path of a URL's file, before or after the download."""
    return Path(torch.hub.get_dir()) / "checkpoints" / file_name(Path(urlparse(place).path).name)


def _present(place: str) -> Path | None:
    path = hub.cached(place) if place.startswith(hub.SCHEME) else _target(place)
    return path if path is not None and path.is_file() else None


def fetch(source: str | Path, sha256: str | None = None) -> Path:
    """Return the local path of a checkpoint, after downloading it if necessary, completely or not at all.

    Args:
        source: path, URL, `hf://OWNER/REPO[/FILE][@REVISION]`, or `mmvit://NAME`, whose addresses are tried in order.
        sha256: expected digest, or its beginning.

    Raises:
        CheckpointError: there is no such file, no address answers, the digest differs, or the file is no checkpoint.
    """
    require_no_export(source)
    text = str(source)
    if "://" not in text:
        path = Path(text).expanduser()
        if path.is_dir():
            raise CheckpointError(f"checkpoint {source}: a folder. Name a file in it")
        if not path.is_file():
            raise CheckpointError(f"checkpoint {source}: no such file (looked in {path.resolve().parent})")
        _check_digest(path, sha256)
        return path
    if not text.startswith((*REMOTE, *OWN_SCHEMES)):
        raise CheckpointError(f"checkpoint {source}: expected a path or an address with {', '.join((*REMOTE, *OWN_SCHEMES))}")
    known = [Address(place, sha256 or digest) for place, digest in addresses(text)]
    if not is_distributed():
        return _obtain(text, known)
    if int(os.environ.get("LOCAL_RANK", 0)) == 0:
        _obtain(text, known)
    torch.distributed.barrier()  # the other processes of this machine wait for the first one's download
    return next(there for place, _ in known if (there := _present(place)))


def require_no_export(source: str | Path) -> None:
    """Raise CheckpointError if a file is an exported model by its name: what looks into a network needs its checkpoint."""
    if str(source).lower().endswith(EXPORTED):
        raise CheckpointError(
            f"{source}: an exported model, which mmvit predict and mmvit inspect take. Expected the checkpoint that it is from"
        )


def _obtain(source: str, known: Sequence[Address]) -> Path:
    """Return the file of the first address that is already downloaded, or else of the first that answers."""
    for place, digest in known:
        if (present := _present(place)) is not None:
            _check_digest(present, digest)
            return present
    failures = []
    for place, digest in known:
        try:
            if place.startswith(hub.SCHEME):
                path = hub.download(place)
                _check_digest(path, digest)
                read_checkpoint(path, place)
            else:
                path = _target(place)
                _download(place, path, digest)
            return path
        except CheckpointError as error:
            failures.append(error)
    if len(failures) == 1:
        raise failures[0]
    reasons = "\n".join(f"  {failure}" for failure in failures)
    raise CheckpointError(f"{source}: all of its {len(known)} addresses failed:\n{reasons}") from failures[0]


def _check_digest(path: Path, sha256: str | None, source: str | None = None) -> None:
    if sha256 is None:
        return
    if not (digest := sha256_of(path)).startswith(sha256.lower()):
        raise CheckpointError(
            f"{source or path} has sha256 {digest}, expected {sha256}: another file, or a damaged one; download it again"
        )


def _download(url: str, path: Path, sha256: str | None) -> None:
    """Download `url` to `path`, in a temporary file beside it until all bytes have come and are a checkpoint's.

    An interrupted download starts again. Every process that downloads the same file, also on machines that share the folder,
    writes a temporary file of its own.
    """
    partial = path.with_name(f"{uuid4().hex}.partial.{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _clear_abandoned(path)
        with partial.open("wb") as file:  # not with `tempfile`, whose files no other user may read
            _receive(url, file)
        _check_digest(partial, sha256, url)
        read_checkpoint(partial, url)  # some servers announce no length, and some answer with a web page
        partial.replace(path)
    except CheckpointError:
        raise
    except (URLError, HTTPException, OSError, ValueError) as error:
        raise CheckpointError(
            f"{url} could not be downloaded ({error}). Download it elsewhere and put it at {path}, or name a local file"
        ) from error
    finally:
        partial.unlink(missing_ok=True)


def _clear_abandoned(path: Path) -> None:
    """Remove temporary files of this file's downloads that were killed."""
    for partial in path.parent.glob(f"*.partial.{escape(path.name)}"):
        with suppress(FileNotFoundError):  # another process removed or finished it
            if time.time() - partial.stat().st_mtime > ABANDONED:
                partial.unlink()


def _receive(url: str, file: IO[bytes]) -> None:
    """Download `url` into `file`, with a progress bar on a terminal.

    Unlike `torch.hub.download_url_to_file`, it does not take a connection that closes early for the end of the file.

    Raises:
        OSError: fewer bytes came than the server announced.
    """
    with urlopen(Request(url, headers=AGENT), timeout=TIMEOUT) as response:
        length = response.headers.get("Content-Length") or ""
        announced = int(length) if length.isdecimal() else 0
        console, name = Console(stderr=True), escape_markup(Path(urlparse(url).path).name)
        with wrap_file(response, announced, description=name, console=console, disable=not sys.stderr.isatty()) as reader:
            shutil.copyfileobj(reader, file, BLOCK)
    file.flush()
    os.fsync(file.fileno())
    if announced and file.tell() != announced:
        raise OSError(f"the connection closed after {file.tell()} of {announced} bytes")


def size_of(url: str) -> int:
    """Return the bytes of a file on a server, 0 if the server does not tell, without downloading it.

    Raises:
        OSError, ValueError: the server does not answer within five seconds, or refuses.
    """
    with urlopen(Request(url, method="HEAD", headers=AGENT), timeout=5) as answer:
        return int(answer.headers.get("Content-Length") or 0)
