"""The page of tools/browser in headless Chromium."""

import json
import subprocess
from pathlib import Path
from shutil import which

import pytest
from makers import HOME

PAGE = HOME / "tools" / "browser"
CHROMIUM = next(filter(None, map(which, ("chromium", "chromium-browser", "google-chrome"))), None)


def dropped(model: Path, image: Path, screenshot: Path) -> dict:
    """Return what the page found and said when a model and an image were dropped on it.

    The test is skipped where Node.js or Chromium is missing, or `npm ci` was not run.
    """
    if which("node") is None:
        pytest.skip("Node.js is not installed")
    if CHROMIUM is None:
        pytest.skip("Chromium is not installed")
    if not (PAGE / "node_modules").is_dir():
        pytest.skip("onnxruntime-web is not installed: run npm ci in tools/browser")
    subprocess.run(["node", str(PAGE / "build.mjs")], check=True)
    words = ["node", str(PAGE / "test.mjs"), CHROMIUM, str(model), str(image), str(screenshot)]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    assert screenshot.stat().st_size > 10_000
    return json.loads(done.stdout)
