"""The documentation site: built as `make docs` does, warnings being errors, with what a reader looks for in it."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from makers import HOME

from mmvit.zoo import families

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--site-dir", str(folder)],
        cwd=HOME,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "WARNING" not in done.stderr, done.stderr[-3000:]
    return folder


def test_every_page_of_docs_is_on_the_site(site: Path) -> None:
    for page in (HOME / "docs").glob("*.md"):
        assert (site / page.stem / "index.html").is_file(), page


def test_notebooks_are_pages_and_files(site: Path) -> None:
    for notebook in (HOME / "docs" / "notebooks").glob("*.ipynb"):
        page = (site / "notebooks" / notebook.stem / "index.html").read_text()
        assert "from training to results" in page
        assert "mmvit.Predictor" in re.sub(r"<[^>]+>", "", page), "its code"
        assert f'href="../{notebook.name}"' in page
        assert (site / "notebooks" / notebook.name).is_file()
        assert f'href="notebooks/{notebook.stem}/"' in (site / "index.html").read_text()


def test_the_reference_has_every_family(site: Path) -> None:
    page = (site / "reference" / "index.html").read_text()
    for family in families():
        assert f'id="{family.__module__}.{family.__name__}"' in page, f"docs/reference.md lacks {family.__name__}"


def test_search_finds_an_option(site: Path) -> None:
    index = json.loads((site / "search" / "search_index.json").read_text())
    assert any("frozen_stages" in entry["text"] for entry in index["docs"])


def test_nothing_is_fetched_from_elsewhere(site: Path) -> None:
    """The site reads the same without a network."""
    for page in site.rglob("*.html"):
        fetched = re.findall(r'<(?:script|img|link rel="stylesheet")[^>]*(?:src|href)="(https?:[^"]+)"', page.read_text())
        assert fetched == [], page
