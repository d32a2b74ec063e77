"""Checkpoint files that are broken or made to do harm: refused by name before anything of them is used."""

import hashlib
import io
import os
import pickle
import struct
import tarfile
import time
import zipfile
from argparse import Namespace
from collections import OrderedDict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path, PurePosixPath
from threading import Barrier, Thread
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from families import FAMILIES, released_state
from mmengine.config import Config
from mmengine.logging import HistoryBuffer
from safetensors.torch import save_file

from mmvit.engine.publishing import publish
from mmvit.engine.start import Start, start_of
from mmvit.errors import CheckpointError, InputError
from mmvit.predict.predictor import Predictor
from mmvit.weights import downloads
from mmvit.weights.contents import read_contents
from mmvit.weights.convert import convert
from mmvit.weights.downloads import ABANDONED, fetch
from mmvit.weights.loading import load_pretrained, require_match
from mmvit.weights.whole import read_whole

PVT = FAMILIES[0]
Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write_file(content: object, name: str = "file.pth", **options: object) -> Path:
        torch.save(content, tmp_path / name, **options)
        return tmp_path / name

    return write_file


def released(**changed: torch.Tensor) -> dict[str, torch.Tensor]:
    """The tensors of a whole, good file of the tiny PVT's, some of them replaced."""
    torch.manual_seed(0)
    state = released_state(PVT, PVT.build())
    assert set(changed) <= set(state)
    return state | changed


def refused(file: Path | str, match: str) -> None:
    """A file that loads nothing, with a message that names it."""
    model = PVT.build()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(CheckpointError, match=match) as raised:
        load_pretrained(model, file)
    assert str(file) in str(raised.value)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


# Numbers that are none


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf"), 1e300])
def test_weights_that_are_no_numbers(write: Write, number: float) -> None:
    value = torch.zeros(16, dtype=torch.float64)
    value[3] = number  # the largest is finite in the file, and infinite in the model
    file = write({"state_dict": released(**{"block2.0.norm1.weight": value})})
    refused(file, r"1 tensors hold NaN or infinite numbers, nothing was loaded: stages\.1\.blocks\.0\.norm1\.weight\. ")


def test_weights_of_another_arch_are_not_searched_for_nan(write: Write) -> None:
    refused(write(released(**{"block2.0.norm1.weight": torch.full((17,), float("nan"))})), "of another shape")


def test_whole_models_that_diverged() -> None:
    model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.BatchNorm1d(2))
    model.register_buffer("mask", torch.full((2, 2), float("-inf")))
    state = dict(model.state_dict())
    require_match(model, state, "run.pth")  # a mask may be infinite
    for name, number in (("0.weight", "nan"), ("0.weight", "inf"), ("1.running_mean", "nan"), ("mask", "nan")):
        broken = {**state, name: torch.full_like(state[name], float(number))}
        with pytest.raises(CheckpointError, match=rf"run\.pth: 1 tensors hold NaN.*: {name}.*take an earlier checkpoint"):
            require_match(model, broken, "run.pth")


# Files that claim more than they hold


def rewritten(file: Path, edit: Callable[[str, bytes], bytes], packed: int = zipfile.ZIP_STORED) -> Path:
    """The archive with other content in its entries."""
    target = file.with_name(f"rewritten_{file.name}")
    with zipfile.ZipFile(file) as source, zipfile.ZipFile(target, "w", packed) as archive:
        for entry in source.infolist():
            archive.writestr(entry.filename, edit(entry.filename, source.read(entry)))
    return target


def test_compressed_archives(write: Write) -> None:
    """A gigabyte of zeros takes a megabyte so; torch would unpack it."""
    file = rewritten(write(released()), lambda _, content: content, zipfile.ZIP_DEFLATED)
    torch.load(file, weights_only=True)
    refused(file, r"its entries are compressed \(file/data\.pkl\) and claim \d+ bytes")


def test_entries_that_overlap(tmp_path: Path, write: Write) -> None:
    file = write(released())
    with zipfile.ZipFile(file, "a") as archive:
        largest = max(archive.filelist, key=lambda entry: entry.file_size)
        archive.filelist += [largest] * 1000
        archive.writestr("file/more", b"")  # so that the directory is written again
    refused(file, "its entries overlap and claim")


def claim(old: bytes, new: bytes) -> Callable[[str, bytes], bytes]:
    def edit(name: str, content: bytes) -> bytes:
        if not name.endswith("data.pkl"):
            return content
        assert content.count(old) == 1
        return content.replace(old, new)

    return edit


TWO = b"K\x02"  # in a pickle
MANY = b"\x8a\x08" + struct.pack("<q", 2**50)
STORAGE, SHAPE = b"cpuq\x06", b"QK\x00"


