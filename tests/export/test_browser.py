"""The page of tools/browser, in headless Chromium: a model and an image dropped on it give what `Predictor` gives.

Needs Node.js, Chromium and `npm ci && npm run build` in tools/browser; skipped where one of them is missing.
"""

import json
import subprocess
from pathlib import Path
from shutil import which

import numpy as np
import pytest
from exports import Export
from makers import HOME
from tiny import require_same

import mmvit
from mmvit.predict.results import Detections

pytestmark = [pytest.mark.stack, pytest.mark.once]
PAGE = HOME / "tools" / "browser"
CHROMIUM = next(filter(None, map(which, ("chromium", "chromium-browser", "google-chrome"))), None)


def dropped(model: Path, image: Path, screenshot: Path) -> dict:
    """Return what the page found."""
    if which("node") is None:
        pytest.skip("Node.js is not installed")
    if CHROMIUM is None:
        pytest.skip("Chromium is not installed")
    if not (PAGE / "dist").is_dir() or not (PAGE / "node_modules").is_dir():
        pytest.skip("the page is not built: run npm ci and npm run build in tools/browser")
    words = ["node", str(PAGE / "test.mjs"), CHROMIUM, str(model), str(image), str(screenshot)]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    assert screenshot.stat().st_size > 10_000
    return json.loads(done.stdout)


@pytest.mark.parametrize("name", ["fpn-PVT", "mask_rcnn-VAN"])
def test_the_page_finds_what_the_predictor_finds(name: str, exporting: Export, photographs: Path, tmp_path: Path) -> None:
    exported = exporting(name)
    image = photographs / "0.png"
    found = dropped(exported.file, image, tmp_path / "page.png")
    assert found["errors"] == []
    assert found["threads"] is True
    (wanted,) = mmvit.Predictor(None, exported.file, score=0.3)(image)
    if not isinstance(wanted, Detections):
        assert (np.reshape(found["labels"], wanted.size) == wanted.labels).mean() > 0.999
        return
    assert wanted.masks is not None
    objects = found["objects"]
    boxes, scores, labels = (np.array([one[key] for one in objects]) for key in ("box", "score", "label"))
    plain = Detections(wanted.source, wanted.size, wanted.boxes, wanted.scores, wanted.labels, wanted.classes)
    require_same(Detections(str(image), wanted.size, boxes, scores, labels, wanted.classes), plain)
    areas = wanted.masks.sum(axis=(1, 2))
    np.testing.assert_allclose(np.sort(found["areas"]), np.sort(areas), rtol=0.02, atol=20)


def test_the_page_names_what_is_no_model(photographs: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"\x0a\xff\xff")
    found = dropped(broken, photographs / "0.png", tmp_path / "page.png")
    assert found["said"] == ["broken.onnx: it is cut short, or no ONNX file", "0.png: drop a model, too"]
    assert found["errors"] == []
