"""Fixtures of several files."""

from pathlib import Path

import pytest
from house.pages import CONFIGS, PAGES


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[Path, Path]:
    """The configs of each page in a folder, because they may be bases of each other."""
    made = {page: tmp_path_factory.mktemp(page.stem) for page in PAGES}
    for block in CONFIGS:
        (made[block.page] / str(block.file)).write_text(block.text, encoding="utf-8")
    return made