@pytest.mark.parametrize("before", [STORAGE, SHAPE], ids=["storage", "shape"])
def test_archives_that_claim_huge_tensors(write: Write, before: bytes) -> None:
    file = rewritten(write({"weight": torch.ones(2)}), claim(before + TWO, before + MANY))
    refused(file, "cannot be read as a checkpoint")


@pytest.mark.parametrize("before", [STORAGE, SHAPE[1:]], ids=["storage", "shape"])
def test_old_files_that_claim_huge_tensors(write: Write, before: bytes) -> None:
    file = write({"weight": torch.ones(2)}, _use_new_zipfile_serialization=False)
    content = file.read_bytes()
    assert content.count(before + TWO) == 1
    file.write_bytes(content.replace(before + TWO, before + MANY))
    refused(file, "cannot be read as a checkpoint")


def test_tensors_without_numbers(write: Write) -> None:
    """A position table is resized, whatever its size: this one would take 32 terabytes."""
    table = torch.zeros(1, 1, 8).expand(1, 2**40, 8)
    refused(write(released(pos_embed1=table)), rf"pos_embed1 claims shape \(1, {2**40}, 8\), {2**45} bytes, but the whole file")
    sparse = torch.sparse_coo_tensor(size=(1, 2**40, 8))
    refused(write(released(pos_embed1=sparse)), r"pos_embed1 .* is torch\.sparse_coo on cpu; expected dense tensors")
    refused(write(released(pos_embed1=torch.zeros(1, 3136, 8, device="meta"))), "is torch.strided on meta; expected dense")


@pytest.mark.parametrize(
    "header",
    [
        b'{"weight":{"dtype":"F32","shape":[1099511627776],"data_offsets":[0,4398046511104]}}',
        b'{"weight":{"dtype":"F32","shape":[1099511627776],"data_offsets":[0,8]}}',
    ],
    ids=["offsets", "shape"],
)
def test_safetensors_that_claim_too_much(tmp_path: Path, header: bytes) -> None:
    file = tmp_path / "file.safetensors"
    file.write_bytes(struct.pack("<Q", len(header)) + header + bytes(8))
    refused(file, r"\(\d+ bytes\) cannot be read as a checkpoint")
    file.write_bytes(struct.pack("<Q", 2**62) + header + bytes(8))
    refused(file, r"\(\d+ bytes\) cannot be read as a checkpoint")


def test_misnamed_files(tmp_path: Path, write: Write) -> None:
    write({"weight": torch.ones(2)}).rename(tmp_path / "file.safetensors")
    refused(tmp_path / "file.safetensors", r"looks like a file of torch\.save: give it the suffix \.pth")
    save_file({"weight": torch.ones(2)}, tmp_path / "file.pth")
    refused(tmp_path / "file.pth", r"looks like a safetensors file: give it the suffix \.safetensors")
    (tmp_path / "page.pth").write_text("\n<!DOCTYPE html><title>Sign in</title>")
    refused(tmp_path / "page.pth", "looks like a web page")
    (tmp_path / "folder.pth").mkdir()
    refused(tmp_path / "folder.pth", "no such file")


# Code


