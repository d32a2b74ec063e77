"""One row a family: what the contract, golden and weight tests run over.

`tiny` is a full set of sizes of a copy that runs in milliseconds; `parameters` are the published counts with the classifier,
in millions (PUBLISHED.md's source: the papers' tables); `classifier` are the shapes of the released tensors that a backbone
drops, of which `not_counted` is what the authors' classifier has beyond ours.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from mmengine.registry import MODELS

import mmvit.backbones
from mmvit.pyramid import Pyramid


@dataclass(frozen=True)
class Family:
    name: str
    tiny: dict[str, Any]
    parameters: dict[str, float]
    golden: tuple[str, ...]
    classifier: Callable[[Pyramid], dict[str, tuple[int, ...]]]
    released: Callable[[str], str]  # our name of a tensor to the authors'
    module: Any = field(init=False)

    def __post_init__(self) -> None:
        kind = getattr(mmvit.backbones, self.name)
        object.__setattr__(self, "module", __import__(kind.__module__, fromlist=["ARCHS"]))

    def build(self, arch: Any = None, **options: Any) -> Pyramid:
        return MODELS.build(dict(type=f"mmvit.{self.name}", arch=self.tiny if arch is None else arch, **options))

    @property
    def archs(self) -> dict[str, Any]:
        return self.module.ARCHS


def pvt_classifier(model: Pyramid) -> dict[str, tuple[int, ...]]:
    dim = model.stages[-1].pos_embed.shape[2]
    return {
        "cls_token": (1, 1, dim),
        "norm.weight": (dim,),
        "norm.bias": (dim,),
        "head.weight": (1000, dim),
        "head.bias": (1000,),
    }


def pvt_released(name: str) -> str:
    _, stage, rest = name.split(".", 2)
    part, dot, rest = rest.partition(".")
    return f"{'block' if part == 'blocks' else part}{int(stage) + 1}{dot}{rest}"


FAMILIES = [
    Family(
        name="PVT",
        tiny=dict(
            depths=[1, 1, 2, 1], dims=[8, 16, 24, 32], heads=[1, 2, 3, 4], mlp_ratios=[2, 2, 2, 2], reductions=[8, 4, 2, 1]
        ),
        parameters=dict(tiny=13.2, small=24.5, medium=44.2, large=61.4),
        golden=("pvt_small",),
        classifier=pvt_classifier,
        released=pvt_released,
    ),
]


def released_state(family: Family, model: Pyramid) -> dict[str, torch.Tensor]:
    """`model`'s tensors as the authors' file would hold them, the classifier's included."""
    state = {family.released(name): value.clone() for name, value in model.state_dict().items()}
    state.update({name: torch.randn(shape) for name, shape in family.classifier(model).items()})
    return state
