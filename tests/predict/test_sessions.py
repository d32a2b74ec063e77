"""How an opened file computes: precision, threads. What a runtime cannot do is refused by name."""

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO, TextIOWrapper
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from mmvit import InputError
from mmvit.__main__ import main
from mmvit.compat.systems import CHILD_ENDED, inference_core
from mmvit.export.integers import save_openvino
from mmvit.predict import sessions
from mmvit.predict.sessions import FIELD, open_session

BACKBONE = dict(kind="backbone", inputs=["x"], size=None, batch=1)


def metadata(precision: str) -> str:
    return json.dumps({**BACKBONE, "precision": precision, "classes": ["Straße", "猫"]})


def write_openvino(file: Path, side: int = 8, products: int = 1) -> Path:
    """A file whose one input is a square matrix, multiplied with itself so many times."""
    openvino = pytest.importorskip("openvino")
    ops = openvino.opset11
    found = given = ops.parameter([side, side], np.float32, name="x")
    for _ in range(products):
        found = ops.matmul(found, given, False, False)
    model = openvino.Model([found], [given])
    model.set_rt_info(json.dumps(BACKBONE), [FIELD])  # a file that names no precision has float32
    openvino.save_model(model, str(file), compress_to_fp16=False)
    return file


@pytest.fixture
def openvino_file(tmp_path: Path) -> Path:
    return write_openvino(tmp_path / "model.xml")


@pytest.fixture
def onnx_file(tmp_path: Path) -> Path:
    onnx = pytest.importorskip("onnx")
    of = onnx.helper.make_tensor_value_info
    node = onnx.helper.make_node("MatMul", ["x", "x"], ["y"])
    shape = (onnx.TensorProto.FLOAT, [8, 8])
    graph = onnx.helper.make_graph([node], "graph", [of("x", *shape)], [of("y", *shape)])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 20)], ir_version=10)
    onnx.helper.set_model_props(model, {FIELD: metadata("float32")})
    onnx.save(model, str(tmp_path / "model.onnx"))
    return tmp_path / "model.onnx"


def test_an_error_of_onnxruntime_is_one_that_python_knows(onnx_file: Path) -> None:
    pytest.importorskip("onnxruntime")
    session = open_session(onnx_file)
    assert session.run(dict(x=np.eye(8, dtype=np.float32)))[0].sum() == 8
    for wrong in (np.eye(7, dtype=np.float32), np.eye(8)):
        with pytest.raises(RuntimeError, match="INVALID_ARGUMENT"):
            session.run(dict(x=wrong))


class Core:
    """OpenVINO on a processor that computes in some types only; it says nothing when it takes another than was asked for."""

    def __init__(self, *types: str) -> None:
        self.types, self.settings = types, {}

    def read_model(self, file: str) -> Any:
        return SimpleNamespace(
            has_rt_info=lambda key: key == [FIELD], get_rt_info=lambda key: SimpleNamespace(astype=lambda kind: self.text)
        )

    def compile_model(self, model: Any, device: str, settings: dict[str, Any]) -> Any:
        self.settings = settings
        asked = settings.get("INFERENCE_PRECISION_HINT", self.types[0])
        used = SimpleNamespace(get_type_name=lambda: asked if asked in self.types else "f32")
        return SimpleNamespace(get_property=lambda name: used)

    text = metadata("float32")


@pytest.mark.parametrize(
    ("types", "own", "precision", "hint", "used"),
    [
        (("bf16", "f32"), "float32", None, "f32", "float32"),
        (("bf16", "f32"), "float32", "auto", None, "bfloat16"),
        (("f32",), "float32", "auto", None, "float32"),
        (("bf16", "f32"), "float32", "bfloat16", "bf16", "bfloat16"),
        (("bf16", "f32"), "float16", None, None, "bfloat16"),
        (("bf16", "f32"), "int8", "float32", "f32", "float32"),
    ],
)
def test_an_openvino_file_computes_in_what_is_asked_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, types: tuple, own: str, precision: str | None, hint: str | None, used: str
) -> None:
    core = Core(*types)
    core.text = metadata(own)
    monkeypatch.setattr(sessions, "needed", lambda *names: None)
    monkeypatch.setattr(sessions, "inference_core", lambda: core)
    (tmp_path / "model.xml").touch()
    session = open_session(tmp_path / "model.xml", precision=precision)
    assert (core.settings.get("INFERENCE_PRECISION_HINT"), session.precision) == (hint, used)
    open_session(tmp_path / "model.xml", precision=precision, streams=2)
    assert (core.settings["PERFORMANCE_HINT"], core.settings["NUM_STREAMS"]) == ("THROUGHPUT", 2)


def test_what_the_processor_lacks_is_refused(openvino_file: Path) -> None:
    """OpenVINO itself computes in float32 instead, and says nothing."""
    able = inference_core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    if "BF16" in able:
        assert open_session(openvino_file, precision="bfloat16").precision == "bfloat16"
    else:
        assert open_session(openvino_file, precision="auto").precision == "float32"
        with pytest.raises(InputError, match="precision bfloat16: OpenVINO does not compute in it on this processor"):
            open_session(openvino_file, precision="bfloat16")


