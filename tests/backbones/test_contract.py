"""What every backbone promises, over every family: all archs on the meta device, tiny copies for behaviour."""

import copy
import json
from math import ceil
from pathlib import Path

import pytest
import torch
from families import BY_NAME, FAMILIES, Family, idle, images
from golden import recipe
from makers import each_family, tiers
from torch.nn.modules.batchnorm import _BatchNorm

ARCHS = [(family, arch) for family in FAMILIES for arch in family.archs]
FOLDER = Path(__file__).parent.parent / "golden"
SIZES = [(32, 32), (64, 96), (50, 33), (65, 130), (448, 64)]


@pytest.mark.parametrize(
    "model", tiers(ARCHS, lambda model: model[1] == model[0].kind.record.small, lambda model: f"{model[0].name}-{model[1]}")
)
def test_arch_keeps_its_promises(model: tuple[Family, str]) -> None:
    family, arch = model
    with torch.device("meta"):
        model = family.build(arch)
        maps = model(torch.empty(2, 3, 224, 250))
    sum(feature_map.mean() for feature_map in maps).backward()
    assert [name for name, parameter in model.named_parameters() if parameter.grad is None] == []
    assert model.out_strides == (4, 8, 16, 32)
    for feature_map, channels, stride in zip(maps, model.out_channels, model.out_strides, strict=True):
        assert feature_map.shape == (2, channels, ceil(224 / stride), ceil(250 / stride))


@pytest.mark.parametrize(("family", "arch"), ARCHS, ids=lambda part: getattr(part, "name", part))
def test_tensors_are_those_of_the_released_files(family: Family, arch: str) -> None:
    """Names, shapes and number of parameters: `golden/released.json` was made from the authors' code, classifiers apart."""
    with torch.device("meta"):
        state = family.build(arch, **family.bare).state_dict()
    released = {family.released(name): list(value.shape) for name, value in state.items() if family.released(name)}
    if "pos_embed4" in released:  # PVT's, which has the class token's row there
        released["pos_embed4"][1] += 1
    expected = json.loads((FOLDER / "released.json").read_text())[f"{family.kind.record.name}_{arch}"]
    assert recipe.released(released) == expected


@each_family
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_any_size(family: Family, size: tuple[int, int]) -> None:
    model = family.initialised()
    for feature_map, channels, stride in zip(model(images(*size)), model.out_channels, model.out_strides, strict=True):
        assert feature_map.shape == (2, channels, ceil(size[0] / stride), ceil(size[1] / stride))
        assert feature_map.isfinite().all()


@each_family
def test_wide_is_not_tall(family: Family) -> None:
    """Rows and columns are told apart: the transposed image does not give the transposed maps."""
    model = family.initialised().eval()
    wide = images(64, 160)
    for from_wide, from_tall in zip(model(wide), model(wide.transpose(2, 3)), strict=True):
        assert from_wide.shape == from_tall.transpose(2, 3).shape
        assert not torch.allclose(from_wide, from_tall.transpose(2, 3), atol=1e-3)


@each_family
def test_images_of_a_batch_do_not_mix(family: Family) -> None:
    model = family.build().eval()
    batch = images(64, 96, batch=3)
    torch.testing.assert_close([together[1:2] for together in model(batch)], model(batch[1:2]), atol=1e-5, rtol=1e-4)


@each_family
@pytest.mark.parametrize("bad", [(2, 4, 64, 64), (2, 3, 31, 64), (2, 3, 64, 31), (3, 64, 64)], ids=str)
def test_bad_images_are_refused(family: Family, bad: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="takes images"):
        family.build()(torch.zeros(bad))


@each_family
@pytest.mark.parametrize(
    "options",
    [
        dict(arch="giant"),
        dict(arch=dict(depths=[1])),
        dict(out_indices=()),
        dict(out_indices=(1, 0)),
        dict(out_indices=(4,)),
        dict(frozen_stages=5),
        dict(drop_path_rate=30),
    ],
    ids=str,
)
def test_bad_options_are_refused(family: Family, options: dict) -> None:
    with pytest.raises(ValueError, match=r"arch|sizes|out_indices|frozen_stages|drop_path_rate"):
        family.build(**options)


@each_family
@pytest.mark.parametrize("out_indices", [(0,), (2,), (1, 3), (0, 1, 2), (3,)], ids=str)
def test_out_indices(family: Family, out_indices: tuple[int, ...]) -> None:
    full, part = family.build().eval(), family.build(out_indices=list(out_indices)).eval()
    assert part.out_indices == out_indices
    assert part.out_channels == tuple(full.out_channels[level] for level in out_indices)
    assert part.out_strides == tuple(full.out_strides[level] for level in out_indices)
    part.load_state_dict({name: value for name, value in full.state_dict().items() if name in part.state_dict()})
    everything = full(images(64, 96))
    torch.testing.assert_close(part(images(64, 96)), [everything[level] for level in out_indices])
    sum(feature_map.sum() for feature_map in part(images(64, 96))).backward()
    assert [name for name, parameter in part.named_parameters() if parameter.grad is None] == []


@each_family
def test_every_parameter_learns(family: Family) -> None:
    model = family.initialised()
    sum((feature_map**2).mean() for feature_map in model(images(64, 96))).backward()
    assert idle(model) == []


@each_family
def test_padding_does_not_outweigh_the_image(family: Family) -> None:
    """Clipping by the norm of all gradients would else leave nothing of those that the image gives."""
    model = family.initialised()
    image = images(128, 128)

    def largest() -> float:
        model.zero_grad()
        sum((maps * images(*maps.shape[2:], 2, maps.shape[1])).mean() for maps in model(image)).backward()
        return max(parameter.grad.norm().item() for parameter in model.parameters())

    whole = largest()
    image[..., 96:] = 0
    assert largest() < 10 * whole


