"""Fixtures of several files."""

from pathlib import Path

import pytest
from mmengine.config import Config
from small_datasets import coco, write


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's folder, with nothing in it and nothing downloaded yet."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    return tmp_path


@pytest.fixture
def cfg(tmp_path: Path) -> Config:
    """A config of ours that trains and tests on a small dataset in `tmp_path`."""
    return write(tmp_path, coco())
