"""`python -m mmvit list`: every arch, its cost, the files that its authors released, and published whole models."""

from argparse import ArgumentParser
from collections.abc import Iterator, Sequence
from fnmatch import fnmatch
from typing import TYPE_CHECKING

from ..weights.published import WHOLE_MODELS

if TYPE_CHECKING:
    from ..pyramid import Pyramid
    from ..weights.released import Released

FILE_COLUMNS = ("name", "top-1", "image", "licence", "released file, and copies that are tried after it")
WHOLE_COLUMNS = ("whole model", "AP or mIoU", "config", "licence", "published file")
SIZE_COLUMNS = ("name", "parameters (M)", "GFLOPs at 224", "GFLOPs at 800 x 1280", "strides", "channels", "file, top-1")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = ArgumentParser(prog="python -m mmvit list", description="Archs and the files that their authors released.")
    parser.add_argument("pattern", nargs="?", default="*", help="shell pattern of names, such as 'volo*'")
    parser.add_argument(
        "--markdown", action="store_true", help="print the table of docs/archs.md, with costs (takes some seconds)"
    )
    options = parser.parse_args(arguments)
    from ..zoo import list_archs  # torch, not before it is needed: --help does without

    names = list_archs(options.pattern)
    whole = [] if options.markdown else [name for name in WHOLE_MODELS if fnmatch(name, options.pattern)]
    if not names and not whole:
        print(f"no arch matches {options.pattern!r}; there are {', '.join(list_archs())}")
        return 1
    if options.markdown:
        print("\n".join(markdown(names)))
        return 0
    if names:
        _print([FILE_COLUMNS, *(row for name in names for row in _file_rows(name))])
    if whole:
        _print([WHOLE_COLUMNS, *(_whole_row(name) for name in whole)])
    return 0


def _print(rows: Sequence[Sequence[str]]) -> None:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _whole_row(name: str) -> list[str]:
    row = WHOLE_MODELS[name]
    return [name, row.figure, row.config, row.licence or "none given", row.url or f"by hand from {row.folder}"]


def markdown(names: Sequence[str]) -> Iterator[str]:
    """Yield the lines of a table of archs with their costs and files."""
    import torch

    from ..complexity import complexity
    from ..zoo import find

    yield f"| {' | '.join(SIZE_COLUMNS)} |"
    yield f"|{' --- |' * len(SIZE_COLUMNS)}"
    for name in names:
        family, arch = find(name)
        with torch.device("meta"):
            model: Pyramid = family(arch)  # type: ignore[arg-type]  # every family takes arch first
        small, large = complexity(model, 224, 224), complexity(model, 800, 1280)
        cells = (
            f"`{name}`",
            f"{small.parameters / 1e6:.1f}",
            f"{small.multiply_adds / 1e9:.1f}",
            f"{large.multiply_adds / 1e9:.0f}",
            " ".join(map(str, model.out_strides)),
            " ".join(map(str, model.out_channels)),
            "; ".join(_link(row) for _, row in _files(family, arch)) or "none",
        )
        yield f"| {' | '.join(cells)} |"


def _files(family: "type[Pyramid]", arch: str) -> "list[tuple[str, Released]]":
    return [(f"{family.record.name}_{key}", row) for key, row in family.record.released.items() if row.arch == arch]


def _file_rows(name: str) -> list[list[str]]:
    from ..zoo import find

    family, arch = find(name)
    files = _files(family, arch)
    if not files:
        return [[name, "", "", "", "none"]]
    return [[key, f"{row.top1:.1f}", str(row.img_size), row.licence or "none given", _places(row)] for key, row in files]


def _places(row: "Released") -> str:
    return ", ".join((row.url or f"by hand from {row.folder}", *row.copies))


def _link(row: "Released") -> str:
    place = f"[{row.img_size} px]({row.url})" if row.url else f"[by hand]({row.folder})"
    return f"{place} {row.top1:.1f}"
