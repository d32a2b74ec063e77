"""What the doctor finds in configs and installations, whole ones and broken ones; it never ends in a traceback."""

import os
import sys
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from families import FAMILIES, released_state
from hubs import served
from makers import run_python, write_coco

from mmvit.checks import doctor
from mmvit.checks.doctor import check_stack, check_timm, examine
from mmvit.checks.findings import Finding, guarded
from mmvit.commands.doctor import main
from mmvit.compat.systems import processor
from mmvit.errors import InputError

pytestmark = [pytest.mark.stack, pytest.mark.usefixtures("folder")]

LEAF = "retinanet_pvt_tiny_coco"


def findings(**options: Any) -> dict[str, Finding]:
    """What is found about the leaf, with some of its entries changed."""
    found = {
        finding.subject: finding for finding in examine(LEAF, {key.replace("__", "."): value for key, value in options.items()})
    }
    assert found["config"].verdict == "ok"
    return found


@pytest.fixture
def server(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Address of a web server on this machine that has 3 MB at /pvt_tiny.pth and nothing else."""
    (folder / "served").mkdir()
    (folder / "served" / "pvt_tiny.pth").write_bytes(bytes(3_000_000))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with served(partial(SimpleHTTPRequestHandler, directory=folder / "served")) as address:
        yield address


def test_broken_installations_get_no_traceback(folder: Path) -> None:
    """Compat switched off, and a timm that does not import: both are findings, and the config's check says what stops it."""
    (folder / "timm.py").write_text("raise ImportError('timm is broken on this machine')")
    path = f"{folder}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
    done = run_python("-m", "mmvit", "doctor", LEAF, status=1, PYTHONPATH=path, MMVIT_COMPAT="0")
    assert "Traceback" not in done.stdout + done.stderr
    said = {line.split()[1]: line for line in done.stdout.splitlines() if line.startswith(("ok ", "wrong"))}
    assert said["compat"].startswith("wrong")
    assert "unset it" in said["compat"]
    assert said["timm"].endswith("ImportError: timm is broken on this machine")
    assert said["config"].endswith("ImportError: timm is broken on this machine")
    assert said["device"].startswith("ok")


def test_whole_config(folder: Path, capsys: pytest.CaptureFixture) -> None:
    write_coco(folder / "data" / "coco")
    model = FAMILIES[0].build("tiny")
    torch.save(released_state(FAMILIES[0], model), "own.pth")
    assert main([LEAF, "--cfg-options", "model.backbone.init_cfg.checkpoint=own.pth"]) == 0
    said = capsys.readouterr().out
    assert "RetinaNet with PVT, 23.0 M parameters" in said
    assert "(64, 128, 320, 512) at strides (4, 8, 16, 32) fit what follows" in said
    assert f"own.pth: {len(model.state_dict())} tensors loaded, 5 dropped, 0 missing" in said


def test_configs_that_are_none(folder: Path, capsys: pytest.CaptureFixture) -> None:
    Path("broken.py").write_text("model = dict(")
    for config, told in (
        ("retinanet_pvt_tiny_coc", f"did you mean {LEAF}"),
        ("absent/own.py", "no such file"),
        ("broken.py", "broken.py does not parse"),
        ("mmvit::_base_/datasets/coco_detection.py", "has no model"),
    ):
        assert main([config]) == 1
        lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("wrong        config")]
        assert told in lines[0]


def test_missing_data_and_file() -> None:
    found = findings(model__backbone__init_cfg__checkpoint="absent.pth")
    assert found["model"].verdict == "ok"
    assert found["data"].text.startswith("dataset not found: 4 paths")
    assert "data/coco/annotations/instances_train2017.json" in str(found["data"])
    assert "cocodataset.org" in str(found["data"])
    assert found["checkpoint"].text.startswith("checkpoint absent.pth: no such file")
    own = findings(model__bbox_head__num_classes=1, train_dataloader__dataset__metainfo__classes=("cat",))["data"]
    assert "cocodataset.org" not in str(own), "own data are not to be downloaded"


def test_models_that_do_not_build() -> None:
    found = findings(model__backbone__arch="smal")
    assert "PVT has no arch 'smal'; it has tiny, small" in found["model"].text
    assert "norm_cfg=dict(type='SyncBN')" in findings(model__neck__norm_cfg=dict(type="MMSyncBN"))["model"].text
    found = findings(model__bbox_head__type="RetinaHed")
    assert "RetinaHed is not in the" in found["model"].text
    assert found["channels"].verdict == "not checked", "the backbone alone builds"


def test_other_backbones_are_left_alone(folder: Path) -> None:
    Path("own.py").write_text("_base_ = 'mmdet::_base_/models/retinanet_r50_fpn.py'\ndefault_scope = 'mmdet'\n")
    found = {finding.subject: finding for finding in examine("own.py")}
    assert str(found["channels"]) == "not checked  channels     ResNet is not one of mmvit's backbones"
    assert found["data"].verdict == "ok"


