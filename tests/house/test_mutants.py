"""The table of planted faults applies to the code as it is, and `tools/mutants.py` names those that no test notices."""

import subprocess
import sys
from pathlib import Path

import pytest
from makers import HOME

sys.path.append(str(HOME / "tools"))

from mutants import TABLE, Fault, main, read_faults

FAULTS = read_faults(TABLE)
ROOMS = {path.name for path in (HOME / "mmvit").iterdir() if (path / "__init__.py").is_file()}
ROOMS -= {"transformers", "lightly_train", "monai"}  # their tests need packages that the environment of make mutants has not


@pytest.mark.parametrize("fault", FAULTS, ids=str)
def test_every_row_applies(fault: Fault) -> None:
    text = (HOME / fault.file).read_text(encoding="utf-8")
    changed = fault.planted(HOME)
    assert changed != text
    if fault.file.endswith(".py"):
        compile(changed, fault.file, "exec")
    files = [word for word in fault.tests.split() if word.startswith("tests/")]
    assert files
    assert all((HOME / file.partition("::")[0]).exists() for file in files)


def test_every_room_has_a_row() -> None:
    assert {Path(fault.file).parts[1] for fault in FAULTS if fault.file.startswith("mmvit/")} >= ROOMS


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A checkout with a module of two functions, of which one is tested."""
    (tmp_path / "sums.py").write_text(
        "def add(a, b):\n    return a + b\n\n\ndef minus(a, b):\n    return a - b\n", encoding="utf-8"
    )
    (tmp_path / "test_sums.py").write_text(
        "from sums import add\n\n\ndef test_add():\n    assert add(1, 2) == 3\n", encoding="utf-8"
    )
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    return tmp_path


def row(old: str, new: str, tests: str = "test_sums.py") -> str:
    return f'[[fault]]\nfile = "sums.py"\nold = "{old}"\nnew = "{new}"\ntests = "{tests}"\n'


@pytest.mark.parametrize(
    ("rows", "status", "told"),
    [
        ([row("a + b", "a * b"), row("a - b", "b - a")], 1, "survived test_sums.py: sums.py: a - b -> b - a"),
        ([row("a / b", "a")], 1, "sums.py: a / b -> a\n  the old text is there 0 times"),
        ([row("return a", "return b")], 1, "the old text is there 2 times"),
        pytest.param([row("a + b", "a - b")], 0, "1 faults, 0 of them not noticed", marks=pytest.mark.slow),
        pytest.param([row("a + b", "a +")], 1, "exit status 2 of test_sums.py, expected 1", marks=pytest.mark.slow),
        pytest.param([row("a + b", "b", "test_none.py")], 1, "test_none.py ends with exit status 4", marks=pytest.mark.slow),
    ],
    ids=["survives", "outdated", "twice", "noticed", "broken", "no tests"],
)
def test_faults_are_planted(rows: list[str], status: int, told: str, project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (project / "table.toml").write_text("\n".join(rows), encoding="utf-8")
    before = (project / "sums.py").read_text(encoding="utf-8")
    assert main(["--workers", "1"], project, project / "table.toml") == status
    assert told in "".join(capsys.readouterr())
    assert (project / "sums.py").read_text(encoding="utf-8") == before
