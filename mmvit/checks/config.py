"""Checks of a config for `python -m mmvit doctor`: does its model build, fit together, and find its data and weights?

Apart from `checks.doctor`, which has to run where what this file imports is broken.
"""

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope

from ..arguments import initialisers
from ..errors import InputError
from ..pyramid import Pyramid
from ..recipes.files import config_file, load_config
from ..weights import loading as weights
from ..weights.downloads import AGENT, locate
from . import files as data_checks
from . import preflight
from .channels import channel_fit
from .dataset import datasets_of
from .findings import Finding, brief, guarded
from .model import class_faults, our_backbone
from .options import option_faults
from .parts import build, without_init
from .pretrained import missing_checkpoint
from .settings import odd_settings, vain_keys

TIMEOUT = 5  # seconds that a server has for its answer


def examine(config: str, options: Mapping[str, Any], data: bool = False) -> Iterator[Finding]:
    """The findings about a config, a file or a name of ours, with some of its entries changed by `options`.

    Args:
        data: open every image and label map, too.
    """
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
    for what, check in (CHECKS | {"data": check_all_data} if data else CHECKS).items():
        with DefaultScope.overwrite_default_scope(cfg.get("default_scope") or "mmengine"):
            yield from guarded(what, check, cfg)


def check_model(cfg: Config) -> Iterator[Finding]:
    """Whether the model builds, without memory for its weights where its parts allow that."""
    model = build(cfg.model)
    count = sum(parameter.numel() for parameter in model.parameters()) / 1e6
    backbone = getattr(model, "backbone", None)
    told = f"{type(model).__name__} with {type(backbone).__name__}, {count:.1f} M parameters"
    yield Finding(True, "model", told)


def check_channels(cfg: Config) -> Iterator[Finding]:
    """Whether the backbone's channels are those that neck and heads expect."""
    if "backbone" not in cfg.model:
        return
    backbone = our_backbone(cfg.model)
    if backbone is None:
        told = f"not checked: {cfg.model.backbone.get('type')} is not one of mmvit's backbones"
        yield Finding(None, "channels", told)
        return
    fit = channel_fit(cfg.model, backbone)
    if fit.wrong:
        yield Finding(False, "channels", "\n".join(fit.wrong))
    if fit.unknown:
        yield Finding(None, "channels", "\n".join(["not checked, and it looks wrong:", *fit.unknown]))
    if not (fit.wrong or fit.unknown):
        yield Finding(True, "channels", f"{backbone.out_channels} at strides {backbone.out_strides} fit what follows")


def check_options(cfg: Config) -> Iterator[Finding]:
    """Whether what is built takes the options that the config has."""
    if wrong := option_faults(cfg):
        yield Finding(False, "options", "\n".join(wrong))


def check_settings(cfg: Config) -> Iterator[Finding]:
    """Whether settings that a run would take do together what they say."""
    wrong = odd_settings(cfg)
    if (((cfg.get("optim_wrapper") or {}).get("paramwise_cfg")) or {}).get("custom_keys"):
        wrong += vain_keys(cfg, (name for name, _ in build(cfg.model).named_parameters()))
    if wrong:
        yield Finding(False, "settings", "\n".join(wrong))


def check_classes(cfg: Config) -> Iterator[Finding]:
    """Whether the heads have as many classes as the training data."""
    if wrong := class_faults(cfg.model, datasets_of(cfg, ("train",))):
        yield Finding(False, "classes", "\n".join(wrong))


def check_data(cfg: Config) -> Iterator[Finding]:
    """What training would check before it begins, except for checkpoints, which have their own check."""
    splits = splits_of(cfg)
    if not splits:
        yield Finding(True, "data", "the config names none")
        return
    bare = copy.deepcopy(cfg)
    bare.model = {}  # which has its own checks, as what it would load has
    bare.load_from = None
    preflight.check(bare, splits)
    yield Finding(True, "data", f"what {', '.join(splits)} read is there")


def check_all_data(cfg: Config) -> Iterator[Finding]:
    """`check_data`, and where it finds nothing to mend, every file opened."""
    yield from check_data(cfg)
    yield from data_checks.check(cfg, splits_of(cfg))


def splits_of(cfg: Config) -> tuple[str, ...]:
    return tuple(split for split in ("train", "val", "test") if cfg.get(f"{split}_dataloader"))


def check_checkpoints(cfg: Config) -> Iterator[Finding]:
    """Whether the files that the run would load are there or can be had, and fit the backbone."""
    part = cfg.model.get("backbone") or {}
    for setting in initialisers(part.get("init_cfg")):
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
            raise InputError(missing_checkpoint("model.backbone.init_cfg", source, part))
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
    "options": check_options,
    "model": check_model,
    "channels": check_channels,
    "classes": check_classes,
    "settings": check_settings,
    "data": check_data,
    "checkpoint": check_checkpoints,
}
