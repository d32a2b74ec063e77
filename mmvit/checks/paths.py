"""Check that the files and folders that a config names are there."""

from collections.abc import Iterator
from pathlib import Path

from ..config.datasets import DatasetView, first_meta, is_remote
from ..errors import counted
from ..recipes.tables import DATASETS
from .findings import Finding, ok, wrong
from .plan import Plan

PUBLISHED = {row.kind: row for row in DATASETS.values() if row.published}


def check_paths(plan: Plan) -> Iterator[Finding]:
    lost: dict[Path, list[str]] = {}
    affected = []
    for view in plan.datasets:
        for name, path in view.absent():
            if not is_remote(path):
                lost.setdefault(path, []).append(name)
                affected.append(view)
    if lost:
        lines = [f"dataset not found: {counted(len(lost), 'path')} of this config missing"]
        lines += [f"  {path}   ({', '.join(names)})" for path, names in lost.items()]
        yield wrong("\n".join([*lines, *layout_of(affected[0]), *_remedies(lost, affected[0])]))
    elif plan.splits:
        yield ok(f"all files and folders that the config names for {', '.join(plan.splits)} are there")
    else:
        yield ok("the config has no datasets")


def _remedies(lost: dict[Path, list[str]], view: DatasetView) -> Iterator[str]:
    root = view.root or "."
    if all(name.startswith("test_") and name.endswith("seg_map_path") for names in lost.values() for name in names):
        yield "Images without label maps: --no-labels --out DIR, which writes label maps instead of measuring."
    if layout_of(view):
        yield (
            f"Put or link it there (ln -s /where/it/is {str(root).rstrip('/')}), or change the keys above in a config of your "
            "own or with --cfg-options."
        )
    else:
        yield "Name your files and folders in the keys above, in a config or with --cfg-options."
    yield "--demo needs no data: it trains the same model on an embedded dataset."


def layout_of(view: DatasetView) -> list[str]:
    """Return a line on the folders of a published dataset and one on its download; no lines for one with classes of its own."""
    known = PUBLISHED.get(view.type_name)
    if known is None or first_meta(view.config.get("metainfo")).get("classes"):
        return []
    return [f"Expected under {view.root or '.'} (data_root): {known.layout}", f"Download {known.download}."]
