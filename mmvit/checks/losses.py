"""Checks of the losses of a config: what is trained, with which weights, and whether it rewards the right prediction."""

from collections.abc import Iterator, Mapping, Sequence
from math import ceil, isfinite, sqrt
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from mmengine.registry import MODELS

from ..arguments import name_of
from ..config.parts import class_of, parts_of
from ..data.label_maps import IGNORED
from ..errors import brief
from .findings import Finding, doubtful, not_checked, wrong
from .plan import Plan

CERTAIN = 15.0  # logit of a pixel without doubt
CHANGED = 1e-4  # in what a loss costs
ONE_CHANNEL = "use CrossEntropyLoss with use_sigmoid=True or mmvit.StructureLoss"


def check_losses(plan: Plan) -> Iterator[Finding]:
    """Report losses that are logged and not trained, and class weights that do not fit their loss."""
    for key, model in plan.models:
        losses = list(losses_of(model, key))
        for loss_key, loss in losses:
            name = loss.get("loss_name")
            if isinstance(name, str) and "loss" not in name:
                yield wrong(
                    f"{loss_key}.loss_name is {name!r}: mmengine adds up what has 'loss' in its name, and only logs the rest",
                    f"Name it 'loss_{name}'",
                )
            weight = loss.get("class_weight")
            if isinstance(weight, str) and not Path(weight).is_file():
                yield wrong(f"{loss_key}.class_weight names the file {weight}, which is not there")
        weights = [loss.get("loss_weight", 1.0) for _, loss in losses]
        idle = [loss_key for loss_key, loss in losses if loss.get("loss_weight") == 0]
        if idle and not any(weights):
            yield wrong(f"{key}: every loss has loss_weight=0: nothing learns")
        elif idle:
            yield doubtful(f"{', '.join(idle)}: loss_weight is 0: it is logged, and nothing learns from it")
        yield from _weights_of_second_heads(losses, model)


