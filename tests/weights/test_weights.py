"""Loading released files: every container and prefix, exactly, with a report, or not at all."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from families import FAMILIES, Family, released_state
from makers import each_family
from mmengine.model import PretrainedInit
from safetensors.torch import save_file
from states import refused, under

from mmvit.errors import CheckpointError
from mmvit.pyramid import Pyramid
from mmvit.weights.loading import fit_table, load_pretrained


def sources(family: Family, seed: int = 5) -> tuple[torch.nn.Module, dict[str, torch.Tensor]]:
    torch.manual_seed(seed)
    model = family.build()
    for value in model.state_dict().values():
        if value.is_floating_point():
            value.uniform_(0.5, 1.5)
    return model, released_state(family, model)


def assert_same(model: Pyramid, expected: Pyramid, only_released: bool = False) -> None:
    for name, value in expected.state_dict().items():
        if not (only_released and model.is_fresh(name)):
            assert torch.equal(model.state_dict()[name], value), name


WRAPPINGS: dict[str, Callable[[dict], dict]] = {
    "bare": lambda state: state,
    "state_dict": lambda state: {"state_dict": state, "epoch": 3, "arch": "x"},
    "model": lambda state: {"model": state, "args": None},
    "state_dict_ema": lambda state: {"state_dict_ema": state},
    "model_ema": lambda state: {"model_ema": state},
    "module.": lambda state: {"state_dict": under("module.", state)},
    "backbone.": lambda state: {"state_dict": under("backbone.", state)},
    "module.backbone.": lambda state: under("module.backbone.", state),
    "average first": lambda state: {"state_dict": {k: v + 1 for k, v in state.items()}, "state_dict_ema": state},
}


@each_family
@pytest.mark.parametrize("wrapping", WRAPPINGS)
def test_released_files_load(family: Family, write: Callable, wrapping: str) -> None:
    expected, state = sources(family)
    model = family.build(init_cfg=dict(type="Pretrained", checkpoint=str(write(WRAPPINGS[wrapping](state)))))
    model.init_weights()
    assert_same(model, expected, only_released=True)


@pytest.mark.parametrize("kind", [PretrainedInit, "mmengine.Pretrained", "mmengine.model.PretrainedInit"])
def test_the_type_may_be_a_class_or_have_a_scope(write: Callable, kind: type | str) -> None:
    """As pure-Python configs and their copies in work dirs have it; mmengine's own loader would skip every tensor here."""
    expected, state = sources(FAMILIES[0])
    model = FAMILIES[0].build(init_cfg=[dict(type=kind, checkpoint=str(write(under("backbone.", state))))])
    model.init_weights()
    assert_same(model, expected, only_released=True)


@each_family
def test_report_names_what_was_dropped(family: Family, write: Callable) -> None:
    expected, state = sources(family)
    report = load_pretrained(family.build(), write(state))
    assert set(report.loaded) | set(report.missing) == set(expected.state_dict())
    assert set(report.dropped) == set(family.classifier(expected))
    assert all(family.released(name) is None for name in report.missing)
    counts = f"{len(report.loaded)} tensors loaded, {len(report.dropped)} dropped, {len(report.missing)} missing"
    assert counts in str(report)
    for name in (*report.dropped, *report.missing):
        assert name in str(report)


@each_family
def test_own_files_and_safetensors_load(family: Family, tmp_path: Path, write: Callable) -> None:
    expected, state = sources(family)
    again = family.build()
    load_pretrained(again, write(expected.state_dict()))
    assert_same(again, expected)
    save_file({name: value.contiguous() for name, value in state.items()}, tmp_path / "file.safetensors")
    again = family.build()
    load_pretrained(again, tmp_path / "file.safetensors")
    assert_same(again, expected, only_released=True)


@each_family
def test_detectors_checkpoint_as_source(family: Family, write: Callable) -> None:
    expected, _ = sources(family)
    state = under("backbone.", expected.state_dict()) | {"neck.conv.weight": torch.zeros(2)}
    for prefix in (None, "backbone."):
        model = family.build()
        report = load_pretrained(model, write({"state_dict": state, "meta": {"epoch": 1}}), prefix=prefix)
        assert_same(model, expected)
        assert report.dropped == ("neck.conv.weight",)
    with pytest.raises(CheckpointError, match=r"no key starts with prefix='student\.'"):
        load_pretrained(family.build(), write(state), prefix="student.")


