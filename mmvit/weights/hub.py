"""Files of a Hugging Face hub: `hf://OWNER/REPO[/FILE][@REVISION]`.

`huggingface_hub` downloads them, with its cache, tokens and mirrors (`HF_ENDPOINT`, `HF_TOKEN`, `HF_HUB_OFFLINE`).
"""

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from ..errors import CheckpointError, brief, first_few

SCHEME = "hf://"
FORM = re.compile(r"hf://(?P<repo>[\w.-]+/[\w.-]+)(?:/(?P<file>[^@\\]+))?(?:@(?P<revision>[\w./-]+))?")
USUAL = ("model.safetensors", "pytorch_model.bin", "model.pth")  # tried in this order if the address names no file
SUFFIXES = (".safetensors", ".pth", ".pt", ".bin", ".tar")


class Place(NamedTuple):
    """A file of a repository; `file` is None for the only file of weights in it."""

    repo: str
    file: str | None
    revision: str | None

    def __str__(self) -> str:
        return f"{self.repo}{f'/{self.file}' if self.file else ''}{f'@{self.revision}' if self.revision else ''}"


def parse(address: str) -> Place:
    """Return the place that an address names. Raise CheckpointError if the address is malformed."""
    found = FORM.fullmatch(address)
    parts = (found["file"] or "").split("/") if found else []
    if found is None or ".." in parts or (found["file"] and "" in parts):
        raise CheckpointError(f"{address}: expected hf://OWNER/REPO, hf://OWNER/REPO/FILE, or either with @REVISION")
    return Place(found["repo"], found["file"], found["revision"])


def cached(address: str) -> Path | None:
    """Return the path of a file in the hub's cache; None if it is not there, or if several files could be meant."""
    from huggingface_hub import constants, try_to_load_from_cache

    place = parse(address)
    for name in (place.file,) if place.file else USUAL:
        found = try_to_load_from_cache(place.repo, name, cache_dir=constants.HF_HUB_CACHE, revision=place.revision)
        if isinstance(found, str):
            return Path(found)
    if place.file:
        return None
    named = folder_of(place) / "refs" / (place.revision or "main")
    commit = named.read_text(encoding="utf-8").strip() if named.is_file() else place.revision or "main"
    there = [path for path in sorted((folder_of(place) / "snapshots" / commit).rglob("*")) if path.name.endswith(SUFFIXES)]
    return there[0] if len(there) == 1 else None


def folder_of(place: Place) -> Path:
    """Return the folder of a repository in the cache."""
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE, f"models--{place.repo.replace('/', '--')}")


def download(address: str) -> Path:
    """Return the path of a file in the hub's cache, after downloading it if necessary.

    Raises:
        CheckpointError: there is no such repository, revision or file, the token may not read it, or the hub does not answer.
    """
    from huggingface_hub import constants, hf_hub_download

    place = parse(address)
    endpoint = os.environ.get("HF_ENDPOINT") or None
    try:
        name = place.file or _only_file(place, endpoint)
        cache = constants.HF_HUB_CACHE
        return Path(hf_hub_download(place.repo, name, revision=place.revision, endpoint=endpoint, cache_dir=cache))
    except CheckpointError:
        raise
    except Exception as error:  # several libraries raise their own
        raise CheckpointError(
            f"{address} could not be downloaded ({brief(error)}). Set HF_ENDPOINT for another "
            "host, or HF_TOKEN for a private repository; or download the file elsewhere and name its path"
        ) from error


def web_address(address: str) -> str:
    """Return the address of a file or repository for a browser."""
    place = parse(address)
    host = os.environ.get("HF_ENDPOINT") or "https://huggingface.co"
    return f"{host}/{place.repo}" + (f"/resolve/{place.revision or 'main'}/{place.file}" if place.file else "")


def _only_file(place: Place, endpoint: str | None) -> str:
    from huggingface_hub import HfApi

    names = HfApi(endpoint=endpoint).list_repo_files(place.repo, revision=place.revision)
    weights = [name for name in names if name.endswith(SUFFIXES)]
    for usual in USUAL:
        if usual in weights:
            return usual
    safe = [name for name in weights if name.endswith(".safetensors")]
    weights = safe if len(safe) == 1 else weights  # the same file in both formats
    if len(weights) != 1:
        there = f"several: {first_few(weights)}" if weights else f"none among {first_few(names)}"
        raise CheckpointError(f"hf://{place}: expected one file of weights, found {there}. Name one: hf://{place.repo}/FILE")
    return weights[0]


def upload(folder: Path, repo: str, names: Sequence[str]) -> None:
    """Upload files of a folder to a repository, after creating it if there is none.

    Raises:
        CheckpointError: the hub does not answer, or the token may not write there.
    """
    from huggingface_hub import HfApi

    api = HfApi(endpoint=os.environ.get("HF_ENDPOINT") or None)
    try:
        api.create_repo(repo, exist_ok=True)
        api.upload_folder(repo_id=repo, folder_path=folder, allow_patterns=list(names), commit_message="Published with mmvit")
    except Exception as error:  # several libraries raise their own
        raise CheckpointError(
            f"--hub {repo}: not uploaded ({brief(error)}). Log in with `hf auth login`, or set "
            f"HF_TOKEN to a token that may write there. The files are in {folder}"
        ) from error
