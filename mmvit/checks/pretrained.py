"""Checks of the checkpoints that a run begins from."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

from mmengine.config import Config
from mmengine.registry import MODELS

from ..arguments import is_pretrained, name_of
from ..config.parts import is_ours, parts_of, without_init
from ..errors import CheckpointError, InputError
from ..pyramid import Pyramid, families
from ..weights import loading as weights
from ..weights.downloads import fetch, locate, size_of
from .findings import Finding, guarded, ok, wrong
from .plan import Plan


def pretrained_of(plan: Plan) -> Iterator[tuple[str, Mapping[str, Any], Mapping[str, Any]]]:
    """Yield the key of each `init_cfg` of a backbone that names a file, with the backbone's part and the entry."""
    for model_key, model in plan.models:
        for backbone_key, backbone in parts_of(model, "backbone", model_key):
            for key, setting in parts_of(backbone, "init_cfg", backbone_key):
                if is_pretrained(setting):
                    yield key, backbone, setting


def check_files_of_weights(plan: Plan) -> Iterator[Finding]:
    """Report files of weights on this machine that are missing."""
    for key, part, setting in pretrained_of(plan):
        source = str(setting["checkpoint"])
        if is_ours(part) and "://" not in source and not Path(source).expanduser().is_file():
            yield wrong(missing_checkpoint(key, source, part))


def fetch_pretrained(cfg: Config) -> None:
    """Download the files that `init_cfg` of our backbones name now, so that an unreachable one stops the run at once.

    Raises:
        CheckpointError: one is not available.
    """
    for key, part, setting in pretrained_of(Plan(cfg, ())):
        if is_ours(part):
            try:
                fetch(str(setting["checkpoint"]), setting.get("sha256"))
            except CheckpointError as error:
                raise CheckpointError("\n".join([str(error), *_other_ways(key)])) from error


def _other_ways(key: str) -> list[str]:
    """Return the options of the command line that take another file, or none, instead of the one under `key`."""
    return [
        f"Another path: --cfg-options {key}.checkpoint=PATH",
        f"Random weights: --cfg-options {key.partition('.init_cfg')[0]}.init_cfg=None",
    ]


def check_checkpoints(plan: Plan) -> Iterator[Finding]:
    """Check that the checkpoints of the run are there or available for download, and that they fit the backbone."""
    for entry in pretrained_of(plan):
        yield from guarded("checkpoint", _backbone_file, *entry, unforeseen="wrong")
    if plan.config.get("load_from"):
        source = str(plan.config.load_from)
        yield from guarded("load_from", lambda: [ok(whereabouts(source, "load_from"))], unforeseen="wrong")


def _backbone_file(key: str, part: Mapping[str, Any], setting: Mapping[str, Any]) -> Iterator[Finding]:
    """Report on the file of a backbone.

    Raises:
        InputError: it is not available, or another model's.
    """
    source = str(setting["checkpoint"])
    url, where = locate(source)
    if not where.is_file():
        if url is not None or not is_ours(part):
            yield ok(whereabouts(source, f"{key}.checkpoint"))
        return  # `check_files_of_weights` reports a missing file
    backbone = MODELS.build(without_init(part))
    if not isinstance(backbone, Pyramid):
        yield ok(f"{where} is there; not checked, because the backbone is a {type(backbone).__name__}")
        return
    options = {key: value for key, value in setting.items() if key not in ("type", "checkpoint")}
    report = weights.load_pretrained(backbone, where, **options)
    yield ok(f"{report}".splitlines()[0])


def whereabouts(source: str, key: str) -> str:
    """Return a line about a checkpoint that may have to be downloaded, and that stands under `key` in the config.

    Raises:
        InputError: there is no such file, its server does not answer, or the server refuses it.
    """
    url, where = locate(source)
    if where.is_file():
        return f"{where} is there"
    if url is None:
        raise InputError(f"{source}: no such file (looked in {where.resolve().parent})")
    try:
        size = size_of(url)
    except (OSError, ValueError) as error:
        reason = f"HTTP status {error.code}" if isinstance(error, HTTPError) else f"{getattr(error, 'reason', error)}"
        raise InputError(
            f"{url} is not available ({reason}). Download it elsewhere and put it at {where}, or name a local file: "
            f"--cfg-options {key}=PATH"
        ) from error
    return f"{url} is available{f', {size / 1e6:.0f} MB' if size else ''}; training will put it at {where}"


def missing_checkpoint(key: str, source: str, part: Mapping[str, Any]) -> str:
    """Return a message about a missing local checkpoint, with the address of the authors' file."""
    path = Path(source).expanduser()
    lines = [f"checkpoint {source}: no such file ({key}.checkpoint, looked in {path.resolve().parent})"]
    family = next((family for family in families() if family.__name__ == name_of(part.get("type"))), None)
    rows = family.record.released.values() if family else ()
    for row in rows:
        if row.arch == part.get("arch") and row.url:
            lines.append(f"The authors' file for images of {row.img_size} pixels is {row.url}, which {key}.checkpoint may name")
        elif row.arch == part.get("arch"):
            lines.append(
                f"The authors' file is in a folder that only a browser opens, {row.folder}: download it by hand and put it "
                f"at {path}"
            )
    return "\n".join([*lines, *_other_ways(key)])
