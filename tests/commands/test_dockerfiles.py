"""The Dockerfiles, as far as that is possible without a docker daemon: what they copy, install and call is there."""

import re
from pathlib import Path

import pytest
from makers import HOME, PROJECT

from mmvit.__main__ import COMMANDS

DOCKERFILES = sorted((HOME / "docker").glob("*.Dockerfile"))
EXTRAS = PROJECT["optional-dependencies"]
INSTRUCTIONS = {"ARG", "CMD", "COPY", "ENTRYPOINT", "ENV", "FROM", "RUN", "USER", "WORKDIR"}


def instructions(file: Path) -> list[tuple[str, str]]:
    """Return the instructions of a Dockerfile with their words, comments left out and broken lines joined."""
    lines = [line for line in file.read_text().splitlines() if not line.startswith("#")]
    text = "\n".join(lines).replace("\\\n", " ")
    return [(line.split()[0], line.partition(" ")[2]) for line in text.splitlines() if line.strip()]


@pytest.mark.parametrize("file", DOCKERFILES, ids=lambda file: file.stem)
def test_what_is_copied_and_called_is_there(file: Path) -> None:
    found = instructions(file)
    assert {name for name, _ in found} <= INSTRUCTIONS
    ignored = (HOME / ".dockerignore").read_text().split("\n")
    for name, words in found:
        if name == "COPY":
            source = words.split()[0]
            assert (HOME / source).exists()
            assert source not in ignored
        elif name in ("ENTRYPOINT", "CMD"):
            words = [word for word in re.findall(r'"([^"]+)"', words) if word != "mmvit"]
            assert set(words) <= set(COMMANDS)
        elif extras := re.search(r"/tmp/mmvit\[([^]]+)\]", words):
            assert {extra for extra in extras[1].split(",") if extra != "$STACK"} <= set(EXTRAS)
    assert f"-f docker/{file.name}" in file.read_text(), "it says how it is built"


def test_training_has_a_base_of_choice() -> None:
    found = instructions(HOME / "docker" / "train.Dockerfile")
    assert found[:2] == [("ARG", "BASE=python:3.11-slim"), ("FROM", "${BASE}")]
    assert ("ARG", "STACK=openmmlab") in found
    assert {"openmmlab", "onedl"} <= set(EXTRAS)
