"""Checks of the losses of a config: what is trained, and with which weights."""

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from ..config.parts import parts_of
from . import findings
from .findings import Finding
from .plan import Plan

wrong = partial(findings.wrong, "losses")
doubtful = partial(findings.doubtful, "losses")


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
        yield from _weights_of_second_heads(key, model)


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


def _weights_of_second_heads(key: str, model: Mapping[str, Any]) -> Iterator[Finding]:
    """Yield a finding for each list of class weights of a head that has no classes, or counts them in its own way."""
    for loss_key, loss in losses_of(model, key):
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
