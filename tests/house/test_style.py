"""Format, lint and types, as `make check` sees them, and the length of modules."""

import subprocess
import sys

import pytest
from makers import HOME

LONGEST = 300  # lines
FOLDERS = ("mmvit", "tests", "tools", "benchmarks")


def test_modules_are_short() -> None:
    files = [file for folder in FOLDERS for file in (HOME / folder).rglob("*.py") if "node_modules" not in file.parts]
    long = {file.relative_to(HOME).as_posix() for file in files if len(file.read_text(encoding="utf-8").splitlines()) > LONGEST}
    assert long == set()


@pytest.mark.parametrize("command", ["ruff format --check .", "ruff check .", pytest.param("mypy", marks=pytest.mark.slow)])
def test_clean(command: str) -> None:
    done = subprocess.run([sys.executable, "-m", *command.split()], cwd=HOME, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
