"""Pages of HTML as tests read them, and as a browser shows them."""

import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
WIDTHS = (1280, 390)  # a desktop and a phone
PROBE = """
<script>window.addEventListener("load", () => {
  const images = [...document.images], shown = images.filter(image => image.naturalWidth > 0);
  const charts = document.querySelectorAll("svg, .lengths");
  const wide = document.documentElement.scrollWidth;
  parent.postMessage([innerWidth, images.length, shown.length, charts.length, wide].join(" "), "*");
});</script>
"""
FRAMES = """
<script>addEventListener("message", event => { document.title += event.data + ";"; });</script>
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
    probed, frames = folder / "probed.html", folder / "frames.html"
    probed.write_text(page.read_text().replace("</body>", f"{PROBE}</body>"))
    places = [f'<iframe src="probed.html" style="border: 0; width: {width}px; height: 900px"></iframe>' for width in WIDTHS]
    frames.write_text(FRAMES + "".join(places))
    words = ["--headless=new", "--no-sandbox", "--disable-gpu", "--window-size=1800,1000", "--virtual-time-budget=5000"]
    done = subprocess.run(
        [BROWSER, *words, "--dump-dom", frames.as_uri()], capture_output=True, text=True, timeout=120, check=True
    )
    told = done.stdout.partition("<title>")[2].partition("</title>")[0].strip(";").split(";")
    assert len(told) == len(WIDTHS), done.stdout[:1000]
    for line in told:
        width, images, shown, charts, wide = map(int, line.split())
        assert width in WIDTHS
        assert images >= 3
        assert shown == images
        assert charts >= 2
        assert wide <= width, f"wider than {width} pixels"
