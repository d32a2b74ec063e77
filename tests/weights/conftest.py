"""Fixtures of the tests of files of weights."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hubs import Hub, serving
from states import Write


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write_file(content: object, name: str = "file.pth", **options: object) -> Path:
        torch.save(content, tmp_path / name, **options)
        return tmp_path / name

    return write_file


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path / "hub"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    return tmp_path / "hub" / "checkpoints"


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Hub]]:
    yield from serving(tmp_path, monkeypatch)
