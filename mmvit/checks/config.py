"""Checks of a config for `python -m mmvit doctor`: does its model build, fit together, and find its data and weights?

They are apart from `checks.doctor`, which must run even if the imports of this file are broken.
"""

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope

from ..arguments import initialisers
from ..config.datasets import datasets_of
from ..config.files import config_file, load_config
from ..config.parts import build, without_init
from ..errors import InputError
from ..pyramid import Pyramid
from ..weights import loading as weights
from ..weights.downloads import AGENT, locate
from . import files as data_checks
from . import preflight
from .channels import channel_fit
from .findings import Finding, brief, guarded
from .model import class_faults, our_backbone
from .options import option_faults
from .pretrained import missing_checkpoint
from .settings import odd_settings, vain_keys

TIMEOUT = 5  # seconds to wait for a server's answer


def examine(config: str, options: Mapping[str, Any], data: bool = False) -> Iterator[Finding]:
    """Yield the findings about a config.

    Args:
        config: a file, or the name of a config of this package.
        options: entries to change in it.
        data: whether to open every image and label map.
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
    """Check that the model builds; its weights take no memory if all parts build on the meta device."""
    model = build(cfg.model)
    count = sum(parameter.numel() for parameter in model.parameters()) / 1e6
    backbone = getattr(model, "backbone", None)
    text = f"{type(model).__name__} with {type(backbone).__name__}, {count:.1f} M parameters"
    yield Finding(True, "model", text)


def check_channels(cfg: Config) -> Iterator[Finding]:
    """Check that neck and heads expect the channels of the backbone."""
    if "backbone" not in cfg.model:
        return
    backbone = our_backbone(cfg.model)
    if backbone is None:
        text = f"not checked: {cfg.model.backbone.get('type')} is not one of mmvit's backbones"
        yield Finding(None, "channels", text)
        return
    fit = channel_fit(cfg.model, backbone)
    if fit.wrong:
        yield Finding(False, "channels", "\n".join(fit.wrong))
    if fit.unknown:
        yield Finding(None, "channels", "\n".join(["looks wrong, but could not be checked:", *fit.unknown]))
    if not (fit.wrong or fit.unknown):
        yield Finding(True, "channels", f"{backbone.out_channels} at strides {backbone.out_strides} fit what follows")


def check_options(cfg: Config) -> Iterator[Finding]:
    """Check that every class takes the options that the config gives it."""
    if wrong := option_faults(cfg):
        yield Finding(False, "options", "\n".join(wrong))


def check_settings(cfg: Config) -> Iterator[Finding]:
    """Check that the settings do together what each of them says."""
    wrong = odd_settings(cfg)
    if (((cfg.get("optim_wrapper") or {}).get("paramwise_cfg")) or {}).get("custom_keys"):
        wrong += vain_keys(cfg, (name for name, _ in build(cfg.model).named_parameters()))
    if wrong:
        yield Finding(False, "settings", "\n".join(wrong))


def check_classes(cfg: Config) -> Iterator[Finding]:
    """Check that the heads have as many classes as the training data."""
    if wrong := class_faults(cfg.model, datasets_of(cfg, ("train",))):
        yield Finding(False, "classes", "\n".join(wrong))


def check_data(cfg: Config) -> Iterator[Finding]:
    """Run the checks that training runs before it begins, except for checkpoints, which have a check of their own."""
    splits = splits_of(cfg)
    if not splits:
        yield Finding(True, "data", "the config has no datasets")
        return
    bare = copy.deepcopy(cfg)
    bare.model = {}  # the model and its checkpoints have checks of their own
    bare.load_from = None
    preflight.check(bare, splits)
    yield Finding(True, "data", f"all files of {', '.join(splits)} are there")


def check_all_data(cfg: Config) -> Iterator[Finding]:
    """Run `check_data`; if it finds nothing to mend, open every file."""
    yield from check_data(cfg)
    yield from data_checks.check(cfg, splits_of(cfg))


def splits_of(cfg: Config) -> tuple[str, ...]:
    return tuple(split for split in ("train", "val", "test") if cfg.get(f"{split}_dataloader"))


def check_checkpoints(cfg: Config) -> Iterator[Finding]:
    """Check that the checkpoints of the run are there or available for download, and that they fit the backbone."""
    part = cfg.model.get("backbone") or {}
    for setting in initialisers(part.get("init_cfg")):
        if setting.get("type") == "Pretrained":
            yield verdict("checkpoint", check_backbone_file, part, setting)
    if cfg.get("load_from"):
        yield verdict("load_from", whereabouts, str(cfg.load_from))


def verdict(subject: str, check: Callable[..., str], *arguments: Any) -> Finding:
    """Return the text of a check, or its error, as a finding."""
    try:
        return Finding(True, subject, check(*arguments))
    except Exception as error:
        return Finding(False, subject, brief(error))


def check_backbone_file(part: Mapping[str, Any], setting: Mapping[str, Any]) -> str:
    """Return a line about the checkpoint of a backbone.

    Raises:
        InputError: it is missing, not available, or another model's.
    """
    source = str(setting["checkpoint"])
    url, where = locate(source)
    if not where.is_file():
        if url is None:
            raise InputError(missing_checkpoint("model.backbone.init_cfg", source, part))
        return whereabouts(source)
    backbone = MODELS.build(without_init(part))
    if not isinstance(backbone, Pyramid):
        return f"{where} is there; not checked, because the backbone is a {type(backbone).__name__}"
    options = {key: value for key, value in setting.items() if key not in ("type", "checkpoint")}
    report = weights.load_pretrained(backbone, where, **options)
    return f"{report}".splitlines()[0]


def whereabouts(source: str) -> str:
    """Return a line about a checkpoint that may have to be downloaded.

    Raises:
        InputError: there is no such file, its server does not answer, or the server refuses it.
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
            f"{url} is not available ({reason}). Download it elsewhere and put it at {where}, or name a local file: "
            "--cfg-options model.backbone.init_cfg.checkpoint=PATH"
        ) from error
    return f"{url} is available{f', {size / 1e6:.0f} MB' if size else ''}; training will put it at {where}"


CHECKS: dict[str, Callable[[Config], Iterable[Finding]]] = {
    "options": check_options,
    "model": check_model,
    "channels": check_channels,
    "classes": check_classes,
    "settings": check_settings,
    "data": check_data,
    "checkpoint": check_checkpoints,
}
