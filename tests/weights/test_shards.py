"""Sharded safetensors, and archives that are programs."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from mmvit.errors import CheckpointError
from mmvit.weights.contents import read_contents


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
