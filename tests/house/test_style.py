"""Format, lint and types, as `make check` sees them."""

import subprocess
import sys

import pytest
from makers import HOME


@pytest.mark.parametrize("command", ["ruff format --check .", "ruff check .", "mypy"])
def test_clean(command: str) -> None:
    done = subprocess.run([sys.executable, "-m", *command.split()], cwd=HOME, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
