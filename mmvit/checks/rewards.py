"""Check that the losses of a segmenter reward the right prediction: each is tried on a perfect and on an inverted one."""

from collections.abc import Iterator, Mapping
from functools import partial
from math import ceil, isfinite, sqrt
from typing import Any

import torch
from mmengine.registry import MODELS

from ..config.datasets import name_of
from ..config.parts import parts_of
from . import findings
from .findings import Finding, brief
from .plan import Plan

wrong = partial(findings.wrong, "losses")
doubtful = partial(findings.doubtful, "losses")
not_checked = partial(findings.not_checked, "losses")

CERTAIN = 15.0  # logit of a pixel without doubt
ONE_CHANNEL = "use CrossEntropyLoss with use_sigmoid=True or mmvit.StructureLoss"


def check_rewards(plan: Plan) -> Iterator[Finding]:
    """Report losses of mmseg's heads that cost no less for a perfect prediction than for an inverted one."""
    for key, model in plan.models:
        for name in ("decode_head", "auxiliary_head"):
            for head_key, head in parts_of(model, name, key):
                for loss_key, loss in parts_of(head, "loss_decode", head_key):
                    yield from _tried(head_key, head, loss_key, loss)


def _tried(head_key: str, head: Mapping[str, Any], loss_key: str, loss: dict[str, Any]) -> Iterator[Finding]:
    channels = head.get("out_channels") or head.get("num_classes")
    if not isinstance(channels, int) or loss.get("loss_weight") == 0:
        return
    if channels == 1 and name_of(loss.get("type")) == "CrossEntropyLoss" and not loss.get("use_sigmoid"):
        sentence = f"{head_key} has one channel, and {loss_key} has no use_sigmoid: a softmax of one number is 1"
        yield wrong(sentence, f"Set {loss_key}.use_sigmoid=True, or num_classes=2 and out_channels=2")
        return
    ignored = head.get("ignore_index", 255)
    try:
        right, opposite = costs(loss, channels, None)
    except Exception as error:
        yield not_checked(f"{loss_key}: whether it rewards what is right was not checked: {brief(error)}")
        return
    try:
        right, opposite = costs(loss, channels, ignored)
    except Exception as error:
        yield doubtful(f"{loss_key} ({name_of(loss.get('type'))}) fails where a pixel is ignored ({ignored}): {brief(error)}")
    if not (isfinite(right) and isfinite(opposite)):
        yield not_checked(f"{loss_key}: whether it rewards what is right was not checked: it costs {right:g} and {opposite:g}")
    elif right >= opposite - 1e-6 * abs(opposite):
        count = "one channel" if channels == 1 else f"{channels} channels"
        yield wrong(
            f"{loss_key} ({name_of(loss.get('type'))}) with {count} costs {right:.3f} for a perfect prediction and "
            f"{opposite:.3f} for the inverted one: "
            + ("it teaches nothing" if right <= opposite else "it teaches the wrong one"),
            f"Take it out, or {ONE_CHANNEL if channels == 1 else 'use another loss'}",
        )


def costs(loss: dict[str, Any], channels: int, ignored: int | None) -> tuple[float, float]:
    """Return what a loss of mmseg costs for a perfect and for an inverted prediction of all classes.

    Args:
        loss: its config.
        channels: number of channels; a single one is the logit of class 1.
        ignored: label of pixels that are ignored, if there are any.
    """
    side = max(16, ceil(sqrt(2 * channels)))
    labels = torch.arange(side * side).view(side, side).expand(2, side, side) % max(channels, 2)
    truth = labels[:, None] == (torch.arange(channels) if channels > 1 else torch.ones(1)).view(1, -1, 1, 1)
    logits = torch.where(truth, CERTAIN, -CERTAIN)
    options: dict[str, Any] = dict(weight=None)
    if ignored is not None:
        labels = labels.masked_fill(torch.arange(side) == 0, ignored)  # a column
        options["ignore_index"] = ignored
    built = MODELS.build(dict(loss))
    with torch.no_grad():
        right, opposite = (float(built(sign * logits, labels, **options).sum()) for sign in (1, -1))
    return right, opposite