@pytest.mark.parametrize("left", [0, 100, None])
def test_an_openvino_file_without_its_weights_is_named(openvino_file: Path, left: int | None) -> None:
    """What OpenVINO says of them begins with lines about its own source."""
    openvino = pytest.importorskip("openvino")
    given = openvino.opset11.parameter([8, 8], np.float32)
    kernel = openvino.opset11.constant(np.random.default_rng(0).normal(size=(8, 8)).astype(np.float32))
    model = openvino.Model([openvino.opset11.matmul(given, kernel, False, False)], [given])
    openvino.save_model(model, str(openvino_file), compress_to_fp16=False)
    weights = openvino_file.with_suffix(".bin")
    content = weights.read_bytes()
    save_openvino(model, openvino_file, json.dumps(BACKBONE))
    assert weights.read_bytes() == content
    open_session(openvino_file)
    weights.write_bytes(content[::-1])
    with pytest.raises(InputError, match=r"model\.xml: model\.bin beside it has other weights than were written with it"):
        open_session(openvino_file)
    weights.unlink()
    if left is not None:
        weights.write_bytes(content[:left])
    with pytest.raises(InputError, match=r"model\.xml cannot be opened: \w+: .*weights.* Its weights are model\.bin beside it"):
        open_session(openvino_file)


@pytest.mark.skipif(CHILD_ENDED is None, reason="a system without this signal")
def test_a_signal_is_survived_after_files_were_opened_and_closed(openvino_file: Path) -> None:
    """In the order in which a server replaces its model; torch's loaders have a handler for the end of their workers, too."""
    code = (
        "import signal, subprocess, sys, time; from mmvit.predict.sessions import open_session\n"
        "one, other = (open_session(sys.argv[1]) for _ in range(2)); del one; del other\n"
        "seen = set(); signal.signal(signal.SIGCHLD, lambda *_: seen.add('handled'))\n"  # other children may end, too
        "ended = subprocess.Popen([sys.executable, '-c', '']); time.sleep(2); ended.wait(); print(*seen)"
    )
    done = subprocess.run([sys.executable, "-c", code, openvino_file], capture_output=True, text=True, timeout=300, check=False)
    assert (done.returncode, done.stdout) == (0, "handled\n"), done.stderr


def test_an_openvino_file_runs_in_several_threads(tmp_path: Path) -> None:
    run, *_ = open_session(write_openvino(tmp_path / "model.xml", 400, products=20))
    feeds = [np.linalg.qr(np.random.default_rng(seed).normal(size=(400, 400)))[0].astype(np.float32) for seed in range(8)]
    wanted = [run({0: feed})[0] for feed in feeds]
    with ThreadPoolExecutor(4) as pool:
        for one, other in zip(wanted * 3, pool.map(lambda feed: run({0: feed})[0], feeds * 3), strict=True):
            np.testing.assert_allclose(one, other, atol=1e-4)


def test_onnxruntime_computes_in_the_precision_of_the_file(onnx_file: Path) -> None:
    for precision in (None, "auto", "float32"):
        assert open_session(onnx_file, precision=precision).precision == "float32"
    onnx_file = onnx_file.rename(onnx_file.with_suffix(".ONNX"))
    assert open_session(onnx_file).precision == "float32"
    with pytest.raises(InputError, match=r"precision bfloat16: onnxruntime computes in .* float32; .* --to openvino"):
        open_session(onnx_file, precision="bfloat16")


@pytest.mark.parametrize("kind", ["onnx_file", "openvino_file"])
def test_streams_give_the_same_results(kind: str, request: pytest.FixtureRequest) -> None:
    file = request.getfixturevalue(kind)
    feed = dict(x=np.random.default_rng(0).normal(size=(8, 8)).astype(np.float32))
    (one,), (other,) = (open_session(file, streams=streams).run(feed) for streams in (1, 2))
    np.testing.assert_allclose(one, other, atol=1e-5)
    for wrong in (dict(streams=0), dict(precision="double")):
        with pytest.raises(InputError, match="expected"):
            open_session(file, **wrong)


def test_onnxruntime_shares_the_cores_out_to_streams(onnx_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runtime = pytest.importorskip("onnxruntime")
    given: list[int] = []
    make = runtime.InferenceSession
    monkeypatch.setattr(sessions, "cores", lambda: 8)
    monkeypatch.setattr(
        runtime,
        "InferenceSession",
        lambda file, options, **rest: given.append(options.intra_op_num_threads) or make(file, options, **rest),
    )
    for streams in (1, 2, 16):
        open_session(onnx_file, streams=streams)
    assert given == [0, 4, 1]  # 0: as many as there are


@pytest.mark.parametrize(("encoding", "shown"), [("utf-8", "Straße"), ("ascii", r"Stra\xdfe")])
def test_names_are_shown_as_they_are_where_they_can_be(
    onnx_file: Path, monkeypatch: pytest.MonkeyPatch, encoding: str, shown: str
) -> None:
    printed = BytesIO()
    with TextIOWrapper(printed, encoding=encoding) as stream, monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", stream)
        assert main(["inspect", str(onnx_file)]) == 0
        assert f'["{shown}", ' in printed.getvalue().decode(encoding)


def test_a_process_without_output(onnx_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, None)
    assert main(["inspect", str(onnx_file)]) == 0
    assert main(["inspect", "absent.onnx"]) == 2
