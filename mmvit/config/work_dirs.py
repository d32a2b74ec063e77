"""Folders of trainings: where a config's are, and which checkpoint and what log they hold."""

import json
import os
from pathlib import Path, PureWindowsPath

from mmengine.config import Config

from ..compat.texts import plain_values
from ..errors import InputError
from .files import open_config

RESULTS = "results.json"  # what a training of ours leaves, see `engine.results`
LAST = "last_checkpoint"  # file of the work dir that names the checkpoint to resume from


def work_dir_of(cfg: Config, suffix: str = "") -> Path:
    """Return the folder of a config's trainings; `suffix` ends the name of a variant's."""
    return Path(cfg.get("work_dir") or Path("work_dirs") / f"{Path(cfg.filename).stem}{suffix}")


def best_of(project: str | Path) -> str:
    """Return the best checkpoint of the trainings of a config, or of a project's folder.

    Raises:
        InputError: there is no such config, or no training of it.
    """
    return best_checkpoint(work_dir_of(open_config(project)))


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
        raise InputError(f"{work_dir}: no best_*.pth and no last_checkpoint in it; expected a work dir of a training")
    return newest


def beside(path: str, folder: str | Path) -> str:
    """Return the file of the same name in a folder, or the path itself if there is none."""
    local = os.path.abspath(Path(folder, PureWindowsPath(path).name))  # which knows both kinds of slashes
    return local if os.path.isfile(local) else path


def read_scalars(work_dir: Path) -> list[dict[str, float]]:
    """Return the entries that mmengine logged, one for each step and kind (loss or metric), with resumed runs joined.

    A training that began anew in the folder leaves out those before it.
    """
    entries: dict[tuple[int, bool], dict[str, float]] = {}
    for file in sorted(work_dir.glob("*/vis_data/scalars.json")):
        copy = file.with_name("config.py")  # mmengine's, of the run
        begun = plain_values(copy.read_text(encoding="utf-8"), ("resume", "load_from")) if copy.is_file() else {}
        if "resume" in begun and not (begun["resume"] and begun.get("load_from")):
            entries.clear()
        for line in file.read_text(encoding="utf-8").splitlines():
            entry = json.loads(line)
            entries[entry["step"], "loss" in entry] = entry
    return [entries[key] for key in sorted(entries)]
