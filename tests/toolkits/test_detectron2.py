"""`mmvit.detectron2.PyramidBackbone` against detectron2's interface, written down here: no package index has detectron2."""

import sys
from abc import ABCMeta, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from types import ModuleType

import pytest
import torch
from torch import nn

from mmvit import InputError
from mmvit.zoo import create


class Backbone(nn.Module, metaclass=ABCMeta):
    """What its feature pyramid and detectors call of a backbone."""

    @abstractmethod
    def forward(self): ...

    @property
    def size_divisibility(self) -> int:
        return 0

    @abstractmethod
    def output_shape(self): ...


@dataclass
class ShapeSpec:
    channels: int | None = None
    height: int | None = None
    width: int | None = None
    stride: int | None = None


def interface(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `import detectron2` find the interface above."""
    parts = {
        "detectron2": {},
        "layers": dict(ShapeSpec=ShapeSpec),
        "modeling": {},
        "modeling.backbone": dict(Backbone=Backbone),
    }
    for name, content in parts.items():
        module = ModuleType(name if name == "detectron2" else f"detectron2.{name}")
        module.__path__ = []
        vars(module).update(content)
        monkeypatch.setitem(sys.modules, module.__name__, module)


@pytest.fixture
def kind(monkeypatch: pytest.MonkeyPatch) -> Iterator[type]:
    """The class, imported while `detectron2` is that interface."""
    interface(monkeypatch)
    yield import_module("mmvit.detectron2").PyramidBackbone
    del sys.modules["mmvit.detectron2"]


def test_maps_and_their_shapes(kind: type) -> None:
    backbone = kind("van_b0", ("res3", "res4", "res5"), in_channels=4).eval()
    assert isinstance(backbone, Backbone)
    images = torch.rand(2, 4, 64, 96)
    with torch.no_grad():
        maps = backbone(images)
    shapes = backbone.output_shape()
    assert list(maps) == list(shapes) == ["res3", "res4", "res5"]
    assert shapes["res4"] == ShapeSpec(channels=160, stride=16)
    for name, level in maps.items():
        assert level.shape == (2, shapes[name].channels, 64 // shapes[name].stride, 96 // shapes[name].stride)
    plain = create("van_b0", out_indices=(1, 2, 3), in_channels=4).eval()
    plain.load_state_dict(backbone.body.state_dict())
    with torch.no_grad():
        assert all(torch.equal(one, other) for one, other in zip(maps.values(), plain(images), strict=True))


def test_weights_and_all_maps_by_default(kind: type, tmp_path) -> None:
    trained = create("pvt_v2_b0")
    torch.save(trained.state_dict(), tmp_path / "own.pth")
    backbone = kind("pvt_v2_b0", checkpoint=tmp_path / "own.pth")
    assert [shape.stride for shape in backbone.output_shape().values()] == [4, 8, 16, 32]
    torch.testing.assert_close(backbone.body.state_dict(), trained.state_dict(), rtol=0, atol=0)


@pytest.mark.parametrize("features", [("res2", "res6"), ("res5", "res2")])
def test_maps_that_are_not(kind: type, features: tuple[str, ...]) -> None:
    with pytest.raises(InputError, match="expected a rising choice"):
        kind("van_b0", features)
