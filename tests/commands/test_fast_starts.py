"""What needs no network starts without torch: the listing, from what it kept, and every command's --help."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from mmvit.__main__ import COMMANDS
from mmvit.commands import listing

# A command in this process, of which standard error tells afterwards whether torch was imported.
CODE = (
    "import sys; from mmvit.__main__ import main; status = main(sys.argv[1:]); sys.exit(status or ('torch' in sys.modules) * 9)"
)


def run(*words: str, cache: Path) -> tuple[int, str]:
    environment = {"XDG_CACHE_HOME": str(cache), "PYTHONPATH": ":".join(sys.path)}
    done = subprocess.run([sys.executable, "-c", CODE, *words], capture_output=True, text=True, env=environment)
    return done.returncode, done.stdout


@pytest.mark.slow
def test_the_second_listing_does_without_torch(tmp_path: Path) -> None:
    first, kept = run("list", "volo_d1*", cache=tmp_path), tmp_path / "mmvit" / "archs.json"
    assert first[0] == 9, "the families are imported once"
    assert run("list", "volo_d1*", cache=tmp_path) == (0, first[1])
    assert [file.name for file in kept.parent.iterdir()] == ["archs.json"]
    content = json.loads(kept.read_text())
    content["rows"]["volo_d1"][0][1] = "changed"
    kept.write_text(json.dumps(content))
    assert "changed" in run("list", "volo_d1", cache=tmp_path)[1]


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"state": ["of other files"], "rows": {}}', "\0"])
def test_a_broken_or_outdated_cache_is_made_anew(content: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(listing, "FAMILIES", "mmvit.no_such_module")  # as if they were not imported yet
    (tmp_path / "mmvit").mkdir()
    kept = tmp_path / "mmvit" / "archs.json"
    kept.write_text(content)
    assert listing.known_rows()["volo_d1"][0][1] == "84.2"
    assert json.loads(kept.read_text())["rows"] == listing.known_rows()


def test_a_cache_that_cannot_be_written_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    monkeypatch.setattr(listing, "FAMILIES", "mmvit.no_such_module")
    assert "volo_d1" in listing.known_rows()


def test_families_of_others_are_listed_and_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert listing.FAMILIES in sys.modules
    assert listing.known_rows()
    assert not list(tmp_path.iterdir())


def test_help_does_without_torch(tmp_path: Path) -> None:
    code = (
        "import sys\nfrom contextlib import suppress\nfrom mmvit.__main__ import main\n"
        "for name in sys.argv[1:]:\n    with suppress(SystemExit):\n        main([name, '--help'])\n"
        "    assert 'torch' not in sys.modules, name\n"
    )
    done = subprocess.run([sys.executable, "-c", code, *COMMANDS], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("usage:") == len(COMMANDS)
