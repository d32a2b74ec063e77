"""Options that differ between a config and the text of the config in a checkpoint, which is read as data."""

import re
from collections.abc import Iterator, Mapping
from textwrap import shorten
from typing import Any, NamedTuple

from ..arguments import name_of
from ..compat.texts import plain_values
from ..config.parts import like

OPTIMIZER_TYPE = "optim_wrapper.optimizer.type"
GROUPING = ("optim_wrapper.constructor", "optim_wrapper.paramwise_cfg")
FROZEN = re.compile(r"froz|freeze")  # frozen_stages, freeze, frozen_exclude, ...
# Options of `optim_wrapper` that are the config's in any case, with their defaults:
WRAPPER: dict[str, Any] = dict(type="OptimWrapper", accumulative_counts=1, clip_grad=None)
NOTHING = "nothing"
LONG = 40  # characters of a value in a message
# Options of models and data loaders that change no step of a training, and those that other checks compare:
ELSEWHERE = re.compile(
    r"\.(init_cfg|pretrained|test_cfg|data_root|data_prefix|ann_file|metainfo|indices|backend_args|batch_size|num_workers|"
    r"persistent_workers|pin_memory|prefetch_factor|lazy_init|serialize_data)(\.|$)"
)


class Difference(NamedTuple):
    """An option that the config and the checkpoint have with other values."""

    key: str
    config: Any
    checkpoint: Any

    def __str__(self) -> str:
        return f"{self.key}: {self.config} in the config, {self.checkpoint} in the checkpoint"


def of_settings(cfg: Mapping[str, Any], text: str | None) -> Iterator[Difference]:
    """Yield the differences that decide which parameters are optimised, by which optimiser, in which groups."""
    for entry in _differences(cfg, text, ("optim_wrapper", "model")):
        frozen = entry.key.startswith("model.") and FROZEN.search(entry.key)
        if frozen or entry.key == OPTIMIZER_TYPE or entry.key.startswith(GROUPING):
            yield entry


def of_parts(cfg: Mapping[str, Any], text: str | None) -> Iterator[Difference]:
    """Yield the differences of the model and of the training data's pipelines, except frozen parts."""
    for entry in _differences(cfg, text, ("model", "train_dataloader")):
        if not FROZEN.search(entry.key) and not ELSEWHERE.search(entry.key):
            yield Difference(entry.key, *(shorten(str(value), LONG, placeholder="...") for value in entry[1:]))


def of_wrapper(cfg: Mapping[str, Any], text: str | None) -> Iterator[Difference]:
    """Yield the options of `WRAPPER` that differ between a config and the text of a checkpoint's config."""
    before, now = plain_values(text, ("optim_wrapper",)).get("optim_wrapper"), cfg.get("optim_wrapper")
    if not isinstance(before, Mapping) or not isinstance(now, Mapping):
        return
    for name, default in WRAPPER.items():
        mine, other = now.get(name, default), before.get(name, default)
        if name == "type":
            mine, other = name_of(mine), name_of(other)
        if mine != other:
            yield Difference(f"optim_wrapper.{name}", mine, other)


def _differences(cfg: Mapping[str, Any], text: str | None, parts: tuple[str, ...]) -> Iterator[Difference]:
    """Yield what differs in parts of a config, another optimiser first; nothing if the text cannot be read."""
    if not (before := plain_values(text, parts)):
        return
    ours, theirs = (dict(_leaves({name: part.get(name) for name in before})) for part in (cfg, before))
    for key in sorted(ours.keys() | theirs.keys(), key=lambda key: (key != OPTIMIZER_TYPE, key)):
        mine, other = ours.get(key, NOTHING), theirs.get(key, NOTHING)
        if mine != like(other, mine):
            yield Difference(key, mine, other)


def _leaves(part: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the entries of a config with their keys; types by name: a pure-Python config has the class, its text a path."""
    if isinstance(part, Mapping):
        for name in part:
            value = name_of(part[name]) if name in ("type", "constructor") else part[name]
            yield from _leaves(value, f"{key}.{name}" if key else str(name))
    elif isinstance(part, list | tuple) and any(isinstance(entry, Mapping) for entry in part):
        for index, entry in enumerate(part):
            yield from _leaves(entry, f"{key}.{index}")
    else:
        yield key, part
