"""Checks of a config for `python -m mmvit doctor`: does its model build, fit together, and find its data and weights?

Apart from `mmvit.doctor`, which has to run where what this file imports is broken.
"""

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from torch import nn

from .. import weights
from ..doctor import Finding, brief, guarded
from ..downloads import AGENT, locate
from ..errors import InputError
from ..pyramid import Pyramid
from . import preflight
from .cli import config_file
from .configuration import load_config

TIMEOUT = 5  # seconds that a server has for its answer


def examine(config: str, options: Mapping[str, Any]) -> Iterator[Finding]:
    """The findings about a config, a file or a name of ours, with some of its entries changed by `options`."""
    try:
        cfg = load_config(config_file(config))
        cfg.merge_from_dict(dict(options))
    except Exception as error:
        yield Finding(False, "config", brief(error))
        return
    if not isinstance(cfg.get("model"), dict):
        yield Finding(False, "config", f"{cfg.filename} has no model; name a complete config, not one of its bases")
        return
    yield Finding(True, "config", cfg.filename)
    for what, check in CHECKS.items():
        with DefaultScope.overwrite_default_scope(cfg.get("default_scope") or "mmengine"):
            yield from guarded(what, check, cfg)


def check_model(cfg: Config) -> Iterator[Finding]:
    """Whether the model builds, without memory for its weights where its parts allow that."""
    model = build(without_init(cfg.model))
    count = sum(parameter.numel() for parameter in model.parameters()) / 1e6
    backbone = getattr(model, "backbone", None)
    told = f"{type(model).__name__} with {type(backbone).__name__}, {count:.1f} M parameters"
    yield Finding(True, "model", told)


def build(part: dict[str, Any]) -> nn.Module:
    try:
        with torch.device("meta"):
            return MODELS.build(copy.deepcopy(part))
    except Exception:
        return MODELS.build(copy.deepcopy(part))


def without_init(part: Any) -> Any:
    """A part of a config, without what would load files as it is built."""
    if isinstance(part, dict):
        return type(part)({key: None if key == "init_cfg" else without_init(value) for key, value in part.items()})
    if isinstance(part, list | tuple):
        return type(part)(without_init(entry) for entry in part)
    return part


def check_channels(cfg: Config) -> Iterator[Finding]:
    """Whether the backbone's channels are those that neck and heads expect."""
    model = cfg.model
    if "backbone" not in model:
        return
    backbone = build(without_init(model.backbone))
    if not isinstance(backbone, Pyramid):
        yield Finding(True, "channels", f"not checked: {type(backbone).__name__} is not one of mmvit's backbones")
        return
    wrong = list(misfits(model, backbone.out_channels))
    if wrong:
        yield Finding(False, "channels", "\n".join(wrong))
    else:
        yield Finding(True, "channels", f"{backbone.out_channels} at strides {backbone.out_strides} fit what follows")


def misfits(model: Mapping[str, Any], channels: tuple[int, ...]) -> Iterator[str]:
    """A line for each `in_channels` in a model's config that is not what the part before gives."""
    necks = parts_of(model, "neck")
    given: Any = list(channels)
    for key, neck in necks:
        if "in_channels" in neck and plain(neck["in_channels"]) != plain(given):
            yield f"{key}.in_channels is {plain(neck['in_channels'])}, but what comes before it gives {given}"
        given = neck.get("out_channels")
    for name in model:
        for key, head in parts_of(model, name) if name.endswith("_head") else ():
            if "in_channels" in head and (fault := misfit_of_head(head, given, necks != [])):
                yield f"{key}.{fault}"


def misfit_of_head(head: Mapping[str, Any], given: Any, after_neck: bool) -> str | None:
    """What is wrong with a head's `in_channels` or `in_index`, for the channels that the part before it gives."""
    expected, index = plain(head["in_channels"]), plain(head.get("in_index"))
    if given is None:
        return None  # the neck has no out_channels of its own: nothing to compare
    if isinstance(given, int):  # the same channels on every level of the neck
        wanted: Any = [given] * len(expected) if isinstance(expected, list) else given
    elif index is None and not isinstance(expected, list):
        wanted = plain(given)[-1] if not after_neck else expected  # mmseg's heads take the last map by default
    else:
        levels = plain(given)
        chosen = range(len(levels)) if index is None else index if isinstance(index, list) else [index]
        if any(not -len(levels) <= level < len(levels) for level in chosen):
            return f"in_index is {index}, but there are {len(levels)} maps: {levels}"
        wanted = [levels[level] for level in chosen]
        wanted = wanted if isinstance(expected, list) else wanted[0]
    return None if expected == wanted else f"in_channels is {expected}, but what comes before it gives {wanted}"


