"""The folder of a project stands for its config and its best checkpoint."""

import os
from pathlib import Path

import pytest

from mmvit.commands.predict import parts
from mmvit.config.files import config_file
from mmvit.config.work_dirs import best_of
from mmvit.errors import InputError

pytestmark = pytest.mark.stack


def test_a_project(tmp_path: Path) -> None:
    (tmp_path / "base.py").write_text("a = 1\n", encoding="utf-8")
    config = tmp_path / "coins.py"
    config.write_text("_base_ = 'base.py'\nwork_dir = '{{ fileDirname }}/run'\n", encoding="utf-8")
    assert config_file(str(tmp_path)) == config
    with pytest.raises(InputError, match="expected a work dir of a training"):
        best_of(tmp_path)
    run = tmp_path / "run"
    run.mkdir()
    for number, name in enumerate(("best_b.pth", "best_a.pth")):
        (run / name).touch()
        os.utime(run / name, (number, number))
    assert best_of(tmp_path) == str(run / "best_a.pth")
    assert parts([str(tmp_path), "photos/", "more/"]) == (str(tmp_path), None, ["photos/", "more/"])
    assert parts([str(tmp_path), "x.pth", "photos/"]) == (str(tmp_path), "x.pth", ["photos/"])


@pytest.mark.parametrize(("names", "told"), [((), "no config in it"), (("a.py", "b.py"), r"2 configs in it \(a.py, b.py\)")])
def test_folders_that_are_no_project(tmp_path: Path, names: tuple[str, ...], told: str) -> None:
    for name in names:
        (tmp_path / name).touch()
    with pytest.raises(InputError, match=told):
        config_file(str(tmp_path))
