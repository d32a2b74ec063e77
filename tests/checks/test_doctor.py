"""What the doctor finds in configs, whole ones and broken ones; it never ends in a traceback."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import torch
from families import FAMILIES, released_state
from makers import write_coco

from mmvit.checks import doctor
from mmvit.checks.channels import misfits
from mmvit.checks.doctor import examine
from mmvit.checks.findings import Finding
from mmvit.commands.doctor import main
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
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Address of a web server on this machine that has 3 MB at /pvt_tiny.pth and nothing else."""

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.send_response(200 if self.path == "/pvt_tiny.pth" else 404)
            self.send_header("Content-Length", "3000000")
            self.end_headers()

        def log_message(self, *words: object) -> None:
            pass

    monkeypatch.setenv("no_proxy", "127.0.0.1")
    service = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=service.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{service.server_port}"
    service.shutdown()
    service.server_close()


def test_broken_installations_get_no_traceback(folder: Path) -> None:
    """Compat switched off, and a timm that does not import: both are findings, and the config's check says what stops it."""
    (folder / "timm.py").write_text("raise ImportError('timm is broken on this machine')")
    path = f"{folder}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
    done = subprocess.run(
        [sys.executable, "-m", "mmvit", "doctor", LEAF],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": path, "MMVIT_COMPAT": "0"},
        timeout=300,
        check=False,
    )
    assert done.returncode == 1
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
        line = capsys.readouterr().out.splitlines()[len(doctor.CHECKS)]
        assert line.startswith("wrong        config")
        assert told in line


def test_missing_data_and_file() -> None:
    found = findings(model__backbone__init_cfg__checkpoint="absent.pth")
    assert found["model"].verdict == "ok"
    assert found["data"].text.startswith("dataset not found: 4 paths")
    assert "data/coco/annotations/instances_train2017.json" in str(found["data"])
    assert found["checkpoint"].text.startswith("checkpoint absent.pth: no such file")


def test_models_that_do_not_build() -> None:
    found = findings(model__backbone__arch="smal")
    assert "PVT has no arch 'smal'; it has tiny, small" in found["model"].text
    found = findings(model__bbox_head__type="RetinaHed")
    assert "RetinaHed is not in the" in found["model"].text
    assert found["channels"].verdict == "not checked", "the backbone alone builds"


def test_channels_that_do_not_fit() -> None:
    found = findings(model__neck__in_channels=[64, 128, 320, 256])
    assert found["model"].verdict == "ok", "mmdet does not notice"
    told = "model.neck.in_channels is [64, 128, 320, 256], but what comes before it gives [64, 128, 320, 512]"
    assert found["channels"].text == told


@pytest.mark.parametrize(
    ("model", "told"),
    [
        (dict(decode_head=dict(in_channels=[8, 16, 24, 32], in_index=[0, 1, 2, 3])), []),
        (dict(decode_head=dict(in_channels=[8, 16, 24, 32])), []),
        (dict(decode_head=dict(in_channels=32)), []),
        (dict(auxiliary_head=dict(in_channels=24, in_index=2)), []),
        (dict(auxiliary_head=dict(in_channels=16, in_index=2)), ["model.auxiliary_head.in_channels is 16, but .* gives 24"]),
        (
            dict(decode_head=[dict(in_channels=[8, 16], in_index=(0, 1)), dict(in_channels=[8, 32], in_index=(0, 2))]),
            [r"model.decode_head.1.in_channels is \[8, 32\], but .* gives \[8, 24\]"],
        ),
        (dict(decode_head=dict(in_channels=32, in_index=4)), ["model.decode_head.in_index is 4, but there are 4 maps"]),
        (dict(neck=dict(in_channels=(8, 16, 24, 32), out_channels=64), rpn_head=dict(in_channels=64)), []),
        (dict(neck=dict(in_channels=[8, 16, 24, 32], out_channels=64), decode_head=dict(in_channels=[64, 64])), []),
        (
            dict(neck=dict(in_channels=[8, 16, 24], out_channels=64), bbox_head=dict(in_channels=256)),
            [r"model.neck.in_channels is \[8, 16, 24\]", "model.bbox_head.in_channels is 256, but .* gives 64"],
        ),
        (dict(neck=[dict(in_channels=[8, 16, 24, 32], out_channels=64), dict(in_channels=64, out_channels=64)]), []),
        (dict(neck=dict(in_channels=[8, 16, 24, 32]), bbox_head=dict(in_channels=7)), []),
    ],
)
def test_channels_of_necks_and_heads(model: dict[str, Any], told: list[str]) -> None:
    found = list(misfits(model, (8, 16, 24, 32)))
    assert len(found) == len(told)
    assert all(re.search(expected, str(misfit)) for expected, misfit in zip(told, found, strict=True))


def test_other_backbones_are_left_alone(folder: Path) -> None:
    Path("own.py").write_text("_base_ = 'mmdet::_base_/models/retinanet_r50_fpn.py'\ndefault_scope = 'mmdet'\n")
    found = {finding.subject: finding for finding in examine("own.py")}
    assert found["channels"].text == "ResNet is not one of mmvit's backbones"
    assert found["data"].verdict == "ok"


def test_file_of_another_arch() -> None:
    torch.save(released_state(FAMILIES[0], FAMILIES[0].build()), "other.pth")
    found = findings(model__backbone__init_cfg__checkpoint="other.pth")
    assert found["checkpoint"].verdict == "wrong"
    assert "other.pth does not fit the PVT backbone" in found["checkpoint"].text


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


def test_server_that_is_not_there() -> None:
    found = findings(model__backbone__init_cfg__checkpoint="http://127.0.0.1:9/pvt_tiny.pth")
    assert "127.0.0.1:9/pvt_tiny.pth is not available (" in found["checkpoint"].text
    assert "model.backbone.init_cfg.checkpoint=PATH" in found["checkpoint"].text


def test_released_files_by_name() -> None:
    found = findings(model__backbone__init_cfg__checkpoint="mmvit://pvt_tinny")
    assert "did you mean pvt_tiny" in found["checkpoint"].text


def test_gpu_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    if torch.cuda.is_available():
        assert all(finding.text.startswith("GPU ") for finding in doctor.check_device())
        return
    (finding,) = doctor.check_device()
    assert "CPU with" in finding.text
    about = type("About", (), dict(name="A GPU", total_memory=80 * 2**30))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: about)
    (finding,) = doctor.check_device()
    assert finding.verdict == "wrong", "torch here has no GPU to compute on"
    assert finding.text.startswith("GPU 0: A GPU, 80 GiB cannot compute: ")


def test_the_doctor_says_which_forms_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MMVIT_BANDS", "0")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    (found,) = doctor.check_forms()
    assert (found.verdict, found.subject) == ("ok", "forms")
    assert "dilated convolutions by phases; in training" in found.sentence
    assert "MLPs in bands of rows" not in found.sentence
    assert found.sentence.endswith("; fixed by MMVIT_BANDS=0")
    monkeypatch.setenv("MMVIT_BANDS", "no")
    with pytest.raises(InputError, match="MMVIT_BANDS='no'"):
        list(doctor.check_forms())