class Planted:
    """Makes a folder when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.target),)


class PlantedState(Planted):
    """Hides it behind a harmless class."""

    def __reduce__(self) -> tuple:
        return OrderedDict, (), {"hook": Planted(self.target)}


def history(payload: object) -> HistoryBuffer:
    buffer = HistoryBuffer()
    buffer.update(1.0)
    buffer.hook = payload
    return buffer


PLACES: dict[str, Callable[[Planted, dict], object]] = {
    "alone": lambda bomb, state: bomb,
    "among the tensors": lambda bomb, state: {**state, "head.hook": bomb},
    "beside them": lambda bomb, state: {"state_dict": state, "meta": bomb},
    "as a key": lambda bomb, state: {"state_dict": state, ("key", bomb): 1},
    "deep inside": lambda bomb, state: {"state_dict": OrderedDict(state), "meta": {"hooks": [{"x": (1, [bomb])}]}},
    "in an array": lambda bomb, state: {"state_dict": state, "meta": np.array([bomb], dtype=object)},
    "in logged values": lambda bomb, state: {"state_dict": state, "message_hub": {"log_scalars": {"loss": history(bomb)}}},
    "in the optimizer": lambda bomb, state: {"state_dict": state, "optimizer": {"state": {0: {"step": bomb}}}},
    "in attributes of a dict": lambda bomb, state: {"state_dict": state, "more": PlantedState(bomb.target)},
}


def legacy(content: object, file: Path) -> None:
    torch.save(content, file, _use_new_zipfile_serialization=False)


def bare(content: object, file: Path) -> None:
    file.write_bytes(pickle.dumps(content))


def tarred(content: object, file: Path) -> None:
    """As torch wrote before 0.2."""
    with tarfile.open(file, "w") as archive:
        for name in ("storages", "tensors", "pickle"):
            data = pickle.dumps(content)
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))


WAYS: dict[str, Callable[[object, Path], None]] = {"archive": torch.save, "legacy": legacy, "pickle": bare, "tar": tarred}


@pytest.fixture
def planted(tmp_path: Path) -> Iterator[Path]:
    """Where code of a file would leave its trace."""
    yield tmp_path / "planted"
    assert not (tmp_path / "planted").exists(), "code of a file was run"


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("place", PLACES)
def test_code_is_never_run(tmp_path: Path, planted: Path, place: str, way: str) -> None:
    content = PLACES[place](Planted(planted), {"weight": torch.ones(2)})
    for name in ("file.pth", "file.safetensors"):
        WAYS[way](content, tmp_path / name)
        refused(tmp_path / name, "was not loaded|cannot be read")


@pytest.fixture
def hostile(tmp_path: Path, planted: Path) -> Path:
    torch.save({"state_dict": released(), "meta": Planted(planted)}, tmp_path / "hostile.pth")
    return tmp_path / "hostile.pth"


def test_code_is_not_run_on_the_way_to_a_backbone(hostile: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path / "hub"))
    for checkpoint in (str(hostile), hostile.as_uri()):
        model = PVT.build(init_cfg=dict(type="Pretrained", checkpoint=checkpoint))
        with pytest.raises(CheckpointError, match="could run code"):
            model.init_weights()


@pytest.mark.stack
def test_code_is_not_run_by_the_tools(hostile: Path) -> None:
    """What is evaluated or resumed is read before mmengine reads it, and so is what `load_from` names."""
    with pytest.raises(CheckpointError, match=r"hostile\.pth was not loaded.*could run code"):
        start_of(Config(dict(load_from=str(hostile))))
    with pytest.raises(CheckpointError, match=r"absent\.pth: no such file"):
        start_of(Config(dict(load_from="absent.pth")))


# Downloads


class Server(BaseHTTPRequestHandler):
    """Sends a checkpoint, or a part of it, as the address says."""

    whole = b""
    halfway: Callable[[], object]  # called between the halves of what is sent

    def do_GET(self) -> None:
        content = b"<html>Sign in</html>" if self.path == "/page.pth" else self.whole
        length = {"/unannounced.pth": None, "/odd.pth": "many"}.get(self.path, str(len(content)))
        self.send_response(200)
        if length is not None:
            self.send_header("Content-Length", length)
        self.end_headers()
        half = len(content) // 2
        self.wfile.write(content[:half])
        self.wfile.flush()
        if self.path == "/half.pth" or length is None:
            return
        self.halfway()
        self.wfile.write(content[half:])

    def log_message(self, *words: object) -> None:
        pass


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path / "hub"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    return tmp_path / "hub" / "checkpoints"


@pytest.fixture
def server(write: Write) -> Iterator[tuple[str, type[Server]]]:
    """Its address, and the class that answers."""
    handler = type("Handler", (Server,), {"whole": write({"weight": torch.ones(1000)}).read_bytes(), "halfway": lambda _: None})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as service:
        service.daemon_threads = True
        Thread(target=service.serve_forever, args=(0.05,), daemon=True).start()
        yield f"http://127.0.0.1:{service.server_port}", handler
        service.shutdown()


@pytest.mark.parametrize(
    ("name", "told"),
    [
        (
            "half.pth",
            r"half\.pth could not be downloaded \(the connection closed after \d+ of \d+ bytes\)\. Download it",
        ),
        ("unannounced.pth", r"unannounced\.pth \(\d+ bytes\) cannot be read as a checkpoint: truncated"),
        ("page.pth", r"page\.pth was not loaded: .* looks like a web page"),
    ],
)
def test_half_a_download_is_never_kept(hub: Path, server: tuple, name: str, told: str) -> None:
    with pytest.raises(CheckpointError, match=told):
        fetch(f"{server[0]}/{name}")
    assert list(hub.iterdir()) == []
    fetch(f"{server[0]}/whole.pth")
    assert [file.name for file in hub.iterdir()] == ["whole.pth"]


def test_odd_answers_are_taken_by_what_they_hold(hub: Path, server: tuple) -> None:
    assert torch.equal(read_contents(f"{server[0]}/odd.pth").tensors["weight"], torch.ones(1000))


def test_servers_that_fall_silent(hub: Path, server: tuple, monkeypatch: pytest.MonkeyPatch) -> None:
    address, handler = server
    monkeypatch.setattr(downloads, "TIMEOUT", 0.2)
    handler.halfway = lambda _: time.sleep(2)
    with pytest.raises(CheckpointError, match=r"silent\.pth could not be downloaded \(.*timed out"):
        fetch(f"{address}/silent.pth")
    assert list(hub.iterdir()) == []


def test_two_downloads_at_once(hub: Path, server: tuple) -> None:
    address, handler = server
    both = Barrier(2)
    handler.halfway = lambda _: both.wait(10)
    with ThreadPoolExecutor(2) as pool:
        paths = list(pool.map(fetch, [f"{address}/shared.pth"] * 2))
    assert paths == [hub / "shared.pth"] * 2
    assert (hub / "shared.pth").read_bytes() == handler.whole
    assert [file.name for file in hub.iterdir()] == ["shared.pth"]


def test_killed_downloads_are_cleared_away(hub: Path, server: tuple) -> None:
    """By the next download of the same file; one that may be another process's stays."""
    hub.mkdir(parents=True)
    names = ["dead.partial.file.pth", "living.partial.file.pth", "dead.partial.other.pth"]
    for name in names:
        (hub / name).write_bytes(b"half")
        if name.startswith("dead"):
            then = time.time() - 2 * ABANDONED
            os.utime(hub / name, (then, then))
    fetch(f"{server[0]}/file.pth")
    assert sorted(file.name for file in hub.iterdir()) == ["dead.partial.other.pth", "file.pth", "living.partial.file.pth"]


