"""`make gpu` as far as it goes without one: tests, timings and the page, tiny and on the CPU."""

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from makers import HOME, PROJECT, run_python

from benchmarks import gpu, measure
from benchmarks.candidates import Setting
from benchmarks.gpu import settings, summary
from mmvit.zoo import families

pytestmark = [pytest.mark.stack, pytest.mark.once]


@pytest.mark.slow
def test_dry_run_on_the_cpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = tmp_path / "page.md"
    monkeypatch.setattr(gpu, "others", lambda quick, setting: [gpu.CHANNELS_FIRST])
    assert gpu.main(["--device", "cpu", "--quick", "--select", "nms_match", "--out", str(page)]) == 0
    told = page.read_text()
    assert told.startswith(
        "# A dry run of the GPU's page on a CPU\n\nWritten by `python tools/gpu.py --device cpu --quick` on "
    )
    assert "1 passed" in told
    assert "## Inference, bfloat16, batch 2, median of 1 repeats in turns, 64 x 64" in told
    assert "| van_b0 | 64 x 64 | mmvit, channels-first |" in " ".join(told.split())
    assert "equal to" in told, "the channels-first form has the same maps"
    assert "## Left out" not in told


@pytest.mark.parametrize("failed", [0, 1])
def test_what_takes_too_long_is_left_out_and_told(failed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = tmp_path / "page.md"
    monkeypatch.setattr(gpu, "run_tests", lambda asked, seconds: subprocess.CompletedProcess([], failed, "done"))
    monkeypatch.setattr(gpu, "monotonic", iter([0.0, *[1e9] * 9]).__next__)
    assert gpu.main(["--device", "cpu", "--quick", "--out", str(page)]) == failed
    assert "Not measured within 9 minutes:\n\n- van_b0, inference, bfloat16" in page.read_text()


@pytest.mark.slow
def test_a_measurement_that_fails_leaves_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    page = tmp_path / "page.md"
    true = measure.measure

    def measured(setting: Setting, *arguments: Any, **options: Any) -> Iterator[measure.Row]:
        if setting.name == "van_b0":
            raise RuntimeError("no such kernel")
        return true(setting, *arguments, **options)

    monkeypatch.setattr(gpu, "run_tests", lambda asked, seconds: subprocess.CompletedProcess([], 0, "done"))
    monkeypatch.setattr(gpu, "others", lambda quick, setting: [gpu.CHANNELS_FIRST])
    monkeypatch.setattr(measure, "measure", measured)
    monkeypatch.setenv("PATH", "")  # no git
    assert gpu.main(["--device", "cpu", "--quick", "--out", str(page)]) == gpu.FAILURE
    told = page.read_text()
    assert "## Failed\n\nNot measured because of an error:\n\n- van_b0, inference, bfloat16, batch 2" in told
    assert told.rstrip().endswith("64 x 64: RuntimeError: no such kernel")
    assert "| pvt_v2_b0 | 64 x 64 | mmvit, channels-first |" in " ".join(told.split())
    assert "commit unknown." in told
    assert told in capsys.readouterr().out


def test_all_families_are_measured_in_both_precisions() -> None:
    found = list(settings("cuda", quick=False))
    assert {setting.name for setting in found} == {f"{family.record.name}_{family.record.small}" for family in families()}
    assert {(setting.dtype, setting.train, setting.batch) for setting in found} == {
        (dtype, train, batch) for dtype in ("bfloat16", "float32") for train in (False, True) for batch in (8, 2)
    }
    assert len(found) == 8 * len(families())


def test_the_bundle_has_what_a_machine_with_torch_lacks() -> None:
    """What the package and the official stack ask for is in the list of the script, or its first lines take it for granted."""
    script = (HOME / "tools" / "gpu_bundle.sh").read_text()
    collected = set(re.findall(r'packages="([^"]+)"', script)[0].split())
    asked = [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["openmmlab"]]
    asked += [
        line for extra in re.findall(r"mmvit\[(\w+)\]", " ".join(asked)) for line in PROJECT["optional-dependencies"][extra]
    ]
    names = {re.split(r"[<>=!~;\[ ]", line)[0] for line in asked} - {"mmvit"}
    assert len(names) > 10
    assert names - collected - {"torch", "torchvision", "timm", "numpy", "typing_extensions", "jinja2"} == set()


def test_failures_are_on_the_page() -> None:
    assert summary("....\nFAILED tests/a.py::b - no\n\n1 failed in 2 s\n") == ["FAILED tests/a.py::b - no", "1 failed in 2 s"]


def test_a_missing_gpu_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert gpu.main(["--out", str(tmp_path / "page.md")]) == 2
    assert "error: --device cuda: torch sees 0 GPUs here" in capsys.readouterr().err


@pytest.mark.parametrize("stubborn", [False, True])
def test_tests_that_take_too_long_are_interrupted(stubborn: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """They may end by themselves and tell what they found, for a while."""
    monkeypatch.setattr(gpu, "PATIENCE", 3)
    deaf = (
        "signal.signal(signal.SIGINT, signal.SIG_IGN)" if stubborn else "signal.signal(signal.SIGINT, lambda *_: sys.exit(3))"
    )
    words = [sys.executable, "-c", f"import signal, sys, time; {deaf}; print('ready', flush=True); time.sleep(60)"]
    with subprocess.Popen(words, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"ready\n"
        assert gpu.waited(process, 0.1) == (-signal.SIGKILL if stubborn else 3, True)


@pytest.mark.slow
def test_what_matters_most_is_tested_first() -> None:
    order = ("test_device_operators.py", "test_device_backbones.py", "-float16]", "compiled", "-None]")
    words = ["pytest", "--collect-only", "-q", "-m", "gpu", "-p", "no:cacheprovider", "tests/gpu"]
    names = [line for line in run_python("-m", *words, cwd=HOME).stdout.splitlines() if "::" in line]
    first = [next(index for index, name in enumerate(names) if part in name) for part in order]
    assert first == sorted(first)
