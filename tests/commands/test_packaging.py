"""What a user has who installed the wheel, by way of the sdist; the Dockerfiles, without a daemon; which Python make takes."""

import re
import shutil
import subprocess
import zipfile
from functools import partial
from pathlib import Path

import pytest
from makers import HOME, PROJECT, run_python
from mmengine.config import Config

from mmvit.__main__ import COMMANDS, main
from mmvit.config.files import config_file, shipped
from mmvit.errors import InputError

NAME = "retinanet_pvt_small_coco"
TREE = ("pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE", "NOTICE", "mmvit", "configs", "tools")
DEVELOPERS = {"benchmark.py", "gpu.py", "gpu_bundle.sh", "long_checks.py", "mutants.py", "stress_resume.py"}  # in a clone only
BUILT = ("node_modules", "dist")  # of tools/browser
SDIST = "import sys; from setuptools import build_meta; build_meta.build_sdist(sys.argv[1])"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, unpacked; built from a copy, because a build writes into its tree."""
    folder = tmp_path_factory.mktemp("packaging")
    for name in TREE:
        source, target = HOME / name, folder / "tree" / name
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__", "node_modules"))
        else:
            target.parent.mkdir(exist_ok=True)
            shutil.copy(source, target)
    run_python("-c", SDIST, folder, cwd=folder / "tree")
    (sdist,) = folder.glob("mmvit-*.tar.gz")
    run_python("-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--no-cache-dir", "-w", folder, sdist, cwd=folder)
    (built,) = folder.glob("mmvit-*.whl")
    zipfile.ZipFile(built).extractall(folder / "wheel")
    return folder / "wheel"


def files(folder: Path) -> set[str]:
    """Files under a folder; caches, other hidden folders and what npm puts there are left out."""
    found = [path.relative_to(folder) for path in folder.rglob("*") if path.is_file() and path.suffix != ".pyc"]
    return {path.as_posix() for path in found if not any(part.startswith(".") or part in BUILT for part in path.parts)}


@pytest.mark.slow
def test_wheel_holds_configs_and_tools_and_nothing_else(wheel: Path) -> None:
    shipped_tools = {name for name in files(HOME / "tools") if name not in DEVELOPERS}
    assert files(wheel / "mmvit" / ".mim" / "configs") == files(HOME / "configs")
    assert files(wheel / "mmvit" / ".mim" / "tools") == shipped_tools
    for tool in shipped_tools:
        text = (HOME / "tools" / tool).read_text()
        assert not re.search(r"\bbenchmarks\b", text), f"tools/{tool} needs benchmarks/, which the wheel does not hold"
    assert {path.name for path in (wheel / "mmvit" / ".mim").iterdir()} == {"configs", "tools"}
    assert files(wheel / "mmvit") == files(HOME / "mmvit")
    assert {entry.name.split("-")[0] for entry in wheel.iterdir()} == {"mmvit"}


def test_a_checkout_is_found_as_it_is() -> None:
    assert shipped("configs") == HOME / "configs"
    assert shipped("tools") == HOME / "tools"


@pytest.mark.slow
def test_wheel_serves_configs_as_bases(wheel: Path, tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(f"_base_ = 'mmvit::{NAME}.py'\nmodel = dict(backbone=dict(init_cfg=None))\n")
    code = (
        "import mmvit\n"
        "from mmengine.config import Config\nfrom mmengine.registry import MODELS\n"
        "cfg = Config.fromfile('own.py')\ncfg.dump('dumped.py')\n"
        "backbone = MODELS.build(Config.fromfile('dumped.py').model.backbone)\n"
        "print(mmvit.__file__, type(backbone).__name__, backbone.out_channels)"
    )
    said = run_python("-c", code, cwd=tmp_path, PYTHONPATH=str(wheel)).stdout
    assert said.strip().endswith(f"{wheel}/mmvit/__init__.py PVT (64, 128, 320, 512)")


@pytest.mark.slow
def test_wheel_has_the_commands(wheel: Path, tmp_path: Path) -> None:
    run = partial(run_python, cwd=tmp_path, PYTHONPATH=str(wheel))
    said = run("-m", "mmvit", "train", f"mmvit::{NAME}.py", status=2).stderr
    assert "dataset not found: 4 paths" in said, "the config was found and read"
    assert "checkpoint absent.pth: no such file" in run("-m", "mmvit", "test", NAME, "absent.pth", status=2).stderr
    assert "usage: tools/train.py" in run(wheel / "mmvit" / ".mim" / "tools" / "train.py", "--help").stdout


def test_which_config_is_meant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    ours = HOME / "configs" / f"{NAME}.py"
    for name in (NAME, f"{NAME}.py", f"mmvit::{NAME}.py", f"mmvit::{NAME}"):
        assert config_file(name) == ours
    assert Config.fromfile(config_file("mmvit::_base_/heads/retinanet.py")).model.type == "RetinaNet"
    assert config_file("nowhere/own.py") == Path("nowhere/own.py")
    Path(f"{NAME}.py").touch()
    assert config_file(f"{NAME}.py") == Path(f"{NAME}.py"), "a file of the user's comes first"
    with pytest.raises(InputError, match=rf"retinanet_pvt_smal_coco: no such file in .*did you mean .*{NAME}"):
        config_file("retinanet_pvt_smal_coco")


def test_commands_tell_what_there_is(capsys: pytest.CaptureFixture) -> None:
    assert main(["--help"]) == 0
    told = capsys.readouterr().out
    assert all(f"  {name} " in told for name in COMMANDS)
    assert main([]) == 2
    assert main(["trian"]) == 2
    assert "no command 'trian'; did you mean train?" in capsys.readouterr().err
    assert main(["zzz"]) == 2
    assert "there are new, train" in capsys.readouterr().err
    assert main(["--version"]) == 0


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


MAKE = shutil.which("make")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    if MAKE is None:
        pytest.skip("make is not installed")
    for tool in ("sh", "sort", "tr"):
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


def test_help_does_without_torch() -> None:
    code = (
        "import sys\nfrom contextlib import suppress\nfrom mmvit.__main__ import main\n"
        "for name in sys.argv[1:]:\n    with suppress(SystemExit):\n        main([name, '--help'])\n"
        "    assert 'torch' not in sys.modules, name\n"
    )
    assert re.findall(r"usage: python -m mmvit (\S+)", run_python("-c", code, *COMMANDS).stdout) == list(COMMANDS)
