"""Checkpoint files with numbers that are none, that claim more than they hold, or are programs; and files in shards."""

import json
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save, save_file
from states import Write, refused, released

from mmvit.errors import CheckpointError
from mmvit.weights.contents import read_contents
from mmvit.weights.loading import require_match


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


def rewritten(file: Path, edit: Callable[[str, bytes], bytes], packed: int = zipfile.ZIP_STORED) -> Path:
    """The archive with other content in its entries."""
    target = file.with_name(f"rewritten_{file.name}")
    with zipfile.ZipFile(file) as source, zipfile.ZipFile(target, "w", packed) as archive:
        for entry in source.infolist():
            archive.writestr(entry.filename, edit(entry.filename, source.read(entry)))
    return target


@pytest.mark.parametrize("compresses", [True, False])
def test_compressed_archives(write: Write, compresses: bool) -> None:
    """A gigabyte of zeros takes a megabyte so; torch would unpack it. Compressed noise claims no more than the file has."""
    noise = torch.randint(0, 256, (10_000,), dtype=torch.uint8)
    file = rewritten(write(released() if compresses else {"weight": noise}), lambda _, content: content, zipfile.ZIP_DEFLATED)
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


def test_broken_and_misnamed_files(tmp_path: Path, write: Write) -> None:
    whole = write({"weight": torch.ones(1000)}).read_bytes()
    for name, content, told in (
        ("half.pth", whole[:2000], "cannot be read as a checkpoint"),
        ("empty.pth", b"", "cannot be read as a checkpoint"),
        ("half.safetensors", b"\x10\0\0\0", "cannot be read as a checkpoint"),
        ("archive.safetensors", whole, r"looks like a file of torch\.save: give it the suffix \.pth"),
        ("safe.pth", save({"weight": torch.ones(2)}), r"looks like a safetensors file: give it the suffix \.safetensors"),
        ("model.bin.index.json", b'{"weight_map": {}}', "the index of several files, and only those"),
        ("model.onnx", whole, "an exported model, which mmvit predict and mmvit inspect take"),
        ("Model.PT2", whole, "an exported model"),
        ("page.pth", b"\n<!DOCTYPE html><title>Sign in</title>", "looks like a web page"),
    ):
        (tmp_path / name).write_bytes(content)
        refused(tmp_path / name, told)
    (tmp_path / "folder.pth").mkdir()
    refused(tmp_path / "folder.pth", "a folder. Name a file in it")
    refused(tmp_path / "absent.pth", "no such file")


def write_shards(folder: Path, names: tuple[str, str] = ("model-1.safetensors", "model-2.safetensors")) -> Path:
    for number, name in enumerate(("model-1.safetensors", "model-2.safetensors")):
        save_file({f"part{number}.weight": torch.full((500,), float(number))}, folder / name)
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps(dict(weight_map={f"part{number}.weight": name for number, name in enumerate(names)})))
    return index


def test_the_files_of_an_index_are_one_checkpoint(tmp_path: Path) -> None:
    tensors = read_contents(write_shards(tmp_path)).tensors
    assert {name: value[0].item() for name, value in tensors.items()} == {"part0.weight": 0.0, "part1.weight": 1.0}


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("model-3.safetensors", "model-3.safetensors of its 2 files are not beside it"),
        ("../model-2.safetensors", "expected an index"),
        ("/etc/passwd", "expected an index"),
        ("model.safetensors.index.json", "cannot be read as a checkpoint"),
    ],
)
def test_an_index_names_files_beside_it(tmp_path: Path, name: str, told: str) -> None:
    with pytest.raises(CheckpointError, match=told):
        read_contents(write_shards(tmp_path, ("model-1.safetensors", name)))


def test_a_torchscript_archive_is_named(tmp_path: Path) -> None:
    file = tmp_path / "model.pth"
    torch.jit.trace(torch.nn.Linear(3, 2), torch.zeros(1, 3)).save(file)
    with pytest.raises(CheckpointError, match=r"TorchScript archive.*state_dict\(\)"):
        read_contents(file)
