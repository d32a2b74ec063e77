"""Downloads: once, whole or not at all, whatever the server does."""

import hashlib
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Barrier, Thread

import pytest
import torch
from states import Write

from mmvit.errors import CheckpointError
from mmvit.weights import downloads
from mmvit.weights.contents import read_contents
from mmvit.weights.downloads import ABANDONED, fetch


def test_urls_are_downloaded_once(hub: Path, write: Write) -> None:
    remote = write({"weight": torch.ones(2)}, "remote.pth")
    assert torch.equal(read_contents(remote.as_uri()).tensors["weight"], torch.ones(2))
    remote.unlink()
    assert fetch(remote.as_uri()) == hub / "remote.pth"
    assert torch.equal(read_contents(remote.as_uri()).tensors["weight"], torch.ones(2))


def test_failed_downloads_leave_nothing(hub: Path) -> None:
    with pytest.raises(CheckpointError, match="put it at"):
        fetch("http://127.0.0.1:9/absent.pth")
    assert list(hub.glob("*")) == []


class Server(BaseHTTPRequestHandler):
    """Sends a checkpoint, or a part of it, as the address says."""

    whole = b""
    halfway: Callable[[], object]  # called between the halves of what is sent

    def do_GET(self) -> None:
        content = b"<html>Sign in</html>" if self.path == "/page.pth" else self.whole
        length = {"/unannounced.pth": None, "/odd.pth": "many"}.get(self.path, str(len(content)))
        self.send_response(200)
        if length is not None:
            self.send_header("Content-Length", length)
        self.end_headers()
        half = len(content) // 2
        self.wfile.write(content[:half])
        self.wfile.flush()
        if self.path == "/half.pth" or length is None:
            return
        self.halfway()
        self.wfile.write(content[half:])

    def log_message(self, *words: object) -> None:
        pass


@pytest.fixture
def server(write: Write) -> Iterator[tuple[str, type[Server]]]:
    """Its address, and the class that answers."""
    handler = type("Handler", (Server,), {"whole": write({"weight": torch.ones(1000)}).read_bytes(), "halfway": lambda _: None})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as service:
        service.daemon_threads = True
        Thread(target=service.serve_forever, args=(0.05,), daemon=True).start()
        yield f"http://127.0.0.1:{service.server_port}", handler
        service.shutdown()


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("half.pth", r"half\.pth could not be downloaded \(the connection closed after \d+ of \d+ bytes\)\. Download it"),
        ("unannounced.pth", r"unannounced\.pth \(\d+ bytes\) cannot be read as a checkpoint: truncated"),
        ("page.pth", r"page\.pth was not loaded: .* looks like a web page"),
    ],
)
def test_half_a_download_is_never_kept(hub: Path, server: tuple, name: str, told: str) -> None:
    with pytest.raises(CheckpointError, match=told):
        fetch(f"{server[0]}/{name}")
    assert list(hub.iterdir()) == []
    fetch(f"{server[0]}/whole.pth")
    assert [file.name for file in hub.iterdir()] == ["whole.pth"]


def test_odd_answers_are_taken_by_what_they_hold(hub: Path, server: tuple) -> None:
    assert torch.equal(read_contents(f"{server[0]}/odd.pth").tensors["weight"], torch.ones(1000))


def test_servers_that_fall_silent(hub: Path, server: tuple, monkeypatch: pytest.MonkeyPatch) -> None:
    address, handler = server
    monkeypatch.setattr(downloads, "TIMEOUT", 0.2)
    handler.halfway = lambda _: time.sleep(2)
    with pytest.raises(CheckpointError, match=r"silent\.pth could not be downloaded \(.*timed out"):
        fetch(f"{address}/silent.pth")
    assert list(hub.iterdir()) == []


def test_two_downloads_at_once(hub: Path, server: tuple) -> None:
    address, handler = server
    both = Barrier(2)
    handler.halfway = lambda _: both.wait(10)
    with ThreadPoolExecutor(2) as pool:
        paths = list(pool.map(fetch, [f"{address}/shared.pth"] * 2))
    assert paths == [hub / "shared.pth"] * 2
    assert (hub / "shared.pth").read_bytes() == handler.whole
    assert [file.name for file in hub.iterdir()] == ["shared.pth"]


def test_killed_downloads_are_cleared_away(hub: Path, server: tuple) -> None:
    """By the next download of the same file; one that may be another process's stays."""
    hub.mkdir(parents=True)
    names = ["dead.partial.file.pth", "living.partial.file.pth", "dead.partial.other.pth"]
    for name in names:
        (hub / name).write_bytes(b"half")
        if name.startswith("dead"):
            then = time.time() - 2 * ABANDONED
            os.utime(hub / name, (then, then))
    fetch(f"{server[0]}/file.pth")
    assert sorted(file.name for file in hub.iterdir()) == ["dead.partial.other.pth", "file.pth", "living.partial.file.pth"]


def test_wrong_digests(hub: Path, server: tuple) -> None:
    address, handler = server
    digest = hashlib.sha256(handler.whole).hexdigest()
    with pytest.raises(CheckpointError, match=rf"file\.pth has sha256 {digest}, expected 00: another file, or a damaged one"):
        fetch(f"{address}/file.pth", sha256="00")
    assert list(hub.iterdir()) == []
    fetch(f"{address}/file.pth", sha256=digest.upper())
    (hub / "file.pth").write_bytes(handler.whole[:-1])
    for place in (f"{address}/file.pth", hub / "file.pth"):  # in the cache, and a user's own
        with pytest.raises(CheckpointError, match=rf"hub/checkpoints/file\.pth has sha256 .*, expected {digest}"):
            fetch(place, sha256=digest)
