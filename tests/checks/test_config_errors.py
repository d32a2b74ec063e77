"""Configs that cannot train: each is refused before anything is built, with one message that has the key and what to write."""

import copy
import inspect
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from families import Family
from makers import each_family
from mmengine.registry import MODELS
from small_datasets import refusal

from mmvit.backbones import PVT, VOLO, T2TViT
from mmvit.commands.training import training
from mmvit.errors import InputError


@each_family
def test_a_forgotten_delete(family: Family) -> None:
    """mmdet's and mmseg's ResNet is what most configs start from."""
    resnet = dict(depth=50, num_stages=4, style="pytorch", dilations=(1, 1, 2, 4), norm_eval=True, frozen_stages=1)
    told = refusal(lambda: family.build(**resnet))
    assert told.startswith(f"{family.name} has no option depth=50, num_stages=4, style='pytorch', dilations=(1, 1, 2, 4);")
    assert "other backbones have depth, num_stages, style, dilations: where a base config's was merged" in told
    assert f"write backbone=dict(_delete_=True, type='mmvit.{family.name}', ...)" in told
    assert "its options are arch, " in told


@each_family
@pytest.mark.parametrize(
    ("wrong", "right"), [("drop_path", "drop_path_rate"), ("frozen_stage", "frozen_stages"), ("out_indice", "out_indices")]
)
def test_misspelt_options(family: Family, wrong: str, right: str) -> None:
    told = refusal(lambda: family.build(**{wrong: 1}))
    assert f"{family.name} has no option {wrong}=1; instead of {wrong} did you mean {right}?" in told
    assert "_delete_" not in told


def test_names_are_looked_at_before_values() -> None:
    """mmseg's ResNets have strides, which VOLO has too and cannot take: it is the merge that went wrong."""
    with pytest.raises(InputError, match="_delete_=True"):
        VOLO("d1", strides=(1, 2, 1, 1), dilations=(1, 1, 2, 4))
    with pytest.raises(InputError, match="PVT has no option strides"):
        PVT("tiny", strides=(4, 8, 16, 16))


@each_family
def test_misspelt_archs(family: Family) -> None:
    name = next(iter(family.archs))
    for wrong in (f"{name}_", f"-{name}", 9000, None, [name]):
        told = refusal(family.kind, wrong)
        assert ", ".join(family.archs) in told
        assert repr(wrong) in told
    assert f"set of sizes; did you mean {name}?" in refusal(family.build, f"{name}_")


def test_archs_that_the_command_line_makes_numbers() -> None:
    with torch.device("meta"):
        assert T2TViT(14).out_channels == T2TViT("14").out_channels


@pytest.mark.parametrize(
    "options",
    [
        dict(out_indices=4),
        dict(out_indices="0123"),
        dict(out_indices=(0, "1")),
        dict(out_indices=[3, 2]),
        dict(frozen_stages="1"),
        dict(frozen_stages=None),
    ],
    ids=str,
)
@each_family
def test_values_of_other_types(family: Family, options: dict[str, Any]) -> None:
    (key,) = options
    with pytest.raises(InputError, match=rf"{key}=.*: expected "):
        family.build(**options)


@each_family
@pytest.mark.parametrize("annotation", [inspect.Parameter.empty, Any, dict[str, int], "Any"], ids=str)
def test_checks_leave_the_classes_as_they_are(family: Family, annotation: Any) -> None:
    """Signature, copies, subclasses: what reads or builds a backbone in another way than a call."""
    assert next(iter(inspect.signature(family.kind).parameters)) == "arch"
    assert inspect.signature(family.kind) == inspect.signature(family.kind.__init__).replace(
        parameters=list(inspect.signature(family.kind.__init__).parameters.values())[1:]
    )
    model = family.build()
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert other.out_channels == model.out_channels

    class Users(family.kind):
        def __init__(self, extra: int, **options: Any) -> None:
            super().__init__(family.tiny, **options)
            self.extra = extra

    Users.__init__.__annotations__["options"] = annotation
    assert Users(extra=1, out_indices=(1,)).out_indices == (1,)
    with pytest.raises(TypeError, match="depth"):
        Users(extra=1, depth=50)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    assert not (tmp_path / "work_dirs").exists(), "refused before anything is built"


@pytest.mark.stack
@pytest.mark.parametrize(
    ("base", "backbone", "told"),
    [
        (
            "mmdet::_base_/models/retinanet_r50_fpn.py",
            "type='mmvit.PVT', arch='small'",
            "model.backbone: PVT has no option depth=50, num_stages=4, norm_cfg={'type': 'BN', 'requires_grad': True}, "
            "style='pytorch'; other backbones have",
        ),
        (
            "mmdet::_base_/models/retinanet_r50_fpn.py",
            "_delete_=True, type='mmvit.PVT'",
            "model.backbone: PVT.__init__() missing 1 required positional argument: 'arch'",
        ),
        (
            "mmdet::_base_/models/retinanet_r50_fpn.py",
            "_delete_=True, type='mmvit.PTV', arch='tiny'",
            "model.backbone.type: there is no mmvit.PTV; did you mean mmvit.PVT",
        ),
        (
            "mmseg::_base_/models/upernet_r50.py",
            "_delete_=True, type='mmvit.VAN', arch='b0'",
            "model.auxiliary_head.in_channels is 1024, but what comes before it gives 160",
        ),
    ],
    ids=lambda value: value[:40],
)
def test_train_refuses(here: Path, capsys: pytest.CaptureFixture, base: str, backbone: str, told: str) -> None:
    """Whole commands, with users' own configs on the bases of both packages."""
    (here / "own.py").write_text(
        f"_base_ = ['{base}', 'mmdet::_base_/default_runtime.py', 'mmdet::_base_/datasets/coco_detection.py']\n"
        f"default_scope = '{base[:5]}'\n"
        f"model = dict(backbone=dict({backbone}))\n"
    )
    assert training(["own.py"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert told in said
    assert "Traceback" not in said


@pytest.mark.stack
def test_registries_tell_the_message_as_it_is() -> None:
    import mmdet.registry
    import mmseg.registry

    for registry in (MODELS, mmdet.registry.MODELS, mmseg.registry.MODELS):
        with pytest.raises(InputError, match=r"^PVT has no option depth=50; "):
            registry.build(dict(type="mmvit.PVT", arch="tiny", depth=50))
