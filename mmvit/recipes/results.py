"""Page of published results: `python -m mmvit.recipes.results > docs/model_zoo.md`."""

import sys
from collections.abc import Iterator, Sequence

from ..weights.published import WHOLE_MODELS, WholeModelFile
from ..weights.released import FILES
from .configs import committed, recipe_of
from .published_results import PUBLISHED, Published
from .tables import DATASETS, GPUS, HEADS, PAIRINGS, Leaf

REMARKS = {  # published results that fit into no row
    ("upernet", "cityscapes"): "VOLO's abstract has 84.3 mIoU on Cityscapes without the arch: it is in no row.",
}

INTRODUCTION = f"""\
# Model zoo

Published results of every config in `configs/`; no full training was run with this package so far. This page is written by
`python -m mmvit.recipes.results > docs/model_zoo.md`; a test compares it with the tables in the package.

- **published**: percent on the validation set, as the source in brackets prints it. The brackets also say whether it was
  tested at a single scale or at several, if that is known, and conditions that the config does not have or that its name does
  not tell. An empty cell means that no number was published. If a paper and its repository give different numbers, both are
  listed.
- **whole model**: the detector or segmenter itself, if its file was published, with the figure of its source.
  `mmvit predict mmvit://NAME photo.jpg` and `mmvit test CONFIG mmvit://NAME` take it. The files could not be downloaded when
  this was written: the translation of their names is tested with the other libraries' networks and random weights.
- **GPUs x images**: of the recipe, images a GPU; `auto_scale_lr` scales from their product. All recipes but ours
  for binary segmentation are for {GPUS} GPUs.
- **recipe**: published, or ours if there is none. The lists below the tables say whose it is, and where sources contradict.
"""


def main() -> int:
    print("\n".join(page()))
    return 0


def page() -> Iterator[str]:
    """Yield the lines of the page."""
    yield INTRODUCTION
    for (head, dataset), leaves in _by_pairing():
        metrics = " / ".join(HEADS[head].metrics)
        yield f"## {HEADS[head].title} on {DATASETS[dataset].title}\n"
        yield f"| config | {metrics}, published | whole model | GPUs x images | recipe |"
        yield f"|{' --- |' * 5}"
        yield from (row_of(leaf) for leaf in leaves)
        yield ""
        yield from _notes(leaves)
        remarks = {row.remark for row in WHOLE_MODELS.values() if row.config in [leaf.name for leaf in leaves]}
        yield from (f"- Whole models: {remark}." for remark in sorted(filter(None, remarks)))
        if (head, dataset) in REMARKS:
            yield f"\n{REMARKS[head, dataset]}"
        yield ""
    for name, url in sorted({(row.source.name, row.source.url) for row in PUBLISHED}):
        yield f"[{name}]: {url}"


def row_of(leaf: Leaf) -> str:
    """Return a config's line of its table."""
    recipe = recipe_of(leaf)
    cells = (
        f"[{leaf.name}](../configs/{leaf.name}.py)",
        "; ".join(_quote(row, leaf.arch) for row in PUBLISHED if leaf in row.leaves()),
        "; ".join(_whole(name, row) for name, row in WHOLE_MODELS.items() if row.config == leaf.name),
        f"{PAIRINGS[leaf.head, leaf.dataset].gpus} x {recipe.images}",
        "published" if recipe.published else "ours",
    )
    return "".join(f"| {cell} " if cell else "| " for cell in cells) + "|"


def _by_pairing() -> Iterator[tuple[tuple[str, str], list[Leaf]]]:
    """Return the committed leaves of each pairing, with pairings, families and archs in the order of their tables."""
    every, archs = committed(), list(FILES)
    for head, dataset in PAIRINGS:
        leaves = [leaf for leaf in every if (leaf.head, leaf.dataset) == (head, dataset)]
        yield (head, dataset), sorted(leaves, key=lambda leaf: archs.index(f"{leaf.family}_{leaf.arch}"))


def _quote(row: Published, arch: str) -> str:
    where = ", ".join(filter(None, (f"[{row.source.name}]", row.test, row.under)))
    return f"{row.figures[arch]} ({where})"


def _whole(name: str, row: WholeModelFile) -> str:
    return f"[`{name}`]({row.url}) {row.figure} ({row.source})"


def _notes(leaves: Sequence[Leaf]) -> Iterator[str]:
    """Yield a line for each recipe: the archs that it is for, and its source as the config has it."""
    archs: dict[str, list[str]] = {}
    for leaf in leaves:
        archs.setdefault(recipe_of(leaf).note, []).append(f"`{leaf.family}_{leaf.arch}`")
    for note, names in archs.items():
        yield f"- {', '.join(names)}. {note}.".replace("*", r"\*")


if __name__ == "__main__":
    sys.exit(main())
