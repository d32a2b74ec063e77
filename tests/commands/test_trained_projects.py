"""Commands that take a trained model take its project's folder, its config or its work dir, and find the best checkpoint."""

import shutil
from pathlib import Path

import pytest
from predict.trained import Trained

from mmvit.__main__ import main

pytestmark = pytest.mark.once


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("project")
    trained = Trained("fpn", folder)
    trained.cfg.work_dir = str(folder / "runs")
    trained.cfg.dump(trained.config)
    (folder / "runs").mkdir()
    shutil.copy(trained.config, folder / "runs")
    shutil.move(trained.checkpoint, folder / "runs" / "best_mIoU_iter_1.pth")
    return folder


@pytest.mark.parametrize("source", ["", "fpn.py", "runs"])
def test_the_best_is_found(project: Path, source: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trained = str(project / source)
    assert main(["analyze", trained, "--out", str(tmp_path / "page.html"), "--images", "2"]) == 0
    assert main(["export", trained, "--to", "pt2", "--size", "64x64", "--out", str(tmp_path / "model.pt2")]) == 0
    assert "mIoU" in capsys.readouterr().out
    if source != "fpn.py":  # which is no folder
        assert main(["predict", trained, str(next(project.rglob("0.png"))), "--out", str(tmp_path / "found")]) == 0
        assert main(["publish", trained, "--out", str(tmp_path / "published")]) == 0
        assert len(list((tmp_path / "published").glob("runs-*"))) == 2


def test_a_work_dir_that_was_moved(project: Path, tmp_path: Path) -> None:
    """Its config names the folder in which it was trained."""
    shutil.copytree(project / "runs", tmp_path / "moved")
    assert main(["publish", str(tmp_path / "moved"), "--out", str(tmp_path / "published")]) == 0
    assert len(list((tmp_path / "published").glob("moved-*"))) == 2


def test_a_checkpoint_with_an_ending_of_its_own(project: Path, tmp_path: Path) -> None:
    shutil.copy(project / "runs" / "best_mIoU_iter_1.pth", tmp_path / "model.ckpt")
    words = [str(tmp_path / "model.ckpt"), "--to", "pt2", "--size", "64x64", "--out", str(tmp_path / "model.pt2")]
    assert main(["export", *words]) == 0


def test_a_project_without_a_training(tmp_path: Path, project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = (project / "fpn.py").read_text(encoding="utf-8").replace(str(project / "runs"), str(tmp_path / "none"))
    (tmp_path / "fpn.py").write_text(config, encoding="utf-8")
    for command in ("analyze", "publish", "export"):
        assert main([command, str(tmp_path), "--out", str(tmp_path / "out.onnx")]) == 2
        assert "no best_*.pth and no last_checkpoint in it" in capsys.readouterr().err
