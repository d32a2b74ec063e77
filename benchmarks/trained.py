"""`benchmarks/results/trained/*.json`: trainings on real pictures, from which `benchmarks.pages` writes docs/results.md."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

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
        losses: iteration and loss.
        validations: epoch, AP and AP50 on the validation pictures.
        figures: split to name to figure.
        classes: of the test pictures, name to objects, AP and AP50.
        exported: format to milliseconds of an image.
        peers: others on the same pictures: name, what it had, AP and AP50 on the test pictures.
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
    losses: tuple[tuple[int, float], ...]
    validations: tuple[tuple[int, float, float], ...]
    figures: dict[str, dict[str, float]]
    classes: dict[str, tuple[int, float, float]]
    exported: dict[str, float]
    peers: tuple[tuple[str, str, float, float], ...]
    notes: tuple[str, ...]


def read(folder: Path = FOLDER / "trained") -> list[Trained]:
    """Return the stored trainings by name."""
    return [Trained(**json.loads(file.read_text(encoding="utf-8"))) for file in sorted(folder.glob("*.json"))]


def pictures(trained: Sequence[Trained]) -> Iterator[tuple[str, str]]:
    """Yield name and text of the charts of a training."""
    for one in trained:
        curves = {
            "AP50": [(epoch, ap50) for epoch, _, ap50 in one.validations],
            "AP": [(e, ap) for e, ap, _ in one.validations],
        }
        yield f"{IMAGES}/results_{one.name}.svg", charts.curves(curves, "epochs", most=1.0)


def figures(one: Trained) -> str:
    names = list(next(iter(one.figures.values())))
    rows = [[split, *(f"{values[name]:.3f}" for name in names)] for split, values in one.figures.items()]
    return "\n".join(table(("pictures", *names), rows))


def classes(one: Trained) -> str:
    rows = [[name, f"{count:,}", f"{ap:.3f}", f"{ap50:.3f}"] for name, (count, ap, ap50) in one.classes.items()]
    return "\n".join(table(("class", "objects", "AP", "AP50"), rows))


def exported(one: Trained) -> str:
    return "\n".join(table(("file", "ms an image"), [[name, f"{value:.0f}"] for name, value in one.exported.items()]))


def peers(one: Trained) -> str:
    own = [
        one.model.partition(",")[0],
        f"{one.validations[-1][0]} epochs",
        one.figures["test"]["AP"],
        one.figures["test"]["AP50"],
    ]
    rows = [[name, had, f"{ap:.3f}", f"{ap50:.3f}"] for name, had, ap, ap50 in (own, *one.peers)]
    return "\n".join(table(("model", "trained", "AP", "AP50"), rows))


TABLES = (figures, classes, exported, peers)