@each_family
@pytest.mark.parametrize("frozen_stages", [-1, 0, 1, 2, 4])
def test_frozen_stages(family: Family, frozen_stages: int) -> None:
    model = family.initialised(frozen_stages=frozen_stages, drop_path_rate=0.5).train()
    frozen = {
        id(parameter)
        for stage in range(max(frozen_stages, 0))
        for part in model.stage_parts(stage)
        for parameter in part.parameters()
    }
    assert bool(frozen) == (frozen_stages > 0)
    for name, parameter in model.named_parameters():
        assert parameter.requires_grad == (id(parameter) not in frozen), name
    for stage in range(4):
        for part in model.stage_parts(stage):
            assert all(module.training == (stage >= frozen_stages) for module in part.modules())
    maps = model(images(64, 64))
    learning = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    if frozen_stages == 4:
        assert all(model.is_fresh(name) for name in learning)
    loss = sum(feature_map.sum() for feature_map in maps)
    assert loss.requires_grad == bool(learning)
    if learning:
        loss.backward()
    assert [name for name in learning if model.get_parameter(name).grad is None] == []


@each_family
def test_frozen_and_held_as_built(family: Family) -> None:
    """Loops that never call `train` get the same: a new module is in training mode."""
    model = family.build(frozen_stages=2, norm_eval=True)
    frozen = [module for part in model.frozen_parts() for module in part.modules()]
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm)]
    assert not any(module.training for module in (*frozen, *norms))
    assert model.training
    assert all(module.training for part in model.stage_parts(2) for module in part.modules() if module not in norms)


@each_family
def test_norm_eval_holds_batch_norms(family: Family) -> None:
    model = family.build(norm_eval=True).train()
    assert model.training
    assert not any(module.training for module in model.modules() if isinstance(module, _BatchNorm))


@each_family
def test_checkpointing_changes_memory_only(family: Family) -> None:
    plain = family.initialised(drop_path_rate=0.5)
    saving = family.build(drop_path_rate=0.5, with_cp=True)
    saving.load_state_dict(plain.state_dict())
    kept = []
    for model in (plain, saving):
        model.train()
        torch.manual_seed(1)
        count = 0

        def note(tensor: torch.Tensor) -> torch.Tensor:
            nonlocal count
            count += tensor.numel()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            loss = sum((feature_map**2).mean() for feature_map in model(images(64, 96)))
        kept.append(count)
        loss.backward()
    for (name, one), other in zip(plain.named_parameters(), saving.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, msg=name)
    for (name, one), other in zip(plain.named_buffers(), saving.buffers(), strict=True):
        torch.testing.assert_close(one, other, msg=name)  # the statistics of batch norms
    assert all(module.momentum == 0.1 for module in saving.modules() if isinstance(module, _BatchNorm))
    assert kept[1] < 0.5 * kept[0]


@each_family
def test_input_channels(family: Family) -> None:
    model = family.build(in_channels=4)
    assert model(images(64, 64, channels=4))[0].shape[1] == model.out_channels[0]


@each_family
def test_state_dict_round_trip_and_copy(family: Family) -> None:
    model, other = family.initialised().eval(), family.build().eval()
    other.load_state_dict(copy.deepcopy(model).state_dict())
    torch.testing.assert_close(other(images(64, 64)), model(images(64, 64)))


@each_family
def test_built_without_touching_the_random_state_of_others(family: Family) -> None:
    """The meta device has no numbers to draw: a constructor that computes with tensors fails there."""
    with torch.device("meta"):
        family.build(drop_path_rate=0.3, frozen_stages=2, out_indices=(1, 2))


@each_family
def test_init_weights_is_reproducible(family: Family) -> None:
    first, second = (dict(family.initialised().named_parameters()) for _ in range(2))
    torch.testing.assert_close(first, second, rtol=0, atol=0)


@pytest.mark.parametrize("kind", ["SyncBN", torch.nn.SyncBatchNorm])
def test_norm_cfg_reaches_the_batch_norms(kind: str | type) -> None:
    """A pure-Python config has the class."""
    van = BY_NAME["VAN"]
    kinds = {type(module) for module in van.build(norm_cfg=dict(type=kind)).modules() if isinstance(module, _BatchNorm)}
    assert kinds == {torch.nn.SyncBatchNorm}
    frozen = van.build(norm_cfg=dict(type="BN", requires_grad=False, eps=1e-3))
    norms = [module for module in frozen.modules() if isinstance(module, _BatchNorm)]
    assert norms
    assert all(norm.eps == 1e-3 and not norm.weight.requires_grad for norm in norms)
    with pytest.raises(ValueError, match="norm_cfg type 'GN'"):
        van.build(norm_cfg=dict(type="GN"))


def test_layer_scales_start_small() -> None:
    scales = [value for name, value in BY_NAME["VAN"].initialised().named_parameters() if "layer_scale" in name]
    assert len(scales) == 2 * 5
    assert all((scale == 1e-2).all() for scale in scales)


@each_family
def test_contiguous_maps_are_the_same(family: Family) -> None:
    """For heads that take channels apart with `view`."""
    torch.manual_seed(0)
    model = family.build(contiguous_maps=True).eval()
    maps = model(images(64, 96))
    assert all(feature_map.is_contiguous() for feature_map in maps)
    model.contiguous_maps = False
    torch.testing.assert_close(maps, model(images(64, 96)), rtol=0, atol=0)
