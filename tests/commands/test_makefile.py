"""Which Python the Makefile takes, seen from a PATH that holds only what the test puts there."""

import shutil
import subprocess
from pathlib import Path

import pytest
from makers import HOME

TOOLS = ("sh", "sort", "tr")
MAKE = shutil.which("make")
pytestmark = pytest.mark.skipif(MAKE is None, reason="make is not installed")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    for tool in TOOLS:
        (tmp_path / tool).symlink_to(str(shutil.which(tool)))
    return tmp_path


def python(path: Path, name: str, status: int = 0) -> None:
    """A stand-in for an interpreter: `status` is what it answers when it is asked whether it will do."""
    (path / name).write_text(f'#!/bin/sh\n[ "$1" = --version ] && echo "Python {name[6:]}" && exit\nexit {status}\n')
    (path / name).chmod(0o755)


def make(path: Path, *words: str) -> subprocess.CompletedProcess:
    command = [str(MAKE), "--always-make", *words, f"VENV={path}/venv"]
    return subprocess.run(command, cwd=HOME, env={"PATH": str(path)}, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize(
    ("there", "taken"),
    [
        ({"python3.11": 0, "python3.13": 0}, "python3.13"),
        ({"python3.11": 0, "python3.14": 1}, "python3.11"),  # 3.14 without venv, as Debian has it without python3-venv
        ({"python3.9": 0, "python3": 0}, "python3"),
    ],
)
def test_takes_the_newest_that_will_do(there: dict[str, int], taken: str, path: Path) -> None:
    for name, status in there.items():
        python(path, name, status)
    done = make(path, "--dry-run", "demo")
    assert f"\n{path / taken} -m venv --clear {path}/venv\n" in done.stdout


def test_says_what_is_missing(path: Path) -> None:
    python(path, "python3", 1)
    done = make(path, "demo")
    assert done.returncode == 2
    assert "needs one of Python 3.14 3.13 3.12 3.11 3.10, with its modules venv and ensurepip" in done.stderr
    assert "found: Python 3" in done.stderr
    assert "make PYTHON=" in done.stderr
    assert not (path / "venv").exists()
