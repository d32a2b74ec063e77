"""What is said about versions in several places is the same everywhere."""

import re
import runpy
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml
from makers import HOME, PROJECT
from packaging.requirements import Requirement
from packaging.version import Version

from mmvit import __version__
from mmvit.checks.doctor import LEAST_TIMM, LEAST_TORCH
from mmvit.version import REPOSITORY

PYTHONS = [line.rpartition(" ")[2] for line in PROJECT["classifiers"] if re.search(r"Python :: \d\.", line)]
MAKEFILE = (HOME / "Makefile").read_text()


def read(name: str) -> Any:
    return yaml.safe_load((HOME / name).read_text())


def test_citation_has_the_version() -> None:
    assert read("CITATION.cff")["version"] == __version__


def test_supported_pythons() -> None:
    assert PROJECT["requires-python"] == f">={PYTHONS[0]}"
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
        words = shlex.split(step["run"])
        if words[0] == "make":
            assert words[1] in targets, step
        elif "pytest" in words[:3]:
            folders = [word for word in words if word.startswith("tests/")]
            assert folders
            assert all((HOME / folder).is_dir() for folder in folders), step
        else:
            assert words[0] == ".ci/run" or words[:3] in (["python", "-m", "pip"], ["python", "-m", "mmvit"]), step


def test_lint_and_the_three_systems_have_jobs() -> None:
    jobs = read(".github/workflows/ci.yml")["jobs"]
    assert [step["run"] for step in jobs["lint"]["steps"] if "run" in step] == ["make check"]
    assert set(jobs["systems"]["strategy"]["matrix"]["os"]) == {"macos-latest", "windows-latest"}


@pytest.mark.parametrize("file", sorted((HOME / ".github" / "workflows").glob("*.yml")), ids=lambda file: file.name)
def test_actions_are_pinned_by_digest(file: Path) -> None:
    """With the version beside it, which the bot keeps up to date; one version of an action everywhere."""
    used = re.findall(r"uses: (\S+?)@(\S+)(?: # (\S+))?$", file.read_text(), re.MULTILINE)
    assert len(used) == file.read_text().count("uses:")
    for action, digest, version in used:
        assert re.fullmatch(r"[0-9a-f]{40}", digest), action
        assert re.fullmatch(r"v\d+\.\d+\.\d+", version), action
    assert len({action for action, *_ in used}) == len(set(used))
    assert "github-actions" in {entry["package-ecosystem"] for entry in read(".github/dependabot.yml")["updates"]}


def test_only_the_publishing_job_may_write() -> None:
    release = read(".github/workflows/release.yml")
    assert release["permissions"] == {"contents": "read"}
    jobs = release["jobs"]
    assert {name for name, job in jobs.items() if "permissions" in job} == {"publish"}
    assert jobs["publish"]["permissions"]["id-token"] == "write"
    assert jobs["publish"]["needs"] == "test"
    assert jobs["test"]["needs"] == "build"
    assert "vars.PUBLISH" in jobs["publish"]["if"], "nothing is published before there is a place"


def test_links_come_from_one_place() -> None:
    """With a repository's address, the metadata and every link of the README lead there; without, there are none."""
    setup = runpy.run_path(str(HOME / "setup.py"))
    text, url = (HOME / "README.md").read_text(), "https://example.org/a/mmvit"
    assert setup["urls"]("") == {}
    assert setup["description"](text, "") == text
    assert all(place.startswith(url) for place in setup["urls"](url).values())
    links = re.findall(r"(!?)\[[^\]]*\]\(([^)]+)\)", setup["description"](text, url))
    assert len(links) > 30
    for mark, link in links:
        assert link.startswith("https://"), link
        if link.startswith(url):
            kind, _, path = link.removeprefix(f"{url}/").partition("/main/")
            assert kind == ("raw" if mark else "blob")
            assert (HOME / path.partition("#")[0]).exists(), link
    assert read("CITATION.cff").get("repository-code", "") == REPOSITORY


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
