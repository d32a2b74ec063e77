"""`benchmarks/results/heads/*.json`: each head with each family, as `benchmarks.grid` tried them, for docs/heads.md."""

import json
from pathlib import Path
from typing import Any

from mmvit.recipes.configs import parse
from mmvit.recipes.families import DROP_PATHS
from mmvit.recipes.tables import DATASETS, HEADS
from mmvit.zoo import families

from .records import FOLDER
from .report import table

STEPS = ("trains", "reloads", "predicts", "exports")
REFUSED, FAILED = "refused: ", "failed: "
SIGNS = "¹²³⁴⁵⁶⁷⁸⁹"


def read(folder: Path = FOLDER / "heads") -> dict[str, Any]:
    """Return the newest run: machine, date, command, and cells: config, commit, processor seconds, a sentence a step."""
    return json.loads(max(folder.glob("*.json")).read_text(encoding="utf-8"))


def page(run: dict[str, Any]) -> dict[str, Any]:
    """Return what the template shows: a row a head and dataset, a column a family, and notes on what was refused or failed."""
    names = {kind.record.name: kind.__name__ for kind in families()}
    rows: dict[str, dict[str, str]] = {}
    notes: list[str] = []
    for cell in run["cells"]:
        leaf = parse(cell["config"])
        title = HEADS[leaf.head].title + (f", {DATASETS[leaf.dataset].title}" if not DATASETS[leaf.dataset].published else "")
        done, sign = [step for step in STEPS if not cell.get(step, FAILED).startswith((REFUSED, FAILED))], ""
        if said := next((cell[step] for step in STEPS if cell.get(step, "").startswith((REFUSED, FAILED))), ""):
            notes += [said] if said not in notes else []
            sign = SIGNS[notes.index(said)]
        rows.setdefault(title, {})[leaf.family] = " ".join(step[0].upper() for step in done) + sign
    order = [*DROP_PATHS]
    lines = [[title, *(row.get(family, "") for family in order)] for title, row in sorted(rows.items())]
    return dict(
        run=run,
        table="\n".join(table(("head", *(names[family] for family in order)), lines)),
        notes=[f"{SIGNS[number]} {note}" for number, note in enumerate(notes)],
        minutes=sum(cell["seconds"] for cell in run["cells"]) / 60,
        example=run["cells"][0],
        commits=", ".join(dict.fromkeys(cell["commit"] for cell in run["cells"])),
    )
