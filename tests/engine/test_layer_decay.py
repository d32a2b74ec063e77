"""Layer-wise learning-rate decay: which rate and which weight decay each parameter gets, in every family."""

import re

import pytest
import torch
from families import FAMILIES, Family
from makers import each_family
from mmengine.config import ConfigDict
from mmengine.model import BaseModel, MMDistributedDataParallel
from mmengine.optim import OptimWrapper, build_optim_wrapper
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmvit.errors import InputError

pytestmark = pytest.mark.stack

BY_NAME = {family.name: family for family in FAMILIES}
RATE, LR, DECAY = 0.5, 1e-3, 0.05
ADAMW = dict(type="AdamW", lr=LR, weight_decay=DECAY)
CFG = dict(type="OptimWrapper", optimizer=ADAMW, constructor="mmvit.LayerDecay", paramwise_cfg=dict(decay_rate=RATE))


class Detector(BaseModel):
    """A backbone under its usual name, and a head with a norm."""

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = nn.Sequential(nn.Conv2d(8, 8, kernel_size=1), nn.GroupNorm(2, 8))

    def forward(self, inputs: Tensor) -> Tensor:
        return self.backbone(inputs)


def optimise(model: nn.Module, **options: object) -> OptimWrapper:
    return build_optim_wrapper(model, ConfigDict(CFG | dict(paramwise_cfg=dict(decay_rate=RATE) | options)))


def settings(model: nn.Module, wrapper: OptimWrapper) -> dict[str, tuple[float, float]]:
    """Learning rate as a share of the full one, and weight decay, of each parameter that learns."""
    names = {parameter: name for name, parameter in model.named_parameters()}
    found = [
        (names[parameter], (group["lr"] / LR, group["weight_decay"]))
        for group in wrapper.optimizer.param_groups
        for parameter in group["params"]
    ]
    assert len(dict(found)) == len(found), "a parameter is in two groups"
    return dict(found)


def below_top(model: nn.Module, wrapper: OptimWrapper) -> dict[str, float]:
    """Layers between a parameter and the top."""
    return {name: torch.tensor(share).log2().neg().item() for name, (share, _) in settings(model, wrapper).items()}


@each_family
def test_every_parameter_is_in_one_group(family: Family) -> None:
    for model in (family.build(), family.build(frozen_stages=2), family.build(out_indices=(0, 1))):
        detector = Detector(model)
        learning = {name for name, parameter in detector.named_parameters() if parameter.requires_grad}
        assert set(settings(detector, optimise(detector))) == learning


@each_family
def test_rates_rise_from_stem_to_head(family: Family) -> None:
    detector = Detector(family.build())
    below = below_top(detector, optimise(detector))
    blocks = [name for name, _ in detector.named_modules() if re.search(r"\bblocks\.\d+$", name)]
    assert len(blocks) >= 5
    for number, block in enumerate(blocks, start=1):
        own = {value for name, value in below.items() if name.startswith(f"{block}.")}
        assert own == {len(blocks) + 1 - number}, block
    assert {value for name, value in below.items() if name.startswith("head.")} == {0}
    assert max(below.values()) == len(blocks) + 1, "the stem is below all blocks"
    assert list(below.values()) == sorted(below.values()), "the first group's rate, which mmengine logs, is the full one"


