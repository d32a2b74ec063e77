"""What mmengine logged in a work dir."""

import json
from pathlib import Path


def read_scalars(work_dir: Path) -> list[dict[str, float]]:
    """Return what mmengine logged, resumed runs joined, one entry a step and kind (loss or metric), by step."""
    entries = {}
    for file in sorted(work_dir.glob("*/vis_data/scalars.json")):
        for line in file.read_text().splitlines():
            entry = json.loads(line)
            entries[entry["step"], "loss" in entry] = entry
    return [entries[key] for key in sorted(entries)]
