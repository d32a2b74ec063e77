"""Format, lint and types, as `make check` sees them, and the length of modules."""

import ast

import pytest
from makers import HOME, run_python

LONGEST = 300  # lines
FOLDERS = ("mmvit", "tests", "tools", "benchmarks")


def test_modules_are_short() -> None:
    files = [file for folder in FOLDERS for file in (HOME / folder).rglob("*.py") if "node_modules" not in file.parts]
    long = {file.relative_to(HOME).as_posix() for file in files if len(file.read_text(encoding="utf-8").splitlines()) > LONGEST}
    assert long == set()


def opens_without_encoding(call: ast.Call) -> bool:
    """Whether a call opens a text file in the system's encoding, which is not UTF-8 on Windows."""
    if not isinstance(call.func, ast.Attribute) or any(word.arg in ("encoding", None) for word in call.keywords):
        return False
    modes = [word.value for word in call.keywords if word.arg == "mode"] + call.args[:1]
    if call.func.attr == "open":
        return not modes or (isinstance(modes[0], ast.Constant) and set(str(modes[0].value)) <= set("rwax+t"))
    return (call.func.attr, bool(call.args)) in (("read_text", False), ("write_text", True))


def test_text_files_name_their_encoding() -> None:
    found = []
    for file in (file for folder in ("mmvit", "tools", "benchmarks") for file in sorted((HOME / folder).rglob("*.py"))):
        calls = [node for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))) if isinstance(node, ast.Call)]
        found += [f"{file.relative_to(HOME)}:{call.lineno}" for call in calls if opens_without_encoding(call)]
    assert found == []


@pytest.mark.parametrize("command", ["ruff format --check .", "ruff check .", pytest.param("mypy", marks=pytest.mark.slow)])
def test_clean(command: str) -> None:
    run_python("-m", *command.split(), cwd=HOME)
