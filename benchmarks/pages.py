"""`python -m benchmarks.pages`: writes docs/performance.md, results.md, heads.md and their charts from what is stored."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from . import charts, heads, records, trained
from .measure import geometric_mean
from .records import HOME, Figure, Run
from .report import table

PAGE, RESULTS, GRID = "docs/performance.md", "docs/results.md", "docs/heads.md"
IMAGES = "docs/images"
OURS, EAGER = "mmvit", "eager"
STEP, LOOPS, INFERENCE, LARGE, EXPORT = (
    ("training step",),
    ("training", "evaluation"),
    ("inference",),
    ("large images",),
    ("export",),
)
HEADS = {"retinanet": "RetinaNet", "mask_rcnn": "Mask R-CNN", "fpn": "Semantic FPN"}
Row = tuple[int, list[Figure]]  # number of a run, and its figures of one model at one size


def main() -> None:
    for name, content in contents(records.read()).items():
        (HOME / name).write_text(content, encoding="utf-8")
        print(f"written: {name}")


def contents(runs: Sequence[Run]) -> dict[str, str]:
    """Return the text of each file by its name in the repository."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), undefined=StrictUndefined, trim_blocks=True, keep_trailing_newline=True
    )
    tables = {name: "\n".join(make(runs)) for name, make in TABLES.items()}
    page = environment.get_template("performance.md.j2").render(
        tables=tables, mean=partial(mean, runs), span=partial(span, runs)
    )
    stored = trained.read()
    results = environment.get_template("results.md.j2").render(
        trained=stored, **{each.__name__: each for each in trained.TABLES}
    )
    return {
        PAGE: page,
        RESULTS: results,
        GRID: environment.get_template("heads.md.j2").render(heads.page(heads.read())),
        **{f"{IMAGES}/performance_{name}.svg": make(runs) for name, make in CHARTS.items()},
        **dict(trained.pictures(stored)),
    }


def rows(runs: Sequence[Run], kinds: Sequence[str]) -> Iterator[Row]:
    """Yield the figures of the kinds, of each run, model and size on their own, the newest run first."""
    for number, run in enumerate(runs, 1):
        found: dict[tuple[str, ...], list[Figure]] = {}
        for row in run.rows:
            if row.what in kinds:
                found.setdefault((row.what, row.model, row.pixels, row.dtype), []).append(row)
        yield from ((number, group) for group in found.values())


def label(model: str) -> str:
    """Return an arch as code, and a config as its head and arch."""
    for name, title in HEADS.items():
        if model.startswith(f"{name}_"):
            return f"{title}, `{model.removeprefix(f'{name}_').rpartition('_')[0]}`"
    return f"`{model}`"


def times(group: Sequence[Figure]) -> str:
    found = [(row.candidate.removeprefix(f"{OURS}, "), row.ratio) for row in group if row.ratio is not None]
    return "; ".join(f"{name} **{value:.2f}**" for name, value in found)


def milliseconds(group: Sequence[Figure], candidate: str) -> str:
    found = [row.ms for row in group if row.candidate == candidate and row.ms is not None]
    return f"{found[0]:,.0f}" if found else ""


def size(row: Figure) -> str:
    return row.pixels if row.dtype == "float32" else f"{row.pixels}, {row.dtype}"


def training_table(runs: Sequence[Run]) -> list[str]:
    lines = []
    for number, group in [*rows(runs, LOOPS), *rows(runs, STEP)]:
        others = [row for row in group if row.ratio is not None and not row.candidate.startswith("mmvit")]
        if others:
            lines.append([label(group[0].model), group[0].what, milliseconds(group, OURS), times(others), str(number)])
    return table(("model", "what", "mmvit (ms)", "times as fast as", "run"), lines)


def inference_table(runs: Sequence[Run]) -> list[str]:
    lines = []
    for number, group in sorted(rows(runs, INFERENCE), key=lambda row: (row[1][0].dtype != "float32", row[1][0].pixels)):
        if times(group):
            lines.append([label(group[0].model), size(group[0]), milliseconds(group, OURS), times(group), str(number)])
    return table(("model", "image", "mmvit (ms)", "times as fast as", "run"), lines)


def large_table(runs: Sequence[Run]) -> list[str]:
    """Return the growth of the time from an arch's fewest pixels to its most, with each choice of options."""
    lines = []
    for number, run in enumerate(runs, 1):
        found: dict[tuple[str, str], list[Figure]] = {}
        for row in run.rows:
            if row.what in LARGE:
                found.setdefault((row.model, row.candidate), []).append(row)
        for (model, candidate), (small, large) in found.items():
            assert small.ms is not None
            assert large.ms is not None
            options = candidate.removeprefix(OURS).removeprefix(", ")
            lines.append([label(model), options, f"{large.ms / 1000:.1f}", f"{large.ms / small.ms:.1f}", str(number)])
    return table(("model", "options", "1600 x 2560 (s)", "times as long as 800 x 1280", "run"), lines)