@each_family
def test_unbuilt_stages_are_dropped_by_name(family: Family, write: Callable) -> None:
    expected, state = sources(family)
    model = family.build(out_indices=(0, 1))
    report = load_pretrained(model, write(state))
    for name in report.loaded:
        assert torch.equal(model.state_dict()[name], expected.state_dict()[name])
    assert len(report.loaded) + len(report.dropped) == len(state)
    report = load_pretrained(model, write(expected.state_dict()))  # the same of a file of ours
    assert report.missing == ()
    assert_same(expected, model)


@each_family
@pytest.mark.parametrize("channels", [1, 4, 6])
def test_other_input_channels(family: Family, write: Callable, channels: int) -> None:
    expected, state = sources(family)
    model = family.build(in_channels=channels)
    report = load_pretrained(model, write(state))
    names = [name for name in model.record.input_tensors if name in expected.state_dict()]
    assert names
    assert {text.split()[0] for text in report.adapted} == set(names)
    convolution = next((name for name in names if expected.state_dict()[name].ndim == 4), None)
    if convolution:
        three, adapted = expected.state_dict()[convolution], model.state_dict()[convolution]
        if channels == 1:
            torch.testing.assert_close(adapted, three.sum(1, keepdim=True))
        else:
            torch.testing.assert_close(adapted[:, :3], three * 3 / channels)
    again = family.build(in_channels=channels)
    assert load_pretrained(again, write(model.state_dict())).adapted == ()  # its own fit as they are
    assert_same(model, again)


@pytest.mark.parametrize("dtype", [torch.int8, torch.bool, torch.complex64], ids=str)
def test_numbers_of_another_kind(write: Callable, dtype: torch.dtype) -> None:
    model = FAMILIES[0].build()
    with pytest.raises(CheckpointError, match=r"expected floating-point numbers, nothing was loaded: .*pos_embed \(torch\."):
        load_pretrained(model, write({name: value.to(dtype) for name, value in model.state_dict().items()}))


def test_float8_is_read_and_quantised_is_not(write: Callable) -> None:
    state = FAMILIES[0].build().state_dict()
    load_pretrained(FAMILIES[0].build(), write({name: value.to(torch.float8_e4m3fn) for name, value in state.items()}))
    name = next(name for name, value in state.items() if value.ndim == 4)
    quantised = torch.quantize_per_tensor(state[name], 0.1, 0, torch.qint8)
    with pytest.raises(CheckpointError, match=rf"{name} .* is torch\.qint8 on cpu; expected dense tensors"):
        load_pretrained(FAMILIES[0].build(), write(state | {name: quantised}))


