"""Folders of trainings: where a config's are, and which checkpoint and what log they hold."""

import json
import os
import re
from contextlib import suppress
from pathlib import Path, PureWindowsPath
from typing import Any

from mmengine.config import Config

from ..compat.texts import plain_values
from ..errors import InputError
from .files import Variant, open_config
from .parts import entry_of

RESULTS = "results.json"  # what a training of ours leaves, see `engine.results`
JOINED = "joined"  # in the config of a resumed run: see `joined`
KINDS = ("metric", "loss")  # of what is logged
STAMP = re.compile(r"\d{8}_\d{6}$")  # of a run, in mmengine's name for it and of the folder of its logs
LAST = "last_checkpoint"  # file of the work dir that names the checkpoint to resume from


def work_dir_of(cfg: Config, variant: Variant | None = None) -> Path:
    """Return the folder of a config's trainings, or of those of a variant of it."""
    name = "_".join(filter(None, [Path(cfg.filename).stem, variant and variant.name]))
    return Path(cfg.get("work_dir") or Path("work_dirs") / name)


def trained_in(source: str | Path, variant: Variant | None = None) -> Path:
    """Return the work dir of a training, given as itself, as a config or as the folder of a project.

    Raises:
        InputError: there is no such config.
    """
    folder = Path(source)
    trained = (folder / RESULTS).is_file() or (folder / LAST).is_file() or any(folder.glob("best_*.pth"))
    if trained or (folder.is_dir() and not any(folder.glob("*.py"))):
        return folder  # wherever the config in it says that it lies
    return work_dir_of(open_config(source), variant)


def best_of(source: str | Path, variant: Variant | None = None) -> str:
    """Return the best checkpoint of a training, see `trained_in`.

    Raises:
        InputError: there is no such config, or no training of it.
    """
    return best_checkpoint(trained_in(source, variant))


def last_checkpoint(work_dir: str | Path) -> str | None:
    """Return the checkpoint to resume from; None if there is none.

    A file beside the one that names it comes first: the work dir may have been moved, or be a copy.
    """
    file = Path(work_dir, LAST)
    return beside(file.read_text(encoding="utf-8").strip(), work_dir) if file.is_file() else None


def best_checkpoint(work_dir: str | Path) -> str:
    """Return the best checkpoint of a work dir, or else the newest.

    Which it is stands in `results.json`: a `best_*.pth` beside it may be by another metric, or of a training before. Trainings
    with the toolkits' own tools write no such file; there the newest `best_*.pth` counts.

    Raises:
        InputError: it has none.
    """
    try:
        noted = json.loads(Path(work_dir, RESULTS).read_text(encoding="utf-8"))
        best, last = noted["best"], noted["checkpoint"]
    except (OSError, ValueError, TypeError, KeyError):
        best = last = None
    if best and os.path.isfile(found := beside(best, work_dir)):
        return found
    if last and not best and os.path.isfile(found := beside(last, work_dir)):
        return last_checkpoint(work_dir) or found
    files = sorted(Path(work_dir).glob("best_*.pth"), key=lambda path: path.stat().st_mtime)
    newest = str(files[-1]) if files else last_checkpoint(work_dir)
    if newest is None:
        expected = "a work dir of a training, or a project of mmvit new"
        raise InputError(f"{work_dir}: no best_*.pth and no last_checkpoint in it; expected {expected}")
    return newest


def beside(path: str, folder: str | Path) -> str:
    """Return the file of the same name in a folder, or the path itself if there is none."""
    local = os.path.abspath(Path(folder, PureWindowsPath(path).name))  # which knows both kinds of slashes
    return local if os.path.isfile(local) else path


def run_of(content: Any) -> str | None:
    """Return the run that wrote a checkpoint."""
    run = STAMP.search(str(entry_of(content, "meta.experiment_name")))
    return run and run[0]


def runs_in(work_dir: str | Path) -> list[str]:
    """Return the runs whose logs are in a work dir."""
    return sorted(path.name for path in Path(work_dir).glob("*") if STAMP.fullmatch(path.name))


def joined(cfg: Config, content: Any) -> dict[str, int]:
    """Return the last steps of the losses and metrics in a work dir that are those of the training of a checkpoint.

    They are 0 if it is another training: the folder has logs, and none of the run that wrote the checkpoint.
    """
    run, runs = run_of(content), runs_in(cfg.work_dir)
    if run and runs and run not in runs:
        return dict.fromkeys(KINDS, 0)
    by_epoch = entry_of(cfg, "default_hooks.logger.log_metric_by_epoch") is not False  # mmengine's default
    units = dict(metric="epoch" if by_epoch else "iter", loss="iter")
    return {kind: entry_of(content, f"meta.{units[kind]}") or 0 for kind in KINDS}


def read_scalars(work_dir: Path) -> list[dict[str, float]]:
    """Return the entries that mmengine logged, one for each step and kind (loss or metric), with resumed runs joined.

    A training that began anew in the folder leaves out those before it, and one that resumed leaves out those after that step.
    """
    entries: dict[tuple[int, bool], dict[str, float]] = {}
    for file in sorted(work_dir.glob("*/vis_data/scalars.json")):
        copy = file.with_name("config.py")  # mmengine's, of the run
        begun = plain_values(copy.read_text(encoding="utf-8"), ("resume", "load_from", JOINED)) if copy.is_file() else {}
        if "resume" in begun and not (begun["resume"] and begun.get("load_from")):
            entries.clear()
        elif most := begun.get(JOINED):
            entries = {(step, is_loss): entry for (step, is_loss), entry in entries.items() if step <= most[KINDS[is_loss]]}
        for line in file.read_text(encoding="utf-8").splitlines():
            with suppress(ValueError):  # half a line, of a run that was killed or had no space
                entry = json.loads(line)
                entries[entry["step"], "loss" in entry] = entry
    return [entries[key] for key in sorted(entries)]
