"""Checks of the channels, from the backbone through necks to heads.

A user's config may have necks and heads that this package does not know. A part whose `in_channels` look wrong is therefore
run: on the meta device, which costs neither memory nor time, or else on the CPU. It is wrong if it fails with its own options
and runs with the expected ones. If it runs with neither, the check cannot tell.
"""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import torch
from mmengine.registry import MODELS
from mmengine.structures import BaseDataElement

from ..config.parts import build, like, parts_of, plain, without_init
from ..errors import brief
from ..pyramid import Pyramid
from .classes import our_backbone
from .findings import Finding, not_checked, wrong
from .plan import Plan

SIDE = 128  # pixels, of the image that parts are run with


def check_channels(plan: Plan) -> Iterator[Finding]:
    """Report necks and heads that do not expect the channels of a backbone of ours."""
    for key, model in plan.models:
        backbone = our_backbone(model, key)
        if backbone is not None:
            yield from channel_faults(model, backbone, key)


class Misfit(NamedTuple):
    """Options of a part that do not match the maps it gets."""

    key: str  # of the part, such as `model.neck`
    text: str  # the key of the option, its value, and what the part gets
    right: Mapping[str, Any]  # options that match


def channel_faults(model: Mapping[str, Any], backbone: Pyramid, key: str = "model") -> Iterator[Finding]:
    """Compare the channels that each part expects with those that it gets, and run the parts that look wrong."""
    suspects = {misfit.key: misfit for misfit in misfits(model, backbone.out_channels, key)}
    if not suspects:
        return
    with torch.device("meta"):
        maps = backbone.eval()(torch.empty(1, backbone.in_channels, SIDE, SIDE))
    for name, part in parts_of(model, ("neck", *_heads(model)), key):
        right = part
        if name in suspects:
            right = type(part)({**part, **suspects[name].right})
            if _run(part, maps)[1]:
                _, error = _run(right, maps)
                if error:
                    yield not_checked(f"{suspects[name].text}; not tried out: {error}")
                else:
                    yield wrong(suspects[name].text)
        if name.startswith(f"{key}.neck"):
            maps, _ = _run(right, maps)


def _heads(model: Mapping[str, Any]) -> list[str]:
    return [name for name in model if name.endswith("_head")]


def _run(part: dict[str, Any], maps: Any) -> tuple[Any, str]:
    """Return what a part makes of maps, and the error if it does not run; empty if it does.

    It runs on the meta device or else on the CPU; if it fails, also with data samples, which some heads take.
    """
    if maps is None:
        return None, "the neck before it cannot be run here"
    errors = []
    for device in ("meta", "cpu"):
        try:
            module = build(part) if device == "meta" else MODELS.build(without_init(part))
        except Exception as error:
            return None, f"{part.get('type')} does not build: {brief(error)}"
        given = tuple(torch.zeros(level.shape, device=device) for level in maps)
        for more in ((), ([_sample()],)):
            try:
                with torch.device(device), torch.no_grad():
                    return module.eval()(given, *more), ""
            except Exception as error:
                errors.append(brief(error))
    # The last error without samples: with them, most heads complain about the number of arguments.
    return None, f"{part.get('type')} does not run by itself ({errors[2]})"


def _sample() -> BaseDataElement:
    """Return a sample with the image sizes that heads with mask queries ask for."""
    size = (SIDE, SIDE)
    return BaseDataElement(metainfo=dict(img_shape=size, ori_shape=size, pad_shape=size, batch_input_shape=size))


def misfits(model: Mapping[str, Any], channels: tuple[int, ...], at: str = "model") -> Iterator[Misfit]:
    """Yield each `in_channels` or `in_index` in a model's config that does not match what the part before it gives."""
    given: Any = list(channels)
    for key, neck in parts_of(model, "neck", at):
        expected, wanted = plain(neck.get("in_channels")), given
        if isinstance(given, int) and isinstance(expected, list):
            wanted = [given] * len(expected)
        if isinstance(given, list) and isinstance(expected, int):
            wanted = given[-1]  # necks of one map take the last
        if None not in (expected, given) and expected != wanted:
            yield _other_channels(key, neck, expected, wanted)
        given = plain(neck.get("out_channels"))
    for key, head in parts_of(model, _heads(model), at):
        if "in_channels" in head and given is not None:
            yield from _misfit_of_head(key, head, given, bool(parts_of(model, "neck")))


def _misfit_of_head(key: str, head: Mapping[str, Any], given: Any, after_neck: bool) -> Iterator[Misfit]:
    """Yield what is wrong with a head's `in_channels` or `in_index`, given the channels of the part before it."""
    expected, index = plain(head["in_channels"]), plain(head.get("in_index"))
    if isinstance(given, int):  # the same channels on every level of the neck
        wanted: Any = [given] * len(expected) if isinstance(expected, list) else given
    elif index is None and not isinstance(expected, list):
        wanted = expected if after_neck else given[-1]  # mmseg's heads take the last map by default
    else:
        chosen = range(len(given)) if index is None else index if isinstance(index, list) else [index]
        inside: Any = [level for level in chosen if -len(given) <= level < len(given)] or [len(given) - 1]
        wanted, outside = [given[level] for level in inside], index is not None and inside != [*chosen]
        if not isinstance(expected, list):
            inside, wanted = inside[0], wanted[0]
        if outside:
            text = f"{key}.in_index is {index}, but there are {len(given)} maps: {given}"
            right = dict(in_index=like(inside, head["in_index"]), in_channels=like(wanted, head["in_channels"]))
            yield Misfit(key, text, right)
            return
    if expected != wanted:
        yield _other_channels(key, head, expected, wanted)


def _other_channels(key: str, part: Mapping[str, Any], expected: Any, wanted: Any) -> Misfit:
    text = f"{key}.in_channels is {expected}, but what comes before it gives {wanted}"
    return Misfit(key, text, dict(in_channels=like(wanted, part["in_channels"])))