@pytest.mark.parametrize(
    ("family", "expected"),
    [
        (
            "PVT",  # depths 1, 1, 2, 1: five blocks, six layers up to the top
            {
                "stages.0.patch_embed.proj.weight": 6,
                "stages.0.pos_embed": 6,
                "stages.1.patch_embed.proj.weight": 4,
                "stages.2.pos_embed": 3,
                "stages.2.blocks.1.norm1.weight": 2,
                "stages.3.pos_embed": 1,
            },
        ),
        (
            "VOLO",  # depths 2, 1, 2, 1: the last tap's norm is the authors', the other taps are fresh
            {
                "patch_embed.conv.0.weight": 7,
                "patch_embed.proj.bias": 7,
                "stages.0.blocks.1.attn.v.weight": 5,
                "stages.1.downsample.pos_embed": 4,
                "stages.1.downsample.proj.weight": 4,
                "stages.1.blocks.0.norm1.weight": 4,
                "stages.3.blocks.0.norm1.weight": 1,
                "taps.3.norm.weight": 1,
                "taps.2.norm.weight": 0,
                "taps.0.rescale.weight": 0,
            },
        ),
        (
            "T2TViT",  # five blocks, tapped after 2, 3, 4 and 5
            {
                "tokens_to_token.attention1.norm1.weight": 6,
                "tokens_to_token.project.weight": 6,
                "embedding.cls_token": 6,
                "blocks.0.norm1.weight": 5,
                "blocks.4.mlp.fc2.weight": 1,
                "taps.3.norm.bias": 1,
                "taps.0.norm.bias": 0,
                "taps.0.rescale.0.weight": 0,
                "laterals.0.weight": 0,
            },
        ),
    ],
)
def test_parts_outside_of_the_blocks(family: str, expected: dict[str, int]) -> None:
    model = BY_NAME[family].build()
    below = below_top(model, optimise(model))
    assert {name: below[name] for name in expected} == expected


def test_dense_layers_and_transitions_count() -> None:
    """The dense design's flat list holds transitions, which are layers like another."""
    with torch.device("meta"):
        model = BY_NAME["T2TViT"].build("dense")
    below = below_top(model, optimise(model))
    last = len(model.blocks) - 1
    assert below["blocks.0.norm1.weight"] == last + 1
    assert below[f"blocks.{last}.norm1.weight"] == 1
    assert below["blocks.3.linear.weight"] == last - 2


@each_family
def test_exactly_these_do_not_decay(family: Family) -> None:
    detector = Detector(family.build())
    kinds = {f"{prefix}.{name}": type(part) for prefix, part in detector.named_modules() for name, _ in part.named_parameters()}
    found = {name for name, (_, decay) in settings(detector, optimise(detector)).items() if decay == 0}
    expected = set()
    for name, _ in detector.named_parameters():
        is_norm = issubclass(kinds[name], nn.LayerNorm | nn.GroupNorm | _BatchNorm)
        named = name.endswith((".bias", ".pos_embed", ".cls_token", ".layer_scale_1", ".layer_scale_2"))
        if is_norm or named:
            expected.add(name)
    assert found == expected
    assert {decay for _, decay in settings(detector, optimise(detector)).values()} == {0, DECAY}


def test_norms_are_known_by_their_type() -> None:
    """A norm over more than one axis has weights that are no vectors."""
    detector = Detector(BY_NAME["VAN"].build())
    detector.odd = nn.LayerNorm((4, 4))
    assert settings(detector, optimise(detector))["odd.weight"] == (1, 0)


@each_family
def test_a_step_moves_every_parameter(family: Family) -> None:
    torch.manual_seed(0)
    model = family.build()
    model.init_weights()
    wrapper = optimise(model, decay_rate=0.9)
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    loss = sum((feature_map * torch.randn_like(feature_map)).mean() for feature_map in model(torch.randn(2, 3, 64, 64)))
    wrapper.update_params(loss)
    assert [name for name, parameter in model.named_parameters() if torch.equal(parameter, before[name])] == []


def test_wrapped_for_ddp(tmp_path) -> None:
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        detector = Detector(BY_NAME["VAN"].build())
        plain = settings(detector, optimise(detector))
        wrapped = MMDistributedDataParallel(detector, device_ids=None)
        assert settings(detector, optimise(wrapped)) == plain
        detector.backbone = MMDistributedDataParallel(detector.backbone, device_ids=None)
        apart = settings(detector, optimise(detector))
        assert {name.replace("backbone.module.", "backbone."): value for name, value in apart.items()} == plain
    finally:
        torch.distributed.destroy_process_group()


