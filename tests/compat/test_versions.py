"""Differences between versions and systems: each form, also those that this version of torch does not need."""

import io
import pickle
import sys
from collections import Counter, OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
from makers import Planted, run_python
from mmengine.logging import HistoryBuffer
from torch import Tensor

from mmvit.compat import systems, unpickling, versions
from mmvit.compat.checkpoints import allowed
from mmvit.errors import InputError
from mmvit.predict.sessions import open_session


def test_a_feature_of_a_later_version_names_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert versions.lacking((2, 9)) == []
    assert "mmvit export of a detector or segmenter (torch 2.9)" in versions.lacking((2, 8))
    versions.require(versions.HEADS) if versions.TORCH >= (2, 9) else None
    (file := tmp_path / "program.pt2").touch()
    monkeypatch.setattr(versions, "TORCH", (2, 8))
    versions.require(versions.EXPORTING)
    with pytest.raises(InputError, match=r"detector or segmenter: not in torch .*needs torch 2\.9 or later: pip install"):
        versions.require(versions.HEADS)
    with pytest.raises(InputError, match=r"\.pt2 files: not in torch .*needs torch 2\.9 or later"):
        open_session(file, "cpu")


@pytest.mark.skipif(versions.TORCH < (2, 7), reason="nothing tells compiled from exported programs")
def test_compiled_programs_are_not_exported_ones() -> None:
    class Asks(torch.nn.Module):
        def forward(self, given: Tensor) -> Tensor:
            return given + (10 if versions.is_exporting() else 0) + (1 if versions.is_compiling() else 0)

    asks, zero = Asks(), torch.zeros(1)
    assert asks(zero) == 0
    assert torch.compile(asks, backend="eager", fullgraph=True)(zero) == 1
    assert torch.export.export(asks, (zero,)).module()(zero) == 11


def test_a_plain_operator_computes_and_differentiates() -> None:
    tripled = versions.PlainOperator(lambda given, factor: given * factor)
    assert tripled(2.0, 3) == 6

    def keep(ctx: Any, inputs: tuple, output: Tensor) -> None:
        ctx.factor = inputs[1]

    tripled.register_autograd(lambda ctx, gradient: (gradient * ctx.factor * 100, None), setup_context=keep)
    given = torch.ones(2, requires_grad=True)
    found = tripled(given, 3)
    found.sum().backward()
    assert found.tolist() == [3, 3]
    assert given.grad.tolist() == [300, 300]


@pytest.fixture
def ours(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Our unpickler with mmengine's classes, and torch's in its place afterwards."""
    monkeypatch.setattr(torch.serialization, "_weights_only_unpickler", torch._weights_only_unpickler)
    with unpickling.safe_globals(allowed()):
        yield lambda content: unpickling.load(io.BytesIO(content if isinstance(content, bytes) else pickle.dumps(content, 2)))


def test_our_unpickler_reads_what_mmengine_writes(ours: Any) -> None:
    history = HistoryBuffer()
    history.update(3.0)
    read = ours({"a": [1, (2, 3.5), "x", None, True, b"y"], "state": OrderedDict(b=2), "history": history})
    assert read["a"] == [1, (2, 3.5), "x", None, True, b"y"]
    assert read["state"] == OrderedDict(b=2)
    assert read["history"].max() == 3.0


def test_our_unpickler_reads_what_later_versions_allow(ours: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """As every checkpoint of a training with milestones needs."""
    monkeypatch.setattr(torch._weights_only_unpickler, "_get_allowed_globals", dict)  # torch 2.1 has none of these
    content = [Counter([8, 8, 11]), {1}, 2j, torch.device("cpu"), torch.bfloat16]
    assert ours(content) == content


@pytest.mark.parametrize("kind", ["call", "state", "class", "protocol", "attribute of a class"])
def test_our_unpickler_refuses_the_rest(kind: str, ours: Any, tmp_path: Path) -> None:
    target = tmp_path / "planted"
    hostile: dict[str, Any] = {
        "call": Planted(target),
        "state": OrderedDict(x=[Planted(target)]),
        "class": InputError("x"),
        "protocol": pickle.dumps({"a": {1}}, 4),
        "attribute of a class": b"\x80\x02ccollections\nOrderedDict\n}U\x01xK\x01sb.",
    }
    with pytest.raises((pickle.UnpicklingError, ValueError)):
        ours(hostile[kind])
    assert not target.exists()


@pytest.mark.parametrize(("fallback", "device"), [("1", "mps"), ("0", "cpu")])
def test_an_apple_gpu_is_taken_where_the_cpu_stands_in(fallback: str, device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setenv(systems.FALLBACK, fallback)
    assert systems.fastest_device() == device


@pytest.mark.skipif(sys.platform != "linux", reason="Linux counts what the starter had")
def test_peak_memory_is_that_of_this_process() -> None:
    """These tests have loaded torch, and the process that they start has not."""
    code = "from mmvit.compat.systems import peak_memory; print(peak_memory())"
    assert float(run_python("-c", code).stdout) < 150 < (systems.peak_memory() or 0)


def test_claims_are_checked_before_a_storage_is_handed_out() -> None:
    """By the unpickler that torch before 2.12 is given; this one's own is the same class."""
    unpickler = unpickling._Sized(io.BytesIO(b""))
    unpickler.persistent_load = lambda named: named[2]
    fits, beyond = (("storage", torch.FloatStorage, "0", "cpu", count) for count in (2, 3))
    before = unpickling.SIZES.set({"0": 8})
    try:
        assert unpickler.persistent_load(fits) == "0"
        with pytest.raises(ValueError, match="claims 12 bytes, of which the file has 8"):
            unpickler.persistent_load(beyond)
    finally:
        unpickling.SIZES.reset(before)