@each_family
def test_twice_the_colours_give_the_same_maps(family: Family, write: Callable) -> None:
    torch.manual_seed(0)
    expected = family.build(**family.bare).eval()
    expected.init_weights()
    model = family.build(in_channels=6, **family.bare).eval()
    load_pretrained(model, write(released_state(family, expected)))
    image = torch.randn(1, 3, 64, 64)
    for one, two in zip(expected(image), model(image.repeat(1, 2, 1, 1)), strict=True):
        torch.testing.assert_close(two, one, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("family", [family for family in FAMILIES if family.bare], ids=lambda family: family.name)
def test_files_of_larger_images(family: Family, write: Callable) -> None:
    """The table of a file trained at 128 pixels: exact in a model that is told so, resized in one that is not."""
    torch.manual_seed(0)
    source = family.build(pretrain_img_size=128).eval()
    source.init_weights()
    table = next(value for name, value in source.state_dict().items() if name.endswith("pos_embed"))
    table.normal_()
    file = write(released_state(family, source))
    exact, resized = family.build(pretrain_img_size=128).eval(), family.build().eval()
    assert not any("pos_embed" in text for text in load_pretrained(exact, file).adapted)
    adapted = load_pretrained(resized, file).adapted
    assert [text.partition(" ")[0].rpartition(".")[2] for text in adapted] == ["pos_embed"]
    image = torch.randn(1, 3, 128, 128)
    assert torch.equal(exact(image)[3], source(image)[3])
    assert not torch.equal(resized(image)[3], source(image)[3])


def damaged(state: dict) -> dict[str, dict]:
    """By what is said of each."""
    first, last = next(iter(state)), [name for name in state if name.endswith("weight")][10]
    renamed = {"renamed.tensor" if name == list(state)[4] else name: value for name, value in state.items()}
    return {
        "missing in the file": {name: value for name, value in state.items() if name != last},
        "not in the model": {**state, "surprise.weight": torch.zeros(1)},
        r"1 missing in the file: .*\s+1 not in the model: renamed\.tensor": renamed,
        "of another shape": {**state, last: torch.zeros(3, 3, 3)},
        "0 tensors match": {f"{name}_unrelated": value for name, value in state.items()},
        "holds no tensors": {"epoch": 1},
        "another table": {**state, first: torch.zeros(1, 7, state[first].shape[-1])},
    }


@each_family
@pytest.mark.parametrize("damage", list(damaged({f"{i}.weight": torch.zeros(1) for i in range(12)})))
def test_what_does_not_fit_loads_nothing(family: Family, write: Callable, damage: str) -> None:
    _, state = sources(family)
    refused(write(damaged(state)[damage]), "" if damage == "another table" else damage, family)


@each_family
def test_another_archs_file_fails(family: Family, write: Callable) -> None:
    deeper = dict(family.tiny, depths=[depth + 1 for depth in family.tiny["depths"]])
    torch.manual_seed(0)
    state = released_state(family, family.build(deeper))
    with pytest.raises(CheckpointError, match="not in the model"):
        load_pretrained(family.build(), write(state))
    _, state = sources(family)
    with pytest.raises(CheckpointError, match="missing in the file"):
        load_pretrained(family.build(deeper), write(state))


@pytest.mark.parametrize(
    ("table", "target"),
    [
        ((1, 196, 8), (1, 49, 8)),
        ((1, 197, 8), (1, 49, 8)),
        ((1, 50, 8), (1, 49, 8)),
        ((1, 577, 8), (1, 197, 8)),
        ((1, 14, 14, 8), (1, 49, 8)),
        ((1, 14, 10, 8), (1, 49, 8)),
        ((1, 28, 28, 8), (1, 14, 14, 8)),
    ],
    ids=str,
)
def test_position_tables_of_other_sizes(table: tuple, target: tuple) -> None:
    ramp = torch.linspace(0, 1, 8)
    fitted = fit_table(ramp.expand(table), torch.zeros(target), "bilinear")
    torch.testing.assert_close(fitted, ramp.expand(target))


def test_position_tables_keep_their_direction() -> None:
    rows = torch.arange(4.0).reshape(1, 4, 1, 1).expand(1, 4, 6, 2)
    fitted = fit_table(rows, torch.zeros(1, 4, 2), "bilinear").reshape(2, 2, 2)
    assert (fitted[1] > fitted[0]).all()
    assert torch.equal(fitted[:, 0], fitted[:, 1])


@pytest.mark.parametrize(("table", "target"), [((1, 196, 8), (1, 197, 8)), ((1, 196, 6), (1, 49, 8)), ((1, 51, 8), (1, 49, 8))])
def test_tables_that_cannot_mean_the_same(table: tuple, target: tuple) -> None:
    assert fit_table(torch.zeros(table), torch.zeros(target), "bilinear") is None


def test_class_row_is_the_first() -> None:
    table = torch.cat([torch.full((1, 1, 4), 9.0), torch.zeros(1, 16, 4)], dim=1)
    assert not fit_table(table, torch.zeros(1, 16, 4), "bilinear").any()
    kept = fit_table(table, torch.zeros(1, 5, 4), "bicubic")
    assert kept[0, 0, 0] == 9
    assert not kept[:, 1:].any()


@each_family
def test_half_precision_files_load_into_float32(family: Family, write: Callable) -> None:
    expected, state = sources(family)
    model = family.build()
    load_pretrained(model, write({name: value.half() for name, value in state.items()}))
    for name, value in expected.state_dict().items():
        assert model.state_dict()[name].dtype == value.dtype
        if family.released(name) is None:
            continue
        torch.testing.assert_close(model.state_dict()[name], value, atol=2e-3, rtol=2e-3)