def test_added_to_a_recipe_of_mmengines_constructor() -> None:
    """`custom_keys` multiply, the longest key that fits a name counts, and what does not decay stays so."""
    detector = Detector(BY_NAME["PVT"].build())
    keys = {"head": dict(lr_mult=10.0), "head.1": dict(decay_mult=1.0), "pos_embed": dict(decay_mult=0.0)}
    keys |= {"stages.3": dict(lr_mult=0.5, decay_mult=0.5)}
    found = settings(detector, optimise(detector, norm_decay_mult=0.0, bias_decay_mult=0.0, custom_keys=keys))
    assert found["head.0.weight"] == (10, DECAY)
    assert found["head.0.bias"] == (10, 0)
    assert found["head.1.weight"] == (1, 0)
    assert found["backbone.stages.3.blocks.0.attn.q.weight"] == (RATE * 0.5, DECAY * 0.5)
    assert found["backbone.stages.2.blocks.1.attn.q.weight"] == (RATE**2, DECAY)


def test_groups_are_printed_on_request(monkeypatch: pytest.MonkeyPatch) -> None:
    said = []
    monkeypatch.setattr("mmvit.engine.layer_decay.print_log", lambda message, **options: said.append(message))
    model = BY_NAME["VAN"].build()
    optimise(model)
    assert said == []
    wrapper = optimise(model, verbose=True)
    title, head, *rows = said[0].splitlines()
    assert title == f"mmvit.LayerDecay: {len(wrapper.optimizer.param_groups)} parameter groups, decay rate {RATE}"
    assert head.split() == ["lr", "scale", "lr", "weight", "decay", "tensors", "parameters", "names"]
    assert len(rows) == len(wrapper.optimizer.param_groups)
    assert rows[0].split()[:2] == ["0.5000", "0.0005"]
    assert rows[-1].endswith("stages.0.patch_embed.proj.weight")
    assert sum(int(row.split()[3]) for row in rows) == len(list(model.parameters()))
    assert sum(int(row.split()[4].replace(",", "")) for row in rows) == sum(p.numel() for p in model.parameters())


def test_other_backbones_are_refused() -> None:
    with pytest.raises(
        InputError,
        match=r"only the layers of mmvit's backbones \(type='mmvit.PVT' and the others\), and found none in Detector",
    ):
        optimise(Detector(nn.Conv2d(3, 8, 1)))
    with pytest.raises(InputError, match="none in Conv2d"):
        optimise(nn.Conv2d(3, 8, 1))


def test_parts_without_a_place_are_refused() -> None:
    model = BY_NAME["VAN"].build()
    model.surprise = nn.Linear(2, 2)
    with pytest.raises(InputError, match=r"surprise\.weight of VAN is in none of its layers; VAN.layers\(\) has to name"):
        optimise(model)


@pytest.mark.parametrize(
    ("paramwise_cfg", "told"),
    [
        (None, "decay_rate=None; expected a number"),  # mmengine's constructor without options gives all the same rate
        (dict(decay_rate=0), "decay_rate=0; expected a number"),
        (dict(decay_rate=1.5), "decay_rate=1.5"),
        (dict(decay_rate=RATE, decay_rates=0.9), "has no decay_rates; it has decay_rate, verbose, custom_keys"),
        (dict(decay_rate=RATE, norm_decay_mult=0.5), "norm_decay_mult=0.5; expected 0"),
        (dict(decay_rate=RATE, custom_keys=dict(head=dict(lr=0.1))), "custom_keys.head has no lr; it has lr_mult, decay_mult"),
    ],
    ids=str,
)
def test_options_that_cannot_be(paramwise_cfg: dict[str, object] | None, told: str) -> None:
    with pytest.raises(InputError, match=told):
        build_optim_wrapper(BY_NAME["VAN"].build(), ConfigDict(CFG | dict(paramwise_cfg=paramwise_cfg)))


def test_an_optimiser_without_a_rate_is_refused() -> None:
    with pytest.raises(InputError, match="has no lr"):
        build_optim_wrapper(BY_NAME["VAN"].build(), ConfigDict(CFG | dict(optimizer=dict(type="AdamW"))))