def deployment_table(runs: Sequence[Run]) -> list[str]:
    lines = []
    for number, group in rows(runs, EXPORT):
        lines.append([label(group[0].model), milliseconds(group, EAGER), times(group), str(number)])
    return table(("model", "eager (ms)", "times as fast as eager mode", "run"), lines)


def memory_table(runs: Sequence[Run]) -> list[str]:
    lines = []
    for what in ("training step", "training"):
        held = newest(runs, (what,), "memory_mib")
        for model in dict.fromkeys(model for model, _ in held):
            others = {
                name.removeprefix(f"{OURS}, "): value for (of, name), value in held.items() if of == model and name != OURS
            }
            words = "; ".join(f"{name} {value:,}" for name, value in others.items())
            lines.append([label(model), what, f"{held[model, OURS]:,}", words])
    return table(("model", "what", "mmvit (MiB)", "others (MiB)"), lines)


def runs_table(runs: Sequence[Run]) -> list[str]:
    lines = [[str(number), run.date, run.machine, run.commit, f"`{run.command}`"] for number, run in enumerate(runs, 1)]
    return table(("run", "date", "machine", "commit", "command"), lines)


def newest(runs: Sequence[Run], kinds: Sequence[str], value: str, **of: str) -> dict[tuple[str, str], float]:
    """Return the newest value of each model and candidate among figures whose attributes are `of`."""
    found: dict[tuple[str, str], float] = {}
    for run in runs:
        for row in run.rows:
            wanted = row.what in kinds and all(getattr(row, name) == value for name, value in of.items())
            if wanted and getattr(row, value) is not None:
                found.setdefault((row.model, row.candidate), getattr(row, value))
    return found


def mean(runs: Sequence[Run], what: str, candidate: str, **of: str) -> str:
    """Return the geometric mean of the newest ratios to a candidate and the least of them."""
    found = [*newest(runs, (what,), "ratio", candidate=candidate, **of).values()]
    return f"{geometric_mean(found):.2f} (least {min(found):.2f})"


def span(runs: Sequence[Run], what: str, candidate: str) -> str:
    """Return the least and the largest of the newest ratios to a candidate, as times of the candidate over mmvit's."""
    found = [*newest(runs, (what,), "ratio", candidate=candidate).values()]
    return f"{min(found):.2f} to {max(found):.2f}"


def training_chart(runs: Sequence[Run]) -> str:
    groups: dict[str, dict[str, float]] = {}
    for number, group in rows(runs, LOOPS):
        machine = runs[number - 1].machine.partition(",")[0].partition(" with")[0].partition(" (")[0]
        what = dict(training="train", evaluation="test")[group[0].what]
        name = f"{group[0].model.split('_', 1)[1].rpartition('_')[0]} {what}"
        groups.setdefault(name, {}).update((machine, row.ratio) for row in group if row.ratio is not None)
    return charts.bars(groups, "whole loops: times as fast as mmdet's own", line=1)


def inference_chart(runs: Sequence[Run]) -> str:
    groups: dict[str, dict[str, float]] = {}
    for (model, candidate), value in newest(runs, INFERENCE, "ratio", pixels="512 x 512", dtype="float32").items():
        if not candidate.startswith(OURS):
            groups.setdefault(model, {})[candidate] = value
    return charts.bars(groups, "512 x 512, float32: times as fast as", line=1)


def deployment_chart(runs: Sequence[Run]) -> str:
    groups: dict[str, dict[str, float]] = {}
    for run in runs:
        for row in run.rows:
            if row.what in EXPORT and row.ratio is not None and not label(row.model).startswith(tuple(HEADS.values())):
                name = row.candidate + (" (AMX)" if "AMX" in run.machine else "")
                groups.setdefault(row.model, {}).setdefault(name, row.ratio)
    return charts.bars(groups, "512 x 512: times as fast as eager mode", line=1)


def memory_chart(runs: Sequence[Run]) -> str:
    groups: dict[str, dict[str, float]] = {}
    shown = ("mmvit", "mmvit, with_cp", "written-out")
    for (model, candidate), value in newest(runs, STEP, "memory_mib").items():
        if candidate in shown:
            groups.setdefault(model, {})[candidate] = value / 1024
    return charts.bars(
        {name: {key: held[key] for key in shown if key in held} for name, held in groups.items()}, "GiB at the peak", digits=1
    )


TABLES: Mapping[str, Callable[[Sequence[Run]], list[str]]] = {
    "training": training_table,
    "inference": inference_table,
    "large": large_table,
    "deployment": deployment_table,
    "memory": memory_table,
    "runs": runs_table,
}
CHARTS: Mapping[str, Callable[[Sequence[Run]], str]] = {
    "training": training_chart,
    "inference": inference_chart,
    "deployment": deployment_chart,
    "memory": memory_chart,
}

if __name__ == "__main__":
    main()
