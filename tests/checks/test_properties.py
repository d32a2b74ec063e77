"""What holds for every input and every valid config, over random ones: the same ones each time."""

from math import ceil
from typing import Any

import pytest
import torch
from families import FAMILIES, Family
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope

from benchmarks.long_checks import main
from mmvit.checks.channels import channel_faults
from mmvit.checks.classes import class_faults, our_backbone
from mmvit.config.datasets import datasets_of
from mmvit.config.parts import without_init
from mmvit.recipes.configs import parse, text
from mmvit.recipes.tables import PAIRINGS, Leaf
from mmvit.zoo import families

SIDES = st.integers(min_value=32, max_value=200)  # from the least that the contract takes
LAYOUTS = ("contiguous", "channels last", "strided", "turned")
WINDOWS = ("VOLO", "T2TViT")  # families with attention in windows
TAPPED = dict.fromkeys(WINDOWS, (None, (4, 8, 16, 32), (8, 8, 16, 32), (4, 8, 16, 16)))
seeded = settings(derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck))


@st.composite
def backbones(draw: st.DrawFn) -> tuple[Family, dict[str, Any]]:
    """A family and options of its tiny copy."""
    family = draw(st.sampled_from(FAMILIES))
    options: dict[str, Any] = dict(
        out_indices=sorted(draw(st.sets(st.integers(0, 3), min_size=1))),
        frozen_stages=draw(st.integers(-1, 4)),
        norm_eval=draw(st.booleans()),
        with_cp=draw(st.booleans()),
        in_channels=draw(st.sampled_from((3, 3, 3, 1, 4))),
        drop_path_rate=draw(st.sampled_from((0.0, 0.1, 0.9))),
    )
    if family.name != "VAN":
        options["max_keys"] = draw(st.sampled_from((None, None, 1, 5, 60)))
    if family.name in WINDOWS:
        options["window_size"] = draw(st.sampled_from((None, None, 1, 3, 7)))
        options["strides"] = draw(st.sampled_from(TAPPED[family.name]))
        options["pretrain_img_size"] = draw(st.sampled_from((224, 64)))
    if family.name == "T2TViT":
        options["tokens"] = draw(st.sampled_from((None, "transformer", "convolution")))
        options["token_laterals"] = draw(st.booleans())
    return family, options


def laid_out(images: torch.Tensor, layout: str) -> torch.Tensor:
    """The same numbers in another layout of the memory."""
    if layout == "channels last":
        return images.contiguous(memory_format=torch.channels_last)
    if layout == "strided":  # every second column of wider images
        return torch.stack([images, images], dim=-1).flatten(-2)[..., ::2]
    if layout == "turned":
        return images.transpose(2, 3).contiguous().transpose(2, 3)
    return images


@settings(seeded, max_examples=200)
@given(
    which=backbones(),
    height=SIDES,
    width=SIDES,
    batch=st.integers(1, 3),
    layout=st.sampled_from(LAYOUTS),
    training=st.booleans(),
)
def test_maps_are_as_promised(
    which: tuple[Family, dict[str, Any]], height: int, width: int, batch: int, layout: str, training: bool
) -> None:
    family, options = which
    torch.manual_seed(0)
    if batch * ceil(height / 32) * ceil(width / 32) == 1:
        training = False  # a batch norm has no statistics of a single value: torch refuses
    model = family.build(**options).train(training)
    images = laid_out(torch.randn(batch, model.in_channels, height, width), layout)
    before = images.clone()
    with torch.set_grad_enabled(training):
        maps = model(images)
    assert torch.equal(images, before), "the caller's images stay as they are"
    assert len(maps) == len(model.out_channels) == len(model.out_strides) == len(options["out_indices"])
    for feature_map, channels, stride in zip(maps, model.out_channels, model.out_strides, strict=True):
        assert feature_map.shape == (batch, channels, ceil(height / stride), ceil(width / stride))
        assert feature_map.isfinite().all()


@st.composite
def leaves(draw: st.DrawFn) -> Leaf:
    """Any valid name of a config, whether the repository has it or not."""
    head, dataset = draw(st.sampled_from(sorted(PAIRINGS)))
    kind = draw(st.sampled_from(families()))
    return Leaf(head, kind.record.name, draw(st.sampled_from(sorted(kind.record.archs))), dataset)


@pytest.mark.stack
@settings(seeded, max_examples=12)
@given(
    leaf=leaves(),
    options=st.fixed_dictionaries(
        {},
        optional=dict(
            frozen_stages=st.integers(-1, 4),
            norm_eval=st.booleans(),
            with_cp=st.booleans(),
            drop_path_rate=st.floats(0, 0.9),
            in_channels=st.integers(1, 6),
        ),
    ),
)
def test_valid_configs_build(leaf: Leaf, options: dict[str, Any]) -> None:
    assert parse(leaf.name) == leaf
    cfg = Config.fromstring(text(leaf, bases="mmvit::_base_"), ".py")
    cfg.model.backbone.update(options)
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        backbone = our_backbone(cfg.model)
        assert backbone is not None
        assert list(channel_faults(cfg.model, backbone)) == []
        assert list(class_faults(cfg.model, datasets_of(cfg, ("train",)))) == []
        with torch.device("meta"):
            model = MODELS.build(without_init(cfg.model))
    assert type(model.backbone).record.name == leaf.family
    assert model.backbone.out_channels == backbone.out_channels


@pytest.mark.parametrize(
    "arguments",
    [
        ["random", "--files", "200", "--seed", "4242"],
        pytest.param(["stock", "--every", "97"], marks=pytest.mark.slow),
        pytest.param(["swapped", "--every", "40"], marks=pytest.mark.slow),
    ],
    ids=lambda arguments: arguments[0],
)
def test_quick_form(arguments: list[str]) -> None:
    assert main(arguments) == 0
