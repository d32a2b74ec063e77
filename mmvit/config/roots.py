"""Another copy of the data: `--data-root`, for all datasets of a config and their evaluators."""

from pathlib import Path, PurePath
from typing import Any

from mmengine.config import Config

from ..errors import InputError
from .datasets import SPLITS, datasets_of
from .parts import mappings

FILES = ("ann_file", "extra_ann_file", "seg_prefix", "proposal_file")  # of datasets and evaluators


def set_data_root(cfg: Config, root: str | Path) -> str:
    """Let all datasets and evaluators read another folder; say what changed.

    Raises:
        InputError: there is no such folder, or the config's datasets have no data_root, or several.
    """
    root = str(root)
    if "://" not in root and not Path(root).is_dir():
        raise InputError(f"--data-root {root}: no such folder. Expected a copy of the data of {cfg.filename}")
    views = list(datasets_of(cfg, SPLITS))
    lacking = [view.key for view in views if not view.root]
    roots = sorted({PurePath(view.root) for view in views if view.root})
    if lacking or len(roots) != 1:
        what = f"{lacking[0]} has no data_root" if lacking else f"its datasets have {len(roots)}: {', '.join(map(str, roots))}"
        raise InputError(f"--data-root: expected a config whose datasets have one data_root; {what}. Use --cfg-options")
    old = str(roots[0])
    for view in views:
        view.config["data_root"] = root
        _move(view.config, FILES, old, root)
        _move(view.prefixes, tuple(view.prefixes), old, root)
    evaluators = mappings([cfg.get(f"{split}_evaluator") for split in SPLITS])
    count = sum(_move(part, FILES, old, root) for part in evaluators)
    return f"{len(views)} datasets and {count} evaluators read {root} instead of {old}"


def _move(part: Any, names: tuple[str, ...], old: str, new: str) -> int:
    """Change the paths of a part that lie below `old`; return how many do."""
    count = 0
    for name in names:
        path = part.get(name)
        if isinstance(path, str) and PurePath(old) in PurePath(path).parents:
            rest = PurePath(path).relative_to(old).as_posix()
            part[name] = f"{new.rstrip('/')}/{rest}"
            count += 1
    return count
