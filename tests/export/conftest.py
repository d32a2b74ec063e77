"""Fixtures of several files."""

from pathlib import Path

import pytest
from exports import Export, exporter
from tiny import write_photographs


@pytest.fixture(scope="session")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_photographs(tmp_path_factory.mktemp("photographs") / "photographs")


@pytest.fixture(scope="session")
def exporting(tmp_path_factory: pytest.TempPathFactory) -> Export:
    return exporter(lambda: tmp_path_factory.mktemp("export"))