@pytest.mark.parametrize(
    ("file", "told"),
    [
        ("other.pth", "It holds epoch (int)"),
        ("http://127.0.0.1:9/pvt_tiny.pth", "http://127.0.0.1:9/pvt_tiny.pth is not available ("),
        ("mmvit://pvt_tinny", "did you mean pvt_tiny"),
    ],
)
def test_files_that_cannot_be_loaded(file: str, told: str) -> None:
    torch.save({"epoch": 1}, "other.pth")
    found = findings(model__backbone__init_cfg__checkpoint=file)["checkpoint"]
    assert found.verdict == "wrong"
    assert told in found.text


def test_file_on_a_server(server: str, folder: Path) -> None:
    where = folder / "torch" / "hub" / "checkpoints" / "pvt_tiny.pth"
    found = findings(model__backbone__init_cfg__checkpoint=f"{server}/pvt_tiny.pth")
    assert found["checkpoint"].verdict == "ok"
    assert found["checkpoint"].text == f"{server}/pvt_tiny.pth is available, 3 MB; training will put it at {where}"
    assert not where.exists(), "nothing is downloaded"
    found = findings(model__backbone__init_cfg__checkpoint=f"{server}/absent.pth", load_from=f"{server}/absent.pth")
    assert "absent.pth is not available (HTTP status 404). Download it elsewhere" in found["checkpoint"].text
    assert "HTTP status 404" in found["load_from"].text
    where.parent.mkdir(parents=True)
    torch.save(released_state(FAMILIES[0], FAMILIES[0].build("tiny")), where)
    found = findings(model__backbone__init_cfg__checkpoint=f"{server}/pvt_tiny.pth")
    assert "tensors loaded, 5 dropped, 0 missing" in found["checkpoint"].text, "what was downloaded before is checked as a file"


def test_gpu_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    if torch.cuda.is_available():
        assert all(finding.text.startswith("GPU ") for finding in doctor.check_device())
        return
    (finding,) = doctor.check_device()
    assert finding.text.startswith(f"{processor()}, ")
    about = type("About", (), dict(name="A GPU", total_memory=80 * 2**30))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: about)
    (finding,) = doctor.check_device()
    assert finding.verdict == "wrong", "torch here has no GPU to compute on"
    assert finding.text.startswith("GPU 0: A GPU, 80 GiB cannot compute: ")


def test_the_doctor_says_what_auto_comes_to(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("openvino")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setenv("MMVIT_AUTO_BFLOAT16", "1")
    core = SimpleNamespace(get_property=lambda *names: ["FP32", "BF16", "BIN"])
    monkeypatch.setattr(doctor, "inference_core", lambda: core)
    (found,) = doctor.check_precision()
    assert found.sentence == "auto is bfloat16 for checkpoints and bfloat16 in training; OpenVINO computes in float32, bfloat16"


def test_the_doctor_says_which_forms_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MMVIT_BANDS", "0")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    (found,) = guarded("forms", doctor.CHECKS["forms"])
    assert (found.verdict, found.subject) == ("ok", "forms")
    assert "dilated convolutions by phases; in training" in found.sentence
    assert "MLPs in bands of rows" not in found.sentence
    assert found.sentence.endswith("; fixed by MMVIT_BANDS=0")
    monkeypatch.setenv("MMVIT_BANDS", "no")
    with pytest.raises(InputError, match="MMVIT_BANDS='no'"):
        list(doctor.check_forms())


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
    ("distributions", "verdict", "told"),
    [
        (OFFICIAL, "ok", "official: "),
        (FORKS, "ok", "maintained forks: "),
        (dict(list(OFFICIAL.items())[:3]), "ok", "without mmseg"),
        (OFFICIAL | FORKS, "wrong", "both stacks are installed"),
        (OFFICIAL | {"mmcv": "2.1.0"}, "wrong", "mmcv and mmcv-lite write over each other's files"),
        (
            {"mmengine": "0.10.7", "mmdet": "3.3.0"},
            "wrong",
            "there is no mmcv (mmengine 0.10.7, mmdet 3.3.0). pip install 'mmvit[",
        ),
        ({"mmengine": "0.10.7", "mmcv-lite": "2.1.0"}, "wrong", "neither mmdet nor mmsegmentation"),
        ({}, "wrong", "nothing of a stack was installed by pip"),
    ],
)
def test_stacks(monkeypatch: pytest.MonkeyPatch, distributions: dict[str, str], verdict: str, told: str) -> None:
    pretend(monkeypatch, distributions)
    (finding,) = check_stack()
    assert finding.verdict == verdict
    assert told in finding.text
    assert verdict == "wrong" or all(f"{name} {number}" in finding.text for name, number in distributions.items())


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
