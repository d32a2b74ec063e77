"""Every command that a page shows is one that the command line takes, and names what there is."""

import re
import runpy
import subprocess
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import pytest
from house.pages import CONFIGS, OURS, PAGES, SHELL, Block, commands, quoted
from makers import HOME

from mmvit.__main__ import COMMANDS, main
from mmvit.config.files import config_file
from mmvit.zoo import list_archs

TARGETS = set(re.findall(r"^([a-z-]+):", (HOME / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
MADE = {str(block.file) for block in CONFIGS}  # configs that a page tells the reader to write
SHOWN = [pytest.param(words, id=f"{block}-{' '.join(words)[:50]}") for block in SHELL for words in commands(block.text)]
MENTIONED = [
    pytest.param(words, id=f"{page.stem}-{' '.join(words)[:50]}")
    for page in PAGES
    if page.name != "CHANGELOG.md"
    for text in quoted(page)
    if re.match(r"(python -m )?mmvit [a-z]", text)
    for words in [text.replace("|", "-or-").split()]
]
ELSEWHERE = re.compile(r"[A-Z]+$|\.\.\.$|(?!(\./)?configs/).*(/|\.pth$|\.onnx$)")  # no config of this checkout is meant
NAMED = re.compile(r"(?:-m |`|[Ss]ee |^ +)mmvit (\w+)", re.MULTILINE)
PROGRAMS = (HOME / "mmvit", HOME / "benchmarks", HOME / "tools", HOME / "docs" / "notebooks", HOME / "docker")


class Parsed(Exception):  # noqa: N818  (nothing is wrong)
    """What a parser made of the words, raised where the command would start its work."""

    def __init__(self, asked: Namespace) -> None:
        super().__init__(asked)
        self.asked = asked


@pytest.fixture
def parse_only(monkeypatch: pytest.MonkeyPatch) -> None:
    parse = ArgumentParser.parse_args

    def stop(parser: ArgumentParser, *arguments: Sequence[str]) -> None:
        raise Parsed(parse(parser, *arguments))

    monkeypatch.setattr(ArgumentParser, "parse_args", stop)


def check(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Give a command to the parser that it is for, if that is one of ours; fail if it does not take it."""
    try:
        start(words, monkeypatch)
    except Parsed as parsed:
        config = vars(parsed.asked).get("config")
        if isinstance(config, str) and not ELSEWHERE.match(config) and config not in MADE:
            assert config_file(config).is_file(), words
    except SystemExit as refused:
        pytest.fail(f"{' '.join(words)}: exit status {refused.code}")


def start(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    program, *rest = ours(words)
    if program == "mmvit":
        assert main(rest) == 0, words
    elif program == "make":
        assert set(rest) - {word for word in rest if "=" in word} <= TARGETS, words
    elif program == "-m" and "ArgumentParser" in module_file(rest[0]).read_text(encoding="utf-8"):
        monkeypatch.setattr(sys, "argv", rest)
        runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
    elif program.startswith("tools/"):
        monkeypatch.setattr(sys, "argv", [program, *rest])
        runpy.run_path(str(HOME / program), run_name="__main__")


def module_file(name: str) -> Path:
    spec = find_spec(name)
    assert spec is not None, f"there is no module {name}"
    assert spec.origin is not None
    return Path(spec.origin)


def ours(words: list[str]) -> list[str]:
    """Return a command from the name of our program on, or a single empty word where it is none of ours."""
    if words[0] in ("mmvit", "make"):
        return words
    if words[:2] == ["docker", "run"]:
        (at,) = [at for at, word in enumerate(words) if re.fullmatch(r"mmvit-\w+", word)]
        file = HOME / "docker" / f"{words[at].removeprefix('mmvit-')}.Dockerfile"
        (entry,) = re.findall(r"^ENTRYPOINT (.+)$", file.read_text(encoding="utf-8"), re.MULTILINE)
        return [*re.findall(r'"([^"]+)"', entry), *words[at + 1 :]]
    for at, word in enumerate(words):
        if word == "-m" and words[at + 1] == "mmvit":
            return words[at + 1 :]
        if (word == "-m" and words[at + 1].startswith(("mmvit.", "benchmarks."))) or re.fullmatch(r"tools/\w+\.py", word):
            return words[at:]
    return [""]


@pytest.mark.usefixtures("parse_only")
@pytest.mark.parametrize("words", SHOWN)
def test_commands_parse(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    check(words, monkeypatch)


@pytest.mark.usefixtures("parse_only")
@pytest.mark.parametrize("words", MENTIONED)
def test_commands_in_sentences_parse(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A command with arguments is parsed, a bare one named."""
    *_, command = ours(words)[:2]
    assert command in COMMANDS
    if len(ours(words)) > 2:
        check(words, monkeypatch)


@pytest.mark.usefixtures("parse_only")
@pytest.mark.parametrize(
    "line",
    [
        "mmvit exprot a.pth",
        "python -m mmvit train --resum",
        "mmvit predict a.pth --scores 1",
        "make tset",
        "mmvit train configs/retinanet_pvt_smal_coco.py",
        "mmvit doctor retina",
    ],
)
def test_a_wrong_command_fails(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises((AssertionError, pytest.fail.Exception, ValueError)):
        check(line.split(), monkeypatch)


def test_commands_in_messages_exist() -> None:
    """Those that programs, notebooks and docstrings name."""
    files = [file for folder in PROGRAMS for ending in ("py", "ipynb", "Dockerfile") for file in folder.rglob(f"*.{ending}")]
    named = {(file.name, name) for file in files for name in NAMED.findall(file.read_text(encoding="utf-8"))}
    assert len({name for _, name in named}) > 5
    assert [place for place in named if place[1] not in (*COMMANDS, "COMMAND", "has")] == []


@pytest.mark.parametrize("block", SHELL, ids=str)
def test_commands_are_shell_and_name_what_there_is(block: Block) -> None:
    done = subprocess.run(["bash", "-n"], input=block.text, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    for words in commands(block.text):
        for word in words:
            name = word.rpartition("=")[2]
            if name.startswith(OURS) and "CONFIG" not in name:
                assert (HOME / name).exists(), f"{block}: {name}"
        if ours(words)[:2] == ["mmvit", "list"]:
            assert all(list_archs(pattern) for pattern in ours(words)[2:])
