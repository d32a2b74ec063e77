"""`benchmarks/results/trained/*.json`: trainings on real pictures, from which `benchmarks.pages` writes docs/results.md."""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import charts
from .records import FOLDER
from .report import table

IMAGES = "docs/images"


@dataclass(frozen=True)
class Trained:
    """A training, and what it reached.

    Attributes:
        data: name of the set, what it shows, its source and licence.
        model: head, arch, parameters, size of images.
        commands: those that repeat it.
        minutes: of the training, validations included.
        measures: names of the figures that are compared, such as AP and AP50; the first is the aim.
        best: their highest value: 1 of AP, 100 of mIoU.
        validations: epoch, and the measures on the validation pictures.
        figures: split to name to figure.
        columns: of the table of classes: what there is of a class, and its figures.
        classes: of the test pictures, name to these.
        exported: format to milliseconds of an image.
        peers: others on the same pictures: name, what it had, and the measures on the test pictures.
        notes: what else must be known, such as what was not reached and why.
    """

    name: str
    data: str
    model: str
    weights: str
    machine: str
    commit: str
    date: str
    seed: int
    minutes: float
    commands: tuple[str, ...]
    measures: tuple[str, ...]
    best: float
    validations: tuple[tuple[float, ...], ...]
    figures: dict[str, dict[str, float]]
    columns: tuple[str, ...]
    classes: dict[str, Sequence[Any]]
    exported: dict[str, float]
    peers: tuple[Sequence[Any], ...]
    notes: tuple[str, ...]

    def spelt(self, values: Iterable[float]) -> list[str]:
        """Return figures as text, of AP to three digits, of percentages to one behind the point."""
        return [f"{value:.{3 if self.best == 1 else 1}f}" for value in values]


def read(folder: Path = FOLDER / "trained") -> list[Trained]:
    """Return the stored trainings by name."""
    return [Trained(**json.loads(file.read_text(encoding="utf-8"))) for file in sorted(folder.glob("*.json"))]


def pictures(trained: Sequence[Trained]) -> Iterator[tuple[str, str]]:
    """Yield name and text of the charts of a training."""
    for one in trained:
        curves = {name: [(row[0], row[place]) for row in one.validations] for place, name in enumerate(one.measures, 1)}
        yield f"{IMAGES}/results_{one.name}.svg", charts.curves(dict(reversed(curves.items())), "epochs", most=one.best)


def figures(one: Trained) -> str:
    names = list(next(iter(one.figures.values())))
    rows = [[split, *one.spelt(values[name] for name in names)] for split, values in one.figures.items()]
    return "\n".join(table(("pictures", *names), rows))


def classes(one: Trained) -> str:
    rows = [[name, first, *one.spelt(rest)] for name, (first, *rest) in one.classes.items()]
    return "\n".join(table(("class", *one.columns), rows))


def exported(one: Trained) -> str:
    return "\n".join(table(("file", "ms an image"), [[name, f"{value:.0f}"] for name, value in one.exported.items()]))


def peers(one: Trained) -> str:
    own = (
        one.model.partition(",")[0],
        f"{one.validations[-1][0]} epochs",
        *(one.figures["test"][name] for name in one.measures),
    )
    rows = [[name, had, *one.spelt(rest)] for name, had, *rest in (own, *one.peers)]
    return "\n".join(table(("model", "trained", *one.measures), rows))


TABLES = (figures, classes, exported, peers)
