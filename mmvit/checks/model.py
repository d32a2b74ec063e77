"""Checks that build a config's model without memory for its weights: does it build, and does an image pass through it?"""

import re
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from typing import Any

import torch
from mmengine.registry import MODELS
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from ..arguments import name_of
from ..config.costs import pass_through
from ..config.parts import build, entry_of, without_init
from ..errors import first_few
from .advice import LAYOUT, describe
from .channels import SIDE, channel_faults
from .classes import our_backbone
from .findings import Finding, not_checked, ok, wrong
from .plan import Plan

# What torch says of maps with another number of channels than a layer has weights for.
OTHER_CHANNELS = re.compile(
    r"to have \d+ channels, but got|shapes cannot be multiplied|must match the size of tensor|cannot be broadcast|"
    r"normalized_shape|running_mean should contain|number of channels in input|same reduction dim|size mismatch"
)
IMAGES = 2  # of one, any layout can be viewed as another


class Fake(FakeTensorMode):
    """Torch's fake tensors, whose copies share one mode: torch frees what a deep copy of a mode refers to twice."""

    def __deepcopy__(self, memo: dict[int, Any]) -> "Fake":
        """Stay one: layers that a head copies while it is built (as those of DETR do) would take the mode along."""
        return self


# Fake tensors have no values, which two-stage detectors need for their proposals; meta tensors have no true layout either.
ATTEMPTS = ((Fake, SIDE), (nullcontext, SIDE), (nullcontext, 2 * SIDE))
TOO_FEW = re.compile("index k out of range")  # positions for a detector's queries, of which DINO has 900


def check_model(plan: Plan) -> Iterator[Finding]:
    """Build the model; its weights take no memory if all parts build on the meta device."""
    try:
        model = build(plan.config.model)
    except Exception as error:
        yield wrong(describe(error))
        return
    count = sum(parameter.numel() for parameter in model.parameters()) / 1e6
    backbone = getattr(model, "backbone", None)
    yield ok(f"{type(model).__name__} with {type(backbone).__name__}, {count:.1f} M parameters")


def check_forward(plan: Plan) -> Iterator[Finding]:
    """Let images pass through each model with a backbone of ours, as far as the check of its options found no fault."""
    for key, model in plan.models:
        if "backbone" not in model:
            continue
        backbone = our_backbone(model, key)
        if backbone is None:
            yield not_checked(f"{name_of(entry_of(model, 'backbone.type'))} is not one of mmvit's backbones")
        elif not any(channel_faults(model, backbone, key)):
            maps = f"{key}: {backbone.out_channels} at strides {backbone.out_strides}"
            yield from _forward(model, maps, backbone.in_channels, plan.config.get("default_scope", "mmdet"))


def _forward(model: Mapping[str, Any], maps: str, channels: int, scope: str) -> Iterator[Finding]:
    said = ""
    for mode, side in ATTEMPTS:
        if side > SIDE and not TOO_FEW.search(said):
            break
        net = None
        try:
            with mode():
                net = MODELS.build(without_init(model))
                heads = _pass(net.eval(), torch.zeros(IMAGES, channels, side, side), scope)
        except Exception as error:
            said = describe(error, net)
            if OTHER_CHANNELS.search(said):
                yield wrong(f"{maps} do not fit what follows: {said}")
                return
            if LAYOUT in said:
                yield wrong(said, subject="layout")
                return
        else:
            yield ok(f"{maps} fit what follows; images passed through {first_few(heads)}")
            return
    yield not_checked(f"{maps}: whether they fit what follows was not checked: {said}")


def _pass(net: nn.Module, images: torch.Tensor, scope: str) -> list[str]:
    """Let images pass through a model and its auxiliary heads; return the names of the parts."""
    parts = dict(net.named_children())
    pass_through(net, scope, images)
    with torch.no_grad():
        if "auxiliary_head" in parts:
            maps = net.extract_feat(images)  # type: ignore[operator]
            heads = parts["auxiliary_head"]
            for head in heads if isinstance(heads, nn.ModuleList) else [heads]:
                head(maps)
    return [name for name in parts if name in ("backbone", "neck") or name.endswith("_head")]