def losses_of(part: Any, key: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield the losses in a model's config with their keys, of all heads."""
    if isinstance(part, Mapping):
        for name, value in part.items():
            if str(name).startswith("loss_"):
                yield from parts_of(part, str(name), key)
            elif name not in ("backbone", "train_cfg", "test_cfg"):
                yield from losses_of(value, f"{key}.{name}")
    elif isinstance(part, list | tuple):
        for index, entry in enumerate(part):
            yield from losses_of(entry, f"{key}.{index}")


def _weights_of_second_heads(losses: Sequence[tuple[str, Mapping[str, Any]]], model: Mapping[str, Any]) -> Iterator[Finding]:
    """Yield a finding for each list of class weights of a head that has no classes, or counts them in its own way."""
    for loss_key, loss in losses:
        weights = loss.get("class_weight")
        if not isinstance(weights, list | tuple):
            continue
        if "mask_head" in loss_key and loss.get("use_mask"):
            sentence = f"{loss_key}.class_weight: a mask is compared with that of its own class, so there is none to weigh"
            yield wrong(sentence, "Leave it out")
        elif "rpn_head.loss_cls" in loss_key:
            expected = 1 if loss.get("use_sigmoid") else 2
            if len(weights) != expected:
                yield wrong(f"{loss_key}.class_weight has {len(weights)} numbers, expected {expected}: objects, not classes")
        elif "semantic_head.loss_seg" in loss_key:
            head = model.get("semantic_head") or {}
            stuff = head.get("num_stuff_classes")
            if isinstance(stuff, int) and len(weights) != stuff + 1:
                yield wrong(
                    f"{loss_key}.class_weight has {len(weights)} numbers, expected {stuff + 1}: one for each class of stuff "
                    "and one for all things"
                )


def check_rewards(plan: Plan) -> Iterator[Finding]:
    """Report losses of mmseg's heads that cost no less for a perfect prediction than for an inverted one."""
    for decoded in _decoded(plan):
        yield from _tried(*decoded)


def check_ignored_pixels(plan: Plan, counts: np.ndarray) -> Iterator[Finding]:
    """Report losses of mmseg's heads that count ignored pixels.

    Args:
        counts: the number of pixels (256,) of each label in the label maps.
    """
    for _, head, channels, loss_key, loss in _decoded(plan):
        ignored = head.get("ignore_index", IGNORED)
        if ignored not in range(len(counts)) or not counts[ignored]:
            continue
        try:
            sure, unsure = (costs(loss, channels, ignored, blank=blank)[0] for blank in (False, True))
        except Exception:  # check_rewards reports it
            continue
        if abs(sure - unsure) > CHANGED:
            name, remedy = name_of(loss.get("type")), "mmvit.StructureLoss" if channels == 1 else "TverskyLoss or LovaszLoss"
            yield doubtful(
                f"{loss_key} ({name}) counts ignored pixels ({ignored}), which the label maps have: a perfect prediction costs "
                f"{sure:.3f}, and {unsure:.3f} if it is unsure at these alone",
                f"Use {remedy}, or label them",
            )


def _decoded(plan: Plan) -> Iterator[tuple[str, Mapping[str, Any], int, str, dict[str, Any]]]:
    """Yield the heads of mmseg with their keys and numbers of channels, each with the key and config of a loss that counts."""
    for key, model in plan.models:
        for head_key, head in parts_of(model, ("decode_head", "auxiliary_head"), key):
            channels = head.get("out_channels") or head.get("num_classes")
            for loss_key, loss in parts_of(head, "loss_decode", head_key):
                if isinstance(channels, int) and loss.get("loss_weight") != 0:
                    yield head_key, head, channels, loss_key, loss


def _tried(head_key: str, head: Mapping[str, Any], channels: int, loss_key: str, loss: dict[str, Any]) -> Iterator[Finding]:
    if channels == 1 and name_of(loss.get("type")) == "CrossEntropyLoss" and not loss.get("use_sigmoid"):
        sentence = f"{head_key} has one channel, and {loss_key} has no use_sigmoid: a softmax of one number is 1"
        yield wrong(sentence, f"Set {loss_key}.use_sigmoid=True, or num_classes=2 and out_channels=2")
        return
    ignored, name = head.get("ignore_index", IGNORED), name_of(loss.get("type"))
    try:
        right, opposite = costs(loss, channels, None)
    except Exception as error:
        if isinstance(error, TypeError) and _calls_as_most(head):
            fault = f"{loss_key}: {name_of(head['type'])} gives its losses options that {name} does not take"
            yield wrong(f"{fault}: {brief(error)}", "Take another loss; for hard pixels CrossEntropyLoss with OHEMPixelSampler")
        else:
            yield not_checked(f"{loss_key}: whether it rewards what is right was not checked: {brief(error)}")
        return
    try:
        right, opposite = costs(loss, channels, ignored)
    except Exception as error:
        yield doubtful(f"{loss_key} ({name}) fails where a pixel is ignored ({ignored}): {brief(error)}")
    else:
        yield from _sampled(f"{head_key}.sampler", head.get("sampler"), loss, channels, ignored)
    if not (isfinite(right) and isfinite(opposite)):
        yield not_checked(f"{loss_key}: whether it rewards what is right was not checked: it costs {right:g} and {opposite:g}")
    elif right >= opposite - 1e-6 * abs(opposite):
        yield wrong(
            f"{loss_key} ({name}) with {_counted(channels)} costs {right:.3f} for a perfect prediction and "
            f"{opposite:.3f} for the inverted one: "
            + ("it teaches nothing" if right <= opposite else "it teaches the wrong one"),
            f"Take it out, or {ONE_CHANNEL if channels == 1 else 'use another loss'}",
        )


def _calls_as_most(head: Mapping[str, Any]) -> bool:
    """Return whether a head calls its losses as mmseg's base class does, with weights of pixels and the ignored label."""
    from mmseg.models.decode_heads.decode_head import BaseDecodeHead

    return getattr(class_of(head, MODELS), "loss_by_feat", None) is BaseDecodeHead.loss_by_feat


def _sampled(
    key: str, sampler: Mapping[str, Any] | None, loss: dict[str, Any], channels: int, ignored: int
) -> Iterator[Finding]:
    """Yield a finding for a sampler of pixels that fails with a loss."""
    if sampler is None:
        return
    try:
        costs(loss, channels, ignored, sampler)
    except Exception as error:
        names = f"{name_of(sampler.get('type'))} fails with {name_of(loss.get('type'))} and {_counted(channels)}"
        yield wrong(f"{key}: {names}: {brief(error)}", f"Set {key}=None, or use another loss")


def _counted(channels: int) -> str:
    return "one channel" if channels == 1 else f"{channels} channels"


def costs(
    loss: dict[str, Any], channels: int, ignored: int | None, sampler: Mapping[str, Any] | None = None, blank: bool = False
) -> tuple[float, float]:
    """Return what a loss of mmseg costs for a perfect and for an inverted prediction of all classes.

    A single channel is the logit of class 1. Pixels with the label `ignored`, if it is given, are ignored; of the others, those
    count that a head's `sampler` chooses. The ignored are predicted like the others, or with logits of 0 if they are `blank`.
    """
    side = max(16, ceil(sqrt(2 * channels)))
    labels = torch.arange(side * side).view(side, side).expand(2, side, side) % max(channels, 2)
    truth = labels[:, None] == (torch.arange(channels) if channels > 1 else torch.ones(1)).view(1, -1, 1, 1)
    logits = torch.where(truth, CERTAIN, -CERTAIN)
    options: dict[str, Any] = dict(weight=None)
    if ignored is not None:
        labels = labels.masked_fill(torch.arange(side) == 0, ignored)  # a column
        options["ignore_index"] = ignored
        if blank:
            logits = logits * labels.ne(ignored)[:, None]
    built = MODELS.build(dict(loss))
    if sampler is not None:
        from mmseg.structures import build_pixel_sampler

        context = SimpleNamespace(ignore_index=ignored, loss_decode=built)
        options["weight"] = build_pixel_sampler(dict(sampler), context=context).sample(logits, labels[:, None])
    with torch.no_grad():
        right, opposite = (float(built(sign * logits, labels, **options).sum()) for sign in (1, -1))
    return right, opposite
