"""Stored measurements, `benchmarks/results/*.json`: what `--json` writes, and what `python -m benchmarks.pages` reads."""

import json
import platform
import shlex
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import date
from functools import partial
from pathlib import Path

import torch

from mmvit.compat.systems import processor
from mmvit.errors import InputError, counted

HOME = Path(__file__).resolve().parent.parent
FOLDER = Path(__file__).resolve().parent / "results"


@dataclass(frozen=True)
class Figure:
    """Figures of a candidate.

    Attributes:
        what: `inference`, `large images`, `training step`, `training`, `evaluation` or `export`.
        model: name of an arch or of a config.
        ms: milliseconds, the median.
        ratio: how many times as fast: mmvit as the candidate or, for `export`, the exported file as eager mode.
        low: lower quartile of the ratio.
        high: upper quartile of the ratio.
        memory_mib: peak memory of a step, or memory of all processes of a training.
    """

    what: str
    model: str
    pixels: str
    candidate: str
    dtype: str = "float32"
    ms: float | None = None
    ratio: float | None = None
    low: float | None = None
    high: float | None = None
    memory_mib: int | None = None


@dataclass(frozen=True)
class Run:
    """Figures of one command on one machine."""

    machine: str
    commit: str
    date: str
    command: str
    rows: tuple[Figure, ...]


def machine(device: str = "cpu") -> str:
    """Return processor or GPU, instruction sets, threads and versions, in a line."""
    if device.startswith("cuda"):
        name = torch.cuda.get_device_name(device)
    else:
        name = f"{processor()}, {counted(torch.get_num_threads(), 'thread')}"
    return f"{name}, torch {torch.__version__}, Python {platform.python_version()}"


def commit() -> str:
    """Return the checkout's commit, or `unknown` where there is no repository or no git.

    It is marked as dirty if anything but the results was changed, which a benchmark writes itself.
    """
    run = partial(subprocess.run, cwd=HOME, capture_output=True, text=True)
    try:
        name = run(["git", "describe", "--always"], check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    changed = run(["git", "diff", "--quiet", "HEAD", "--", ".", ":!benchmarks/results"]).returncode
    return f"{name}-dirty" if changed else name


def write(figures: Iterable[Figure], file: Path, device: str = "cpu") -> None:
    """Write what the command of this process measured."""
    command = shlex.join(["python", *sys.argv])
    run = Run(machine(device), commit(), date.today().isoformat(), command, tuple(figures))
    head = [f" {json.dumps(key)}: {json.dumps(value)}," for key, value in asdict(run).items() if key != "rows"]
    rows = [json.dumps({key: value for key, value in asdict(row).items() if value is not None}) for row in run.rows]
    file.write_text(
        "\n".join(["{", *head, ' "rows": [', ",\n".join(f"  {row}" for row in rows), " ]", "}", ""]), encoding="utf-8"
    )


def require_folder(file: Path | None) -> None:
    """Raise InputError if a file is to be written to a folder that does not exist."""
    if file and not file.absolute().parent.is_dir():
        raise InputError(f"{file}: there is no folder {file.absolute().parent}")


def read(folder: Path = FOLDER) -> list[Run]:
    """Return the stored measurements, the newest first."""
    found = []
    for file in sorted(folder.glob("*.json")):
        content = json.loads(file.read_text(encoding="utf-8"))
        found.append(Run(**{**content, "rows": tuple(Figure(**row) for row in content["rows"])}))
    return sorted(found, key=lambda run: run.date, reverse=True)
