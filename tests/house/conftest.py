"""Fixtures of several files."""

from pathlib import Path

import pytest
from house.pages import PAGES, PYTHON


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[Path, Path]:
    """The configs and modules of each page in a folder, because they name each other."""
    made = {page: tmp_path_factory.mktemp(page.stem) for page in PAGES}
    for block in PYTHON:
        if block.file:
            (made[block.page] / block.file).write_text(block.text, encoding="utf-8")
    return made
