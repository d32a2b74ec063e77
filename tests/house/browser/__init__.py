"""A real browser that opens the built site: `report_of` says what does not fit a width."""

import json
import shutil
import subprocess
import tempfile
from functools import partial
from http.server import SimpleHTTPRequestHandler
from pathlib import Path
from queue import Queue
from urllib.parse import quote

from hubs import served

HARNESS = Path(__file__).with_name("measure.html")
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
SECONDS = 300  # for all pages at one width


def browser() -> str | None:
    """Return the path of a browser, or None where there is none."""
    return next(filter(None, map(shutil.which, NAMES)), None)


class Handler(SimpleHTTPRequestHandler):
    """Serves the site and the harness, and takes the report."""

    def __init__(self, reports: Queue, *arguments: object, **options: object) -> None:
        self.reports = reports
        super().__init__(*arguments, **options)  # type: ignore[arg-type]

    def do_GET(self) -> None:
        if self.path.split("#")[0] != "/harness.html":
            return super().do_GET()
        content = HARNESS.read_bytes()
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.end_headers()
        self.wfile.write(content)
        return None

    def do_POST(self) -> None:
        self.reports.put(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


def report_of(site: Path, pages: list[str], width: int, whole: list[str]) -> dict[str, dict]:
    """Return the faults of each page at a width in pixels; code that is one of `whole` must not be broken over lines."""
    reports: Queue = Queue()
    asked = quote(json.dumps(dict(pages=pages, width=width, whole=whole)))
    program = browser()
    assert program
    handler = partial(Handler, reports, directory=str(site))
    # Processes of the browser's own may still write into its profile when it has ended.
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile, served(handler) as address:
        words = [program, "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]
        words += [f"--user-data-dir={profile}", "--window-size=1600,1000", "--remote-debugging-port=0"]
        words.append(f"{address}/harness.html#{asked}")
        process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            return reports.get(timeout=SECONDS)
        finally:
            process.terminate()
            process.wait()