def test_wrong_digests(hub: Path, server: tuple) -> None:
    address, handler = server
    digest = hashlib.sha256(handler.whole).hexdigest()
    with pytest.raises(CheckpointError, match=rf"file\.pth has sha256 {digest}, expected 00: another file, or a damaged one"):
        fetch(f"{address}/file.pth", sha256="00")
    assert list(hub.iterdir()) == []
    fetch(f"{address}/file.pth", sha256=digest.upper())
    (hub / "file.pth").write_bytes(handler.whole[:-1])
    with pytest.raises(CheckpointError, match=rf"hub/checkpoints/file\.pth has sha256 .*, expected {digest}"):
        fetch(f"{address}/file.pth", sha256=digest)


def test_weights_alone_are_nothing_to_resume_from(tmp_path: Path) -> None:
    path = tmp_path / "best_mIoU_iter_80.pth"
    torch.save(dict(meta={}, message_hub={}, state_dict={}), path)
    with pytest.raises(InputError, match=rf"--resume {path}: no optimizer in it\. .* --cfg-options load_from={path}"):
        Start(str(path)).require_progress()


# Every other path by which a file is read


def convert_file(file: Path, folder: Path) -> None:
    convert(file, "authors", folder / "out.pth")


def publish_file(file: Path, folder: Path) -> None:
    publish(file, folder / "out")


def predict_file(file: Path, folder: Path) -> None:
    Predictor("fpn_pvt_v2_b0_ade20k", file, device="cpu")


def begin_from_file(file: Path, folder: Path) -> None:
    Start(str(file)).fit(SimpleNamespace(model=PVT.build()), exactly=True)


def read_whole_file(file: Path, folder: Path) -> None:
    read_whole(file, PVT.build())


READERS = [convert_file, publish_file, predict_file, begin_from_file, read_whole_file]


@pytest.mark.stack
@pytest.mark.parametrize("read", READERS, ids=lambda read: read.__name__)
@pytest.mark.parametrize("harm", ["code", "settings", "claim", "sparse", "half"])
def test_no_path_believes_a_file(tmp_path: Path, planted: Path, read: Callable, harm: str) -> None:
    """Code, also behind what stands in for the settings of scripts; claims; and files that end early."""
    state = {f"backbone.{name}": value for name, value in released().items()}
    content = {
        "code": {"state_dict": state, "meta": Planted(planted)},
        "settings": {"state_dict": state, "args": Namespace(path=PurePosixPath("/x"), hook=Planted(planted))},
        "claim": {"state_dict": {**state, "backbone.pos_embed1": torch.zeros(1, 1, 8).expand(1, 2**40, 8)}},
        "sparse": {"state_dict": {**state, "x": torch.sparse_coo_tensor(size=(1, 2**40))}},
        "half": {"state_dict": state},
    }[harm]
    content |= {"meta": dict(cfg="model = dict()")} if harm != "code" else {}
    torch.save(content, tmp_path / "file.pth")
    if harm == "half":
        whole = (tmp_path / "file.pth").read_bytes()
        (tmp_path / "file.pth").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CheckpointError, match=r"file\.pth"):
        read(tmp_path / "file.pth", tmp_path)
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "out.pth").exists()
