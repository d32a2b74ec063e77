"""Pages of HTML as tests read them, and as a browser shows them."""

import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
PROBE = """
<script>window.addEventListener("load", () => {
  const images = [...document.images];
  document.title = [images.length, images.filter(image => image.naturalWidth > 0).length,
                    document.documentElement.scrollWidth <= window.innerWidth].join(" ");
});</script>
"""


class Parsed(HTMLParser):
    """Headings, cells of tables, and addresses of everything that a page loads."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.headings: list[str] = []
        self.cells: list[str] = []
        self.addresses: list[str] = []
        self.tags: set[str] = set()
        self.within = ""
        self.feed(path.read_text())

    def handle_starttag(self, tag: str, attributes: list) -> None:
        self.within = tag
        self.tags.add(tag)
        self.addresses += [value for name, value in attributes if name in ("src", "href") and value]

    def handle_data(self, data: str) -> None:
        if self.within == "h2":
            self.headings.append(data)
        elif self.within in ("td", "dd"):
            self.cells.append(data)

    def handle_endtag(self, tag: str) -> None:
        self.within = ""


def check_in_browser(page: Path, folder: Path) -> None:
    """Check in headless Chromium, at two widths, that every picture shows and that nothing is wider than the window."""
    if BROWSER is None:
        pytest.skip("no Chromium here")
    probed = folder / "probed.html"
    probed.write_text(page.read_text().replace("</body>", f"{PROBE}</body>"))
    for width in (1280, 500):
        words = ["--headless=new", "--no-sandbox", "--disable-gpu", f"--window-size={width},900", "--dump-dom", probed.as_uri()]
        shown = subprocess.run([BROWSER, *words], capture_output=True, text=True, timeout=120, check=True).stdout
        title = shown.partition("<title>")[2].partition("</title>")[0]
        images, loaded, fits = title.split()
        assert int(images) > 3
        assert loaded == images
        assert fits == "true", f"wider than {width} pixels"
