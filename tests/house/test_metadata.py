"""What is said about versions in several places is the same everywhere."""

import re
from typing import Any

import pytest
import yaml
from makers import HOME, PROJECT
from packaging.requirements import Requirement
from packaging.version import Version

from mmvit import __version__
from mmvit.checks.doctor import LEAST_PYTHON, LEAST_TIMM, LEAST_TORCH

PYTHONS = [line.rpartition(" ")[2] for line in PROJECT["classifiers"] if re.search(r"Python :: \d\.", line)]
MAKEFILE = (HOME / "Makefile").read_text()


def read(name: str) -> Any:
    return yaml.safe_load((HOME / name).read_text())


def test_citation_has_the_version() -> None:
    assert read("CITATION.cff")["version"] == __version__


def test_supported_pythons() -> None:
    assert PROJECT["requires-python"] == f">={PYTHONS[0]}"
    assert ".".join(map(str, LEAST_PYTHON)) == PYTHONS[0]
    found = re.search(r"^SUPPORTED = (.+)$", MAKEFILE, re.MULTILINE)
    assert found
    assert found.group(1).split() == PYTHONS[::-1]
    jobs = read(".github/workflows/ci.yml")["jobs"]
    assert [PYTHONS[0], *jobs["newer-python"]["strategy"]["matrix"]["python"]] == PYTHONS
    for page in ("README.md", "docs/installation.md"):
        assert f"Python {PYTHONS[0]} to {PYTHONS[-1]}" in (HOME / page).read_text()


def test_workflows_run_what_there_is() -> None:
    targets = set(re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE))
    steps = [step for job in read(".github/workflows/ci.yml")["jobs"].values() for step in job["steps"] if "run" in step]
    assert ".ci/run" in {step["run"] for step in steps}
    for step in steps:
        assert step["run"] == ".ci/run" or step["run"].removeprefix("make ") in targets


def lowest() -> dict[str, str]:
    lines = (HOME / "constraints-lowest.txt").read_text().splitlines()
    return dict(line.partition(" ")[0].split("==") for line in lines if "==" in line)


@pytest.mark.parametrize("extra", [None, "openmmlab", "draw", "demo"])
def test_lowest_versions_are_the_declared_bounds(extra: str | None) -> None:
    """Of everything that a user installs: what `make test-lowest` runs is what pip may choose."""
    declared = PROJECT["optional-dependencies"][extra] if extra else PROJECT["dependencies"]
    for requirement in map(Requirement, declared):
        if requirement.name == "mmvit":  # another of these extras
            continue
        bounds = [bound.version for bound in requirement.specifier if bound.operator == ">="]
        assert len(bounds) == 1, f"{requirement} has no lower bound"
        assert Version(bounds[0]) == Version(lowest()[requirement.name]), requirement


@pytest.mark.parametrize(("name", "least"), [("torch", LEAST_TORCH), ("timm", LEAST_TIMM)])
def test_the_doctor_has_the_bounds(name: str, least: tuple[int, ...]) -> None:
    declared = next(Requirement(line) for line in PROJECT["dependencies"] if Requirement(line).name == name)
    assert str(declared.specifier) == f">={'.'.join(map(str, least))}"
