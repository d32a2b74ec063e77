"""Reports of the measurements: tables in Markdown, a figure, JSON."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict

from mmvit.complexity import Complexity

from .candidates import OURS, Setting
from .measure import Row, Spread, geometric_mean
from .records import Figure

COLUMNS = (
    "arch",
    "pixels",
    "candidate",
    "time (ms)",
    "time / mmvit",
    "quartiles",
    "of the limit",
    "peak memory (MiB)",
    "memory / mmvit",
    "maps",
)


def heading(setting: Setting, repeats: int) -> str:
    """Return what is measured, in a line."""
    what = "training step (forward and backward)" if setting.train else "inference"
    return f"{what}, {setting.dtype}, batch {setting.batch}, median of {repeats} repeats in turns"


def costs_table(costs: Sequence[tuple[Setting, Complexity]]) -> list[str]:
    """Return parameters and multiply-adds of each arch and size."""
    lines = [
        [
            setting.name,
            setting.size,
            f"{cost.parameters / 1e6:.1f}",
            f"{cost.multiply_adds / 1e9:.1f}" if cost.multiply_adds >= 1e8 else f"{cost.multiply_adds / 1e9:.3f}",
        ]
        for setting, cost in costs
    ]
    return table(("arch", "pixels", "parameters (M)", "multiply-adds of an image (G)"), lines)


def rows_table(rows: Iterable[Row]) -> list[str]:
    """Return a row for each candidate at each size; ratios are the candidate's over mmvit's: above 1, mmvit is better."""
    return table(COLUMNS, [_cells(row) for row in rows])


def means_table(rows: Sequence[Row]) -> list[str]:
    """Return geometric means of the ratios over archs and sizes, and the smallest ones."""
    lines = []
    for candidate in dict.fromkeys(row.candidate for row in rows if row.candidate != OURS):
        times = [row.time.median for row in rows if row.candidate == candidate and row.time]
        memories = [row.memory_ratio for row in rows if row.candidate == candidate and row.memory_ratio]
        cells = [candidate, str(len(times))]
        for ratios in (times, memories):
            cells += [f"{geometric_mean(ratios):.2f}", f"{min(ratios):.2f}"] if ratios else ["", ""]
        if times or memories:
            lines.append(cells)
    return table(("candidate", "rows", "time / mmvit", "least", "memory / mmvit", "least"), lines)


def _cells(row: Row) -> list[str]:
    maps = row.remark
    if row.difference is not None and not maps.startswith("its maps differ"):
        maps = f"equal to {row.difference:.0e}" + (f"; {maps}" if maps else "")
    if row.seconds is None and row.candidate != OURS:
        maps = maps or "not measured"
    ratio = row.time if row.candidate != OURS else None
    return [
        row.setting.name,
        row.setting.size,
        row.candidate,
        f"{row.seconds.median * 1000:.1f}" if row.seconds else "",
        f"{ratio.median:.2f}" if ratio else "",
        ratio.quartiles() if ratio else "",
        f"{row.limit:.0%}" if row.limit else "",
        f"{row.memory / 2**20:.0f}" if row.memory is not None else "",
        f"{row.memory_ratio:.2f}" if row.memory_ratio and row.candidate != OURS else "",
        maps,
    ]


def table(columns: Sequence[str], lines: Sequence[Sequence[str]]) -> list[str]:
    """Return a Markdown table that also reads well as plain text; without rows, no table."""
    if not lines:
        return []
    widths = [max(len(line[column]) for line in (columns, *lines)) for column in range(len(columns))]
    rows = [columns, ["-" * width for width in widths], *lines]
    return ["| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in rows]


def growth_table(rows: Sequence[Row]) -> list[str]:
    """Return how the time of each candidate grows from an arch's fewest pixels to its most, if it has several sizes."""
    lines = []
    for name, candidate in dict.fromkeys((row.setting.name, row.candidate) for row in rows):
        mine = [row for row in rows if (row.setting.name, row.candidate) == (name, candidate)]
        sizes = {row.setting.pixels: row.seconds.median for row in mine if row.seconds}
        least, most = min(sizes, default=0), max(sizes, default=0)
        if most > least:
            lines.append([name, candidate, f"{most / least:.2f}", f"{sizes[most] / sizes[least]:.2f}"])
    return table(("arch", "candidate", "pixels grow by", "time grows by"), lines) if lines else []


def figures(rows: Iterable[Row]) -> Iterator[Figure]:
    """Yield what was measured, as it is stored."""
    for row in rows:
        setting, ratio = row.setting, row.time if row.candidate != OURS else None
        what = "training step" if setting.train else "inference"
        named = (what, setting.name, setting.size, row.candidate, setting.dtype)
        yield figure(named, row.seconds.median if row.seconds else None, ratio, row.memory)


def figure(named: tuple[str, ...], seconds: float | None, ratio: Spread | None, memory: int | None) -> Figure:
    """Return what is stored, rounded.

    Args:
        named: the first fields of a `Figure`.
        memory: in bytes.
    """
    quotients = {name: round(value, 3) for name, value in asdict(ratio).items()} if ratio else {}
    return Figure(
        *named,
        ms=None if seconds is None else round(1000 * seconds, 1),
        ratio=quotients.get("median"),
        low=quotients.get("low"),
        high=quotients.get("high"),
        memory_mib=None if memory is None else round(memory / 2**20),
    )
