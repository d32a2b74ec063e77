"""Containers and prefixes in any order, averages beside raw weights, and what is said where nothing fits."""

import argparse
import pathlib
import types
from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from families import Family
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from makers import each_family, needs_compiling
from states import BY_NAME, PVT, State, Write, released, under

from mmvit.errors import CheckpointError
from mmvit.weights.contents import read_contents
from mmvit.weights.layouts import layout_of
from mmvit.weights.loading import load_pretrained


def loads(file: Path, state: State, family: Family = PVT, **options: str) -> str:
    """Loads it and returns the report, if the tensors are those of `state`."""
    model = family.build()
    report = load_pretrained(model, file, **options)
    for name, value in state.items():
        ours = model.record.our_name(name)
        assert (
            ours not in model.state_dict()
            or model.state_dict()[ours].shape != value.shape
            or torch.equal(model.state_dict()[ours], value)
        )
    return str(report)


WRAPS: dict[str, Callable[[State], State]] = {
    "container": lambda state: {"state_dict": state, "epoch": 3},
    "model": lambda state: {"model": state, "lr": 0.1},
    "network": lambda state: {"network": OrderedDict(state)},
    **{
        prefix: partial(under, prefix) for prefix in ("module.", "_orig_mod.", "model.", "encoder.", "backbone.", "my_own_net.")
    },
}


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(order=st.lists(st.sampled_from(sorted(WRAPS)), max_size=4))
def test_any_nesting(tmp_path: Path, order: list[str]) -> None:
    state = content = released()
    for name in order:
        content = WRAPS[name](content)
    if all(not isinstance(value, dict) for value in content.values()):
        content = {**content, "decode_head.conv_seg.bias": torch.ones(3)} if order and order[-1] == "backbone." else content
    torch.save(content, tmp_path / "file.pth")
    loads(tmp_path / "file.pth", state)


@each_family
@needs_compiling
def test_lightning_and_compiled_ddp(family: Family, write: Write) -> None:
    state = released(family)
    wrapped = under("model._orig_mod.module.backbone.", state)
    file = write({"state_dict": wrapped, "pytorch-lightning_version": "2.4", "hyper_parameters": {"lr": 1.0}, "loops": {}})
    assert "prefix='state_dict.model._orig_mod.module.backbone.'" in loads(file, state, family)


def test_settings_of_training_scripts(write: Write) -> None:
    """The authors' scripts save `args`; what is read of it is nothing."""
    state = released()
    extra = argparse.Namespace(lr=0.1, output_dir=pathlib.PurePosixPath("/runs"), nested=types.SimpleNamespace(a=[1]))
    file = write({"model": state, "optimizer": {"state": {0: {"exp_avg": torch.ones(3)}}}, "epoch": 299, "args": extra})
    loads(file, state)
    torch.save({"model": state, "args": extra}, file, _use_new_zipfile_serialization=False)
    loads(file, state)
    file.write_bytes(file.read_bytes().replace(b"cpathlib\n", b"cpathlib._local\n"))  # Python 3.13's name
    loads(file, state)


AVERAGES = [
    ("model_ema", "model"),
    ("state_dict_ema", "state_dict"),
    ("teacher", "student"),
    ("ema_model.module", "model.module"),
    ("averaged_model", "model"),
]


@pytest.mark.parametrize(("average", "raw"), AVERAGES)
@pytest.mark.parametrize("first", [True, False])
def test_averages_beside_raw_weights(write: Write, average: str, raw: str, first: bool) -> None:
    averaged, other = released(seed=1), released(seed=2)
    parts = [(average, averaged), (raw, other)]
    content: State = {}
    for name, state in parts if first else parts[::-1]:
        content |= under(f"{name}.", state) if "." in name else {name: state}
    file = write(content)
    told = loads(file, averaged)
    assert f"took the averaged weights under '{average}.'; the others are there with prefix='{raw}.'" in told
    loads(file, other, prefix=f"{raw}.")
    loads(file, averaged, prefix=f"{average}.")


def test_averages_of_mmengine(write: Write) -> None:
    """Its hook exchanges the two as it saves: `state_dict` is the average."""
    averaged, raw = released(seed=1), released(seed=2)
    file = write({"state_dict": averaged, "ema_state_dict": under("module.", raw) | {"steps": torch.ones(1)}})
    assert "took the averaged weights under 'state_dict.'" in loads(file, averaged)
    loads(file, raw, prefix="ema_state_dict.")
    other = write({"state_dict": raw, "ema_state_dict": averaged})  # of another library, without mmengine's count of steps
    assert "took the averaged weights under 'ema_state_dict.'" in loads(other, averaged)


def test_the_same_weights_twice(write: Write) -> None:
    state = released()
    loads(write({"model": state, "copy": {name: value.clone() for name, value in state.items()}}), state)


def test_two_different_networks(write: Write) -> None:
    file = write({"first": released(seed=1), "second": released(seed=2)})
    with pytest.raises(
        CheckpointError, match=r"different weights of this network under 'first\.' and under 'second\.'.*prefix='first\.'"
    ):
        load_pretrained(PVT.build(), file)
    loads(file, released(seed=2), prefix="second.")