def parts_of(model: Mapping[str, Any], name: str) -> list[tuple[str, Mapping[str, Any]]]:
    """The configs under a key, which may be one or a list, each with its full key."""
    part = model.get(name)
    if isinstance(part, list | tuple):
        return [(f"model.{name}.{index}", entry) for index, entry in enumerate(part) if isinstance(entry, dict)]
    return [(f"model.{name}", part)] if isinstance(part, dict) else []


def plain(value: Any) -> Any:
    return list(value) if isinstance(value, list | tuple) else value


def check_data(cfg: Config) -> Iterator[Finding]:
    """What training would check before it begins, except for checkpoints, which have their own check."""
    splits = tuple(split for split in ("train", "val", "test") if cfg.get(f"{split}_dataloader"))
    if not splits:
        yield Finding(True, "data", "the config names none")
        return
    bare = copy.deepcopy(cfg)
    bare.model = without_init(bare.model)
    preflight.check(bare, splits)
    yield Finding(True, "data", f"what {', '.join(splits)} read is there")


def check_checkpoints(cfg: Config) -> Iterator[Finding]:
    """Whether the files that the run would load are there or can be had, and fit the backbone."""
    part = cfg.model.get("backbone") or {}
    settings = part.get("init_cfg") or []
    for setting in [settings] if isinstance(settings, dict) else settings:
        if setting.get("type") == "Pretrained":
            yield verdict("checkpoint", check_backbone_file, part, setting)
    if cfg.get("load_from"):
        yield verdict("load_from", whereabouts, str(cfg.load_from))


def verdict(what: str, check: Callable[..., str], *arguments: Any) -> Finding:
    """A check's words, or its error, as a finding."""
    try:
        return Finding(True, what, check(*arguments))
    except Exception as error:
        return Finding(False, what, brief(error))


def check_backbone_file(part: Mapping[str, Any], setting: Mapping[str, Any]) -> str:
    """What to say about the file of a backbone.

    Raises:
        InputError: it is not there, cannot be had, or is another model's.
    """
    source = str(setting["checkpoint"])
    url, where = locate(source)
    if not where.is_file():
        if url is None:
            raise InputError(preflight.missing_checkpoint("model.backbone.init_cfg", source, part))
        return whereabouts(source)
    backbone = MODELS.build(without_init(part))
    if not isinstance(backbone, Pyramid):
        return f"{where} is there; not checked, because it is for a {type(backbone).__name__}"
    options = {key: value for key, value in setting.items() if key not in ("type", "checkpoint")}
    report = weights.load_pretrained(backbone, where, **options)
    return f"{report}".splitlines()[0]


def whereabouts(source: str) -> str:
    """What to say about a checkpoint that may have to be downloaded.

    Raises:
        InputError: no such file, or its server does not answer or does not give it away.
    """
    url, where = locate(source)
    if where.is_file():
        return f"{where} is there"
    if url is None:
        raise InputError(f"{source}: no such file (looked in {where.resolve().parent})")
    try:
        with urlopen(Request(url, method="HEAD", headers=AGENT), timeout=TIMEOUT) as answer:
            size = int(answer.headers.get("Content-Length") or 0)
    except (OSError, ValueError) as error:
        reason = f"HTTP status {error.code}" if isinstance(error, HTTPError) else f"{getattr(error, 'reason', error)}"
        raise InputError(
            f"{url} cannot be had ({reason}). Fetch it elsewhere and put it at {where}, or name a local file: "
            "--cfg-options model.backbone.init_cfg.checkpoint=PATH"
        ) from error
    return f"{url} can be had{f', {size / 1e6:.0f} MB' if size else ''}; training will put it at {where}"


CHECKS: dict[str, Callable[[Config], Iterable[Finding]]] = {
    "model": check_model,
    "channels": check_channels,
    "data": check_data,
    "checkpoint": check_checkpoints,
}
