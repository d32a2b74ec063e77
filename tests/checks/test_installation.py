"""What the doctor finds in installations, whole ones and broken ones."""

import sys
from pathlib import Path

import pytest

from mmvit.checks import doctor
from mmvit.checks.doctor import check_stack, check_timm
from mmvit.commands.doctor import main

pytestmark = [pytest.mark.stack, pytest.mark.usefixtures("folder")]

OFFICIAL = {"mmengine": "0.10.7", "mmcv-lite": "2.1.0", "mmdet": "3.3.0", "mmsegmentation": "1.2.2"}
FORKS = {"onedl-mmengine": "0.10.12", "onedl-mmcv": "2.3.6", "onedl-mmdetection": "3.5.1", "onedl-mmsegmentation": "1.4.2"}


def pretend(monkeypatch: pytest.MonkeyPatch, distributions: dict[str, str]) -> None:
    monkeypatch.setattr(doctor, "version", distributions.get)


def test_this_installation_is_whole(capsys: pytest.CaptureFixture) -> None:
    assert main([]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == "all is well"
    assert all(line.startswith("ok ") for line in lines[:-1])
    assert {line.split()[1] for line in lines[:-1]} == set(doctor.CHECKS)


@pytest.mark.parametrize(
    ("distributions", "told"),
    [
        (OFFICIAL | FORKS, "both stacks are installed"),
        (OFFICIAL | {"mmcv": "2.1.0"}, "mmcv and mmcv-lite write over each other's files"),
        (
            {"mmengine": "0.10.7", "mmdet": "3.3.0"},
            "there is no mmcv (mmengine 0.10.7, mmdet 3.3.0). pip install 'mmvit[openmm",
        ),
        ({"mmengine": "0.10.7", "mmcv-lite": "2.1.0"}, "neither mmdet nor mmsegmentation"),
        ({}, "nothing of a stack was installed by pip"),
    ],
)
def test_stacks_that_cannot_work(monkeypatch: pytest.MonkeyPatch, distributions: dict[str, str], told: str) -> None:
    pretend(monkeypatch, distributions)
    (finding,) = check_stack()
    assert finding.verdict == "wrong"
    assert told in finding.text


def test_stacks_that_work(monkeypatch: pytest.MonkeyPatch) -> None:
    for distributions, kind in ((OFFICIAL, "official"), (FORKS, "maintained forks")):
        pretend(monkeypatch, distributions)
        (finding,) = check_stack()
        assert finding.verdict == "ok"
        assert finding.text.startswith(f"{kind}: ")
        assert all(f"{name} {number}" in finding.text for name, number in distributions.items())
    pretend(monkeypatch, {name: number for name, number in OFFICIAL.items() if name != "mmsegmentation"})
    (finding,) = check_stack()
    assert finding.verdict == "ok"
    assert "without mmseg" in finding.text


def test_modules_that_do_not_import(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    (folder / "needy.py").write_text("import absent_part.inner")
    (folder / "blind.py").write_text("raise ImportError('libGL.so.1: cannot open shared object file')")
    monkeypatch.syspath_prepend(folder)
    needy, blind = doctor.check_imports(["needy", "blind"])
    assert needy.text.endswith("No module named 'absent_part'; install what has it, pip install absent_part if it is called so")
    assert blind.text.endswith("pip install --force-reinstall --no-deps opencv-python-headless")


@pytest.mark.parametrize(
    ("transformers", "cure"),
    [
        ("5.24.0", "pip install 'transformers<4.52', or"),
        ("4.57.6", "pip install 'transformers<4.52', or"),
        ("4.51.3", "if you do not use it"),
        (None, "if you do not use it"),
    ],
)
def test_mmpretrain_that_does_not_import(
    transformers: str | None, cure: str, monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    """As mmpretrain 1.2 beside transformers 5: a class of its own derives from the None that stands for one of transformers."""
    pretend(monkeypatch, {"mmpretrain": "1.2.0", **({"transformers": transformers} if transformers else {})})
    (folder / "needy.py").write_text("try:\n    import mmpretrain\nexcept ImportError:\n    pass\n")
    (folder / "mmpretrain.py").write_text("class Bert(None):\n    pass\n")
    monkeypatch.syspath_prepend(folder)
    monkeypatch.delitem(sys.modules, "mmpretrain", raising=False)
    (finding,) = doctor.check_imports(["needy"])
    assert "needy" not in sys.modules
    assert finding.verdict == "wrong"
    assert "NoneType takes no arguments" in finding.text
    assert "mmpretrain 1.2.0" in finding.text
    assert cure in finding.text
    assert finding.text.endswith("pip uninstall -y mmpretrain")


@pytest.mark.parametrize("version", ["0.9.16", "1.0.9"])
def test_old_timm(version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, {"timm": version})
    (finding,) = check_timm()
    assert finding.verdict == "wrong"
    assert "pip install -U timm" in finding.text
