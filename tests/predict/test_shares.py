"""Several processes predict together: what they leave is what one process leaves."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from makers import HOME
from trained import Trained, write_film

from mmvit.__main__ import main
from mmvit.predict import shares
from mmvit.predict.prediction import Prediction
from mmvit.predict.shares import Share

pytestmark = pytest.mark.stack


@pytest.fixture(scope="module")
def inputs(detector: Trained, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with images of the same name, one that cannot be read, and two videos."""
    folder = tmp_path_factory.mktemp("inputs")
    for number, name in enumerate(("a/0", "a/1", "b/0", "b/1", "c/0")):
        file = folder / f"{name}.png"
        file.parent.mkdir(exist_ok=True)
        file.write_bytes((detector.images / f"{number % 4}.png").read_bytes() if name != "a/1" else b"no image")
    for name in ("first", "second"):
        write_film(folder / f"{name}.avi", 2)
    return folder


def words_of(model: Trained, inputs: Path, *more: str) -> list[str]:
    files = [*sorted(map(str, inputs.rglob("*.png"))), *sorted(map(str, inputs.glob("*.avi")))]
    return ["predict", str(model.config), str(model.checkpoint), *files, "--score", "0", "--out", "out", *more]


def left(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def as_two(monkeypatch: pytest.MonkeyPatch, words: list[str]) -> list[int]:
    """Predict as the second process, then as the first; return their statuses."""
    said: dict[int, list[Any]] = {0: [], 1: []}

    def all_of(share: Share, value: Any) -> list[Any]:
        said[share.rank].append(value)
        return [value, said[1][len(said[0]) - 1]] if share.is_first else [value, value]

    monkeypatch.setattr(Share, "all", all_of)
    statuses = []
    for rank in (1, 0):
        monkeypatch.setattr(shares, "start", lambda rank=rank: Share(rank, 2))
        statuses.append(main(words))
    return statuses


@pytest.mark.parametrize("head", ["retinanet", "fpn"])
def test_two_processes_leave_what_one_leaves(
    head: str, model_of: Any, inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    words = words_of(model_of(head), inputs)
    if head == "retinanet":
        images = [dict(id=number, file_name=f"{name}.png") for name, number in (("a/0", 9), ("b/0", 2), ("b/1", 7), ("c/0", 1))]
        categories = [dict(id=number, name=name) for number, name in enumerate(model_of(head).classes)]
        (tmp_path / "ann.json").write_text(json.dumps(dict(images=images, categories=categories)))
        words += ["--format", "yolo", "--ann", str(tmp_path / "ann.json")]
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "one")
    assert main(words) == 1, "an image cannot be read"
    wanted = left(tmp_path / "one")
    monkeypatch.chdir(tmp_path / "two")
    capsys.readouterr()
    if head == "fpn":
        assert as_two(monkeypatch, words) == [1, 1], "both have the worst status"
        assert capsys.readouterr().out.count("8 images, ") == 1
        assert as_two(monkeypatch, words) == [2, 2]
        assert "out/predictions.json is there already" in capsys.readouterr().err
    else:
        assert as_two(monkeypatch, [*words, "--resume"]) == [2, 2]
        assert "so several processes left nothing to go on with" in capsys.readouterr().err
        with monkeypatch.context() as patch:
            patch.setattr(Prediction, "_film", Mock(side_effect=KeyboardInterrupt))
            assert as_two(patch, words) == [130, 130], "each stops at its video, after its images"
        with monkeypatch.context() as patch:
            patch.setattr(shares, "start", lambda: shares.ALONE)
            patch.setattr(Share, "all", lambda share, value: [value])
            for more in ([], ["--resume"]):
                assert main([*words, *more]) == 2
                assert "several processes were stopped. Go on with torchrun" in capsys.readouterr().err
        assert as_two(monkeypatch, [*words, "--resume"]) == [1, 1]
        assert "4 images, 4 done before, " in capsys.readouterr().out
    assert left(tmp_path / "two") == wanted
    names = [image["file_name"][-7:] for image in json.loads(wanted["out/predictions.json"])["images"]]
    assert names[:4] == ["a/0.png", "b/0.png", "b/1.png", "c/0.png"]
    assert {"out/overlays/0.jpg", "out/overlays/0_2.jpg", "out/overlays/0_3.jpg", "out/overlays/second.mp4"} <= set(wanted)


@pytest.mark.slow
def test_torchrun_shares_the_images_out(detector: Trained, inputs: Path, tmp_path: Path) -> None:
    words = words_of(detector, inputs)
    environment = {**os.environ, "PYTHONPATH": str(HOME), "OMP_NUM_THREADS": "1"}
    two = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "-m", "mmvit"]
    found = []
    for name, start in (("one", ["-m", "mmvit"]), ("two", two)):
        (tmp_path / name).mkdir()
        done = subprocess.run(
            [sys.executable, *start, *words],
            cwd=tmp_path / name,
            env=environment,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        assert done.returncode == 1, done.stderr[-3000:]
        assert done.stdout.count("8 images, ") == 1
        found.append(left(tmp_path / name))
    assert found[0] == found[1]
