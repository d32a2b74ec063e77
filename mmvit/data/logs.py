"""Reading of mmengine's logs in a work dir."""

import json
from pathlib import Path


def read_scalars(work_dir: Path) -> list[dict[str, float]]:
    """Return the entries that mmengine logged, one for each step and kind (loss or metric), with resumed runs joined."""
    entries = {}
    for file in sorted(work_dir.glob("*/vis_data/scalars.json")):
        for line in file.read_text(encoding="utf-8").splitlines():
            entry = json.loads(line)
            entries[entry["step"], "loss" in entry] = entry
    return [entries[key] for key in sorted(entries)]
