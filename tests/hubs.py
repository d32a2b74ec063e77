"""A server that speaks what a Hugging Face hub speaks, as far as downloads and uploads ask."""

import base64
import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
import torch

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub(BaseHTTPRequestHandler):
    """Answers for repositories: their list of files, and each file with the headers that the client looks at."""

    repos: dict[str, dict[str, bytes]]
    asked: list[str]

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = self.path.partition("?")[0].strip("/")
        self.asked.append(f"{self.command} {path} {self.headers.get('Authorization') or ''}".strip())
        if path.startswith("api/models/"):
            repo = "/".join(path.split("/")[2:4])
            files = self.repos.get(repo)
            tree = [
                {"type": "file", "path": name, "size": len(content), "oid": "0" * 40} for name, content in (files or {}).items()
            ]
            code = {"X-Error-Code": "RepoNotFound"} if files is None else {}
            self.answer(404 if code else 200, json.dumps(tree).encode(), {"Content-Type": "application/json", **code})
            return
        owner, name, _, revision, *rest = [*path.split("/"), "", "", ""]
        content = self.repos.get(f"{owner}/{name}", {}).get("/".join(filter(None, rest)))
        if content is None or revision not in ("main", "v1", COMMIT):
            code = "RepoNotFound" if f"{owner}/{name}" not in self.repos else "EntryNotFound"
            self.answer(404, b"", {"X-Error-Code": code, "X-Repo-Commit": COMMIT})
            return
        self.answer(200, content, {"X-Repo-Commit": COMMIT, "ETag": f'"{hashlib.sha256(content).hexdigest()}"'})

    def do_POST(self) -> None:
        """What an upload asks: a repository, how to send each file, and the commit itself."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.asked.append(f"POST {self.path} {self.headers.get('Authorization') or ''}".strip())
        answer: dict = {}
        if self.path.startswith("/api/repos/create"):
            words = json.loads(body)
            repo = "/".join(filter(None, (words.get("organization"), words["name"])))
            self.repos.setdefault(repo, {})
            answer = {"url": f"http://{self.headers['Host']}/{repo}", "name": repo, "id": repo}
        elif "/preupload/" in self.path:
            files = json.loads(body)["files"]
            answer = {"files": [{"path": one["path"], "uploadMode": "regular", "shouldIgnore": False} for one in files]}
        elif "/commit/" in self.path:
            repo = "/".join(self.path.split("/")[3:5])
            for line in body.splitlines():
                entry = json.loads(line)
                if entry["key"] == "file":
                    self.repos[repo][entry["value"]["path"]] = base64.b64decode(entry["value"]["content"])
            answer = {
                "commitUrl": f"http://{self.headers['Host']}/{repo}/commit/{COMMIT}",
                "commitOid": COMMIT,
                "pullRequestUrl": None,
            }
        self.answer(200, json.dumps(answer).encode(), {"Content-Type": "application/json"})

    def answer(self, status: int, content: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, *words: object) -> None:
        pass


@contextmanager
def served(handler: Callable[..., BaseHTTPRequestHandler]) -> Iterator[str]:
    """Address of a web server on this machine, which runs meanwhile."""
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def serving(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Hub]]:
    """The class that answers, whose repositories a test fills, while its server is the hub of this process."""
    from huggingface_hub import constants

    handler = type("Handler", (Hub,), {"repos": {}, "asked": []})
    with served(handler) as address:
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        monkeypatch.setenv("HF_ENDPOINT", address)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path / "hub"))
        yield handler
