"""`python -m mmvit list`: every arch, its cost, the files that its authors released, and published whole models."""

import json
import os
import sys
from argparse import ArgumentParser
from collections.abc import Iterator, Sequence
from contextlib import suppress
from fnmatch import fnmatch
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..data.files import write_whole
from ..version import __version__
from ..weights.published import WHOLE_MODELS

if TYPE_CHECKING:
    from ..pyramid import Pyramid
    from ..weights.released import Released

FAMILIES = "mmvit.backbones"  # importing it takes seconds, because it imports torch
Rows = dict[str, list[list[str]]]  # cells of FILE_COLUMNS by arch, a row for each file
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
    archs = known_rows()
    names = [name for name in archs if fnmatch(name, options.pattern)]
    whole = [] if options.markdown else [name for name in WHOLE_MODELS if fnmatch(name, options.pattern)]
    if not names and not whole:
        print(f"no arch matches {options.pattern!r}; there are {', '.join(archs)}")
        return 1
    if options.markdown:
        print("\n".join(markdown(names)))
        return 0
    if names:
        _print([FILE_COLUMNS, *(row for name in names for row in archs[name])])
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


def known_rows() -> Rows:
    """Return the rows of all archs, which are cached in a file for this version and this text of the families."""
    from_families = FAMILIES in sys.modules
    files = sorted((Path(__file__).parent.parent / "backbones").glob("*.py"))
    state = [__version__, sha256(b"".join(file.read_bytes() for file in [Path(__file__), *files])).hexdigest()]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mmvit" / "archs.json"
    if not from_families:
        with suppress(OSError, ValueError, LookupError, TypeError):
            kept: dict[str, Any] = json.loads(cache.read_text(encoding="utf-8"))
            if kept["state"] == state:
                return kept["rows"]
    from ..zoo import list_archs

    rows = {name: _file_rows(name) for name in list_archs()}
    if not from_families:  # others may have registered families of their own
        with suppress(OSError):
            write_whole(cache, json.dumps(dict(state=state, rows=rows)).encode())
    return rows


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