def test_a_student_beside_its_teacher(write: Write) -> None:
    """A teacher of the same widths has all of its student's names and shapes, and more blocks."""
    student, larger = (PVT.build(dict(PVT.tiny, depths=depths)) for depths in ((1, 1, 1, 1), (1, 1, 2, 1)))
    for model in (student, larger):
        model.init_weights()
    for names in (("student", "teacher"), ("small", "big")):
        file = write(under(f"{names[0]}.", student.state_dict()) | under(f"{names[1]}.", larger.state_dict()))
        model = PVT.build(dict(PVT.tiny, depths=(1, 1, 1, 1)))
        load_pretrained(model, file)
        assert all(torch.equal(value, student.state_dict()[name]) for name, value in model.state_dict().items())
        with pytest.raises(CheckpointError, match=f"different weights of this network under '{names[0]}.' and under"):
            load_pretrained(PVT.build(dict(PVT.tiny, depths=(1, 1, 1, 1)), out_indices=(0, 1)), file)


def test_files_without_counters(write: Write) -> None:
    """Frozen batch norms, as of transformers, keep no number of batches; averages may have none beside raw weights."""
    family = BY_NAME["VAN"]
    averaged, raw = (released(family, seed=seed) for seed in (1, 2))
    averaged = {name: value for name, value in averaged.items() if "num_batches" not in name}
    loads(write(averaged), averaged, family)
    assert "took the averaged weights" in loads(write({"state_dict": raw, "state_dict_ema": averaged}), averaged, family)


def test_the_nearest_arch_is_named(write: Write) -> None:
    """Computed from the tables: the file of another arch, and of another family."""
    file = write({"model": under("module.", BY_NAME["PVTv2"].build("b1").state_dict())})
    with pytest.raises(CheckpointError) as raised:
        load_pretrained(BY_NAME["PVTv2"].build("b0"), file)
    assert "its names and shapes fit pvt_v2_b1 best: 176 of its 176 tensors" in str(raised.value)
    assert "model.module. (176)" in str(raised.value)
    assert "prefix='...'" in str(raised.value)
    with pytest.raises(CheckpointError, match="fit pvt_v2_b1 best"):
        load_pretrained(PVT.build(), file)


# Files that mean harm


def test_dicts_that_hold_themselves(write: Write) -> None:
    state = released()
    content: State = {"state_dict": state}
    content["again"] = content
    content["state_dict"]["inner"] = content
    loads(write(content), {name: value for name, value in state.items() if name != "inner"})


def test_deep_and_wide_names(write: Write) -> None:
    deep: State = {}
    inner = deep
    for _ in range(60):
        inner["x"] = {"weight": torch.ones(1)}
        inner = inner["x"]
    names = {"." * 3000 + "weight": torch.ones(1), "a." * 50_000 + "block1.0.norm1.weight": torch.ones(1), "": torch.ones(1)}
    for content in (deep, names):
        with pytest.raises(CheckpointError, match="does not fit the PVT backbone"):
            load_pretrained(PVT.build(), write(content))


def test_numbers_in_names(write: Write) -> None:
    """Numbers of blocks that no network has are names like others, and the largest ones no numbers."""
    state = {f"layers.0.1.{number}.norm1.weight": torch.ones(8) for number in ("0", "99999999999999999999", "٣", "-1")}
    file = write({**state, "layers.0.0.projection.weight": torch.ones(8, 3, 4, 4)})
    with pytest.raises(CheckpointError, match="does not fit the PVT backbone"):
        load_pretrained(PVT.build(), file)


@pytest.mark.parametrize("rows", [7, 25])
def test_tensors_that_cannot_be_cut(write: Write, rows: int) -> None:
    """mmdet's queries, keys and values in one tensor whose rows are no three equal parts, or another network's."""
    model = PVT.build()
    theirs = dict(layout_of("pvt", "mmdet").from_ours(model.state_dict()).tensors)
    theirs["layers.0.1.1.attn.attn.in_proj_weight"] = torch.ones(rows, 8)
    with pytest.raises(CheckpointError, match=f"{rows} rows in 3 equal parts"):
        load_pretrained(model, write(theirs))
    theirs["layers.0.1.1.attn.attn.in_proj_weight"] = torch.tensor(1.0)
    with pytest.raises(CheckpointError, match=r"\(\) cannot be concatenated"):
        load_pretrained(model, write(theirs))


def test_halves_of_a_pair(write: Write) -> None:
    """A key without its value is no tensor of ours."""
    model = BY_NAME["PVTv2"].build()
    theirs = dict(layout_of("pvt_v2", "huggingface").from_ours(model.state_dict()).tensors)
    del theirs["layers.0.blocks.0.attention.value.weight"]
    with pytest.raises(CheckpointError, match=r"1 missing in the file: stages\.0\.blocks\.0\.attn\.kv\.weight") as raised:
        load_pretrained(model, write(theirs))
    assert "layers.0.blocks.0.attention.key.weight" in str(raised.value)


def test_what_holds_no_tensors(write: Write) -> None:
    with pytest.raises(CheckpointError, match=r"It holds epoch \(int\), state_dict \(dict\)"):
        read_contents(write({"epoch": 1, "state_dict": {}}))
    with pytest.raises(CheckpointError, match="holds a list"):
        read_contents(write([1, 2]))
