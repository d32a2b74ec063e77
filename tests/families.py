"""One row a family: what the contract, golden and weight tests run over.

`tiny` is a full set of sizes of a copy that runs in milliseconds; `classifier` are the shapes of the released tensors that a
backbone drops.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from inspect import signature
from typing import Any

import torch
from mmengine.registry import MODELS
from torch.nn.modules.batchnorm import _BatchNorm

import mmvit.backbones
from mmvit.pyramid import Pyramid


@dataclass(frozen=True)
class Family:
    name: str
    tiny: dict[str, Any]
    golden: tuple[str, ...]
    classifier: Callable[[Pyramid], dict[str, tuple[int, ...]]]
    released: Callable[[str], str | None]  # our name of a tensor to the authors'; None where they have none
    bare: dict[str, Any] = field(default_factory=dict)  # options that leave the authors' maps as they are

    @property
    def kind(self) -> type[Pyramid]:
        return getattr(mmvit.backbones, self.name)

    def build(self, arch: Any = None, **options: Any) -> Pyramid:
        return MODELS.build(dict(type=f"mmvit.{self.name}", arch=self.tiny if arch is None else arch, **options))

    def initialised(self, arch: Any = None, seed: int = 0, **options: Any) -> Pyramid:
        """Build a model with initial weights, the same ones each time."""
        torch.manual_seed(seed)
        model = self.build(arch, **options)
        model.init_weights()
        return model

    def randomised(self, arch: Any = None, seed: int = 0, **options: Any) -> Pyramid:
        """Build a model in float64, no tensor of which is all zeros or ones, with statistics in its batch norms."""
        model = self.initialised(arch, seed, **options)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn_like(parameter), alpha=0.1)
            for module in model.modules():
                if isinstance(module, _BatchNorm):
                    module.running_mean.normal_()
                    module.running_var.uniform_(0.5, 2)
        return model.double()

    @property
    def archs(self) -> dict[str, Any]:
        return dict(self.kind.record.archs)

    @property
    def attends(self) -> bool:
        """Whether it has attention to whole maps."""
        return "max_keys" in signature(self.kind).parameters

    @property
    def normed(self) -> bool:
        """Whether it has batch norms."""
        with torch.device("meta"):
            return any(isinstance(module, _BatchNorm) for module in self.build().modules())


def pvt_classifier(model: Pyramid) -> dict[str, tuple[int, ...]]:
    dim = model.stages[-1].pos_embed.shape[2]
    return {**linear(dim), "cls_token": (1, 1, dim), "norm.weight": (dim,), "norm.bias": (dim,)}


def volo_classifier(model: Pyramid) -> dict[str, tuple[int, ...]]:
    dim = model.stages[-1].blocks[0].norm1.weight.shape[0]
    ratio = model.stages[-1].blocks[0].mlp.fc1.weight.shape[0] // dim
    state = {**linear(dim), "cls_token": (1, 1, dim), "aux_head.weight": (1000, dim), "aux_head.bias": (1000,)}
    for block in ("post_network.0", "post_network.1"):
        state |= {f"{block}.{norm}.{part}": (dim,) for norm in ("norm1", "norm2") for part in ("weight", "bias")}
        state |= {f"{block}.attn.kv.weight": (2 * dim, dim), f"{block}.attn.q.weight": (dim, dim)}
        state |= {f"{block}.attn.proj.weight": (dim, dim), f"{block}.attn.proj.bias": (dim,)}
        state |= {f"{block}.mlp.fc1.weight": (ratio * dim, dim), f"{block}.mlp.fc1.bias": (ratio * dim,)}
        state |= {f"{block}.mlp.fc2.weight": (dim, ratio * dim), f"{block}.mlp.fc2.bias": (dim,)}
    return state


def t2t_classifier(model: Pyramid) -> dict[str, tuple[int, ...]]:
    return linear(model.taps["3"].norm.weight.shape[0])


def head(model: Pyramid) -> dict[str, tuple[int, ...]]:
    return linear(model.stages[-1].norm.weight.shape[0])


def linear(dim: int) -> dict[str, tuple[int, ...]]:
    return {"head.weight": (1000, dim), "head.bias": (1000,)}


def released_name(name: str) -> str:
    """`stages.2.blocks.0.mlp.dwconv.weight` to `block3.0.mlp.dwconv.dwconv.weight`."""
    _, stage, rest = name.split(".", 2)
    part, dot, rest = rest.partition(".")
    rest = rest.replace(".dwconv.", ".dwconv.dwconv.")
    return f"{'block' if part == 'blocks' else part}{int(stage) + 1}{dot}{rest}"


def volo_released_name(name: str) -> str | None:
    if name.startswith("taps."):
        return name.removeprefix("taps.3.") if name.startswith("taps.3.norm.") else None
    if not name.startswith("stages."):
        return name
    if name.startswith("stages.1.downsample."):
        rest = name.removeprefix("stages.1.downsample.")
        return rest if rest == "pos_embed" else f"network.1.{rest}"
    _, stage, _, rest = name.split(".", 3)
    return f"network.{int(stage) + (stage != '0')}.{rest}"


def t2t_released_name(name: str) -> str | None:
    if name.startswith(("taps.", "laterals.")):
        return name.removeprefix("taps.3.") if name.startswith("taps.3.norm.") else None
    return name.removeprefix("embedding.")


STAGES: dict[str, Any] = dict(depths=[1, 1, 2, 1], dims=[8, 16, 24, 32], mlp_ratios=[2, 2, 2, 2])
REDUCING: dict[str, Any] = dict(STAGES, heads=[1, 2, 3, 4], reductions=[8, 4, 2, 1])
FAMILIES = [
    Family(
        name="PVT",
        tiny=REDUCING,
        golden=("pvt_small",),
        classifier=pvt_classifier,
        released=released_name,
    ),
    Family(
        name="PVTv2",
        tiny=dict(REDUCING, linear=False),
        golden=("pvt_v2_b1", "pvt_v2_b2_li"),
        classifier=head,
        released=released_name,
    ),
    Family(
        name="VOLO",
        tiny=dict(depths=[2, 1, 2, 1], dims=[16, 32], heads=[2, 4], mlp_ratio=3, stem_width=4),
        golden=("volo_d1",),
        classifier=volo_classifier,
        released=volo_released_name,
        bare=dict(strides=None),
    ),
    Family(
        name="ShuntedTransformer",
        tiny=dict(
            depths=[2, 1, 2, 1],
            stem_repeats=1,
            dims=[8, 16, 32, 32],
            heads=[2, 2, 4, 4],
            mlp_ratios=[4, 4, 2, 2],
            reductions=[8, 4, 2, 1],
        ),
        golden=("shunted_small",),
        classifier=head,
        released=released_name,
    ),
    Family(
        name="T2TViT",
        tiny=dict(embed_dim=32, depths=[5], heads=4, mlp_ratio=2, tokens="performer", design="plain"),
        golden=("t2t_vit_14", "t2t_vit_t_14", "t2t_vit_14_se", "t2t_vit_16_ghost", "t2t_vit_dense"),
        classifier=t2t_classifier,
        released=t2t_released_name,
        bare=dict(strides=None),
    ),
    Family(
        name="VAN",
        tiny=STAGES,
        golden=("van_b1",),
        classifier=head,
        released=released_name,
    ),
]
BY_NAME = {family.name: family for family in FAMILIES}


def images(height: int = 70, width: int = 100, batch: int = 2, channels: int = 3) -> torch.Tensor:
    """The same random images each time."""
    return torch.randn(batch, channels, height, width, generator=torch.Generator().manual_seed(0))


def idle(model: torch.nn.Module) -> list[str]:
    """Names of the parameters that got no gradient, or one of zeros."""
    return [name for name, value in model.named_parameters() if value.grad is None or not value.grad.any()]


def released_state(family: Family, model: Pyramid) -> dict[str, torch.Tensor]:
    """`model`'s tensors as the authors' file would hold them, the classifier's included."""
    state = {released: value.clone() for name, value in model.state_dict().items() if (released := family.released(name))}
    state.update({name: torch.randn(shape) for name, shape in family.classifier(model).items()})
    return state
