"""The documentation site: built as `make docs` does, warnings being errors, with what a reader looks for in it."""

import json
import re
from pathlib import Path

import pytest
import yaml
from house.browser import browser, report_of
from makers import HOME, run_python

from mmvit.zoo import families, list_archs

CONFIG = yaml.load((HOME / "mkdocs.yml").read_text(), yaml.BaseLoader)
PHONE, DESKTOP = 390, 1280  # pixels

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    done = run_python("-m", "mkdocs", "build", "--site-dir", folder, cwd=HOME, NO_MKDOCS_2_WARNING="1")
    assert "WARNING" not in done.stderr, done.stderr[-3000:]
    return folder


def test_every_page_of_docs_is_on_the_site(site: Path) -> None:
    for page in (HOME / "docs").glob("*.md"):
        assert (site / page.stem / "index.html").is_file(), page


def test_the_navigation_is_that_of_the_readme() -> None:
    """The same sections, pages and titles, in the same order."""
    rows = re.findall(r"^\| \*\*([\w-]+)\*\* \| (.+) \|$", (HOME / "README.md").read_text(), re.MULTILINE)
    linked = [
        (section, [(title.lower(), Path(target).stem) for title, target in re.findall(r"\[([^\]]+)\]\(([^)]+)\)", cell)])
        for section, cell in rows
    ]
    shown = [
        (section, [(title.lower(), Path(file).stem) for entry in pages for title, file in entry.items()])
        for entry in CONFIG["nav"][1:]
        for section, pages in entry.items()
    ]
    without = [(section, [(title.removeprefix("notebook: "), file) for title, file in pages]) for section, pages in shown]
    assert linked == without


def test_notebooks_are_pages_and_files(site: Path) -> None:
    for notebook in (HOME / "docs" / "notebooks").glob("*.ipynb"):
        page = (site / "notebooks" / notebook.stem / "index.html").read_text()
        assert "from training to results" in page
        assert "mmvit.Predictor" in re.sub(r"<[^>]+>", "", page), "its code"
        assert f'href="../{notebook.name}"' in page
        assert "to validate, 1" in page, "what the code printed"
        assert f'src="../{notebook.stem}_0.png"' in page
        assert (site / "notebooks" / notebook.name).is_file()
        assert f'href="notebooks/{notebook.stem}/"' in (site / "index.html").read_text()


def test_the_reference_has_every_family(site: Path) -> None:
    page = (site / "reference" / "index.html").read_text()
    for family in families():
        assert f'id="{family.__module__}.{family.__name__}"' in page, f"docs/reference.md lacks {family.__name__}"


def test_the_reference_has_no_private_names(site: Path) -> None:
    page = (site / "reference" / "index.html").read_text()
    assert not re.findall(r'id="mmvit[\w.]*\._\w+"', page)


def test_search_finds_an_option(site: Path) -> None:
    index = json.loads((site / "search" / "search_index.json").read_text())
    assert any("frozen_stages" in entry["text"] for entry in index["docs"])


def test_nothing_is_fetched_from_elsewhere(site: Path) -> None:
    """The site reads the same without a network."""
    for page in site.rglob("*.html"):
        fetched = re.findall(r'<(?:script|img|link rel="stylesheet")[^>]*(?:src|href)="(https?:[^"]+)"', page.read_text())
        assert fetched == [], page


needs_browser = pytest.mark.skipif(browser() is None, reason="no chromium or chrome on this machine")


@needs_browser
@pytest.mark.slow
@pytest.mark.parametrize("width", [PHONE, DESKTOP])
def test_every_page_fits_a_real_browser(site: Path, width: int) -> None:
    """Nothing reaches beyond the viewport but what scrolls by itself; no code is cut off, no arch's name is broken."""
    pages = sorted(page.parent.relative_to(site).as_posix() + "/" for page in site.rglob("index.html"))
    report = report_of(site, pages, width, list_archs())
    assert set(report) == set(pages), report
    assert {found["width"] for found in report.values()} == {width}
    assert {page: found["faults"] for page, found in report.items() if found["faults"]} == {}


@needs_browser
@pytest.mark.slow
def test_the_browser_notices_what_does_not_fit(tmp_path: Path) -> None:
    (tmp_path / "wide").mkdir()
    body = (
        '<article><div style="width:900px">wide</div><div style="overflow-x:auto"><p style="width:900px">scrolls</p></div>'
        '<pre><code style="display:block;overflow:hidden">' + "x" * 200 + "</code></pre>"
        '<p style="width:60px">an arch <code>shunted_<wbr>small</code></p></article>'
    )
    (tmp_path / "wide" / "index.html").write_text(f"<!doctype html><body>{body}</body>")
    faults = report_of(tmp_path, ["wide/"], PHONE, ["shunted_small"])["wide/"]["faults"]
    assert any("the page is" in fault for fault in faults)
    assert '<div> "wide" ends at 908' in faults
    assert not any("scrolls" in fault for fault in faults)
    assert any("code is cut off" in fault for fault in faults)
    assert '<code> "shunted_small": broken' in faults
